import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { packWorkspace } from "../../client/workspace/pack.ts";
import { DaemonUnderTest } from "./daemon-under-test.ts";
import { contentOf, copyOf, fetchPackage } from "./published-package.ts";
import { bashScript, dataOf, scripted } from "./runs.ts";

/** Small, pure JavaScript, without dependencies. */
const PACKAGE = "ms@2.1.3";
/** Passes on the package as it was published, and on nothing that is broken below. */
const CHECK =
  'node -e \'const ms = require("./"); require("assert").deepEqual([ms("2h"), ms(60000), ms("-3 min")], [7200000, "1m", -180000])\'';

const folder = mkdtempSync(join(tmpdir(), "caisson-e2e-npm-"));
let original: string | undefined;
let daemon: DaemonUnderTest;

beforeAll(async () => {
  original = fetchPackage(PACKAGE, folder);
  daemon = await DaemonUnderTest.start();
});
afterAll(async () => {
  await daemon?.cleanUp();
  rmSync(folder, { recursive: true, force: true });
});

test(`a published package (${PACKAGE}) is broken, repaired in a sandbox, checked, and its diff restores it byte for byte`, async ({
  skip,
}) => {
  if (original === undefined) return skip(`npm could not fetch ${PACKAGE}`);
  const broken = copyOf(original, "broken");
  const source = readFileSync(join(original, "index.js"), "utf8");
  const licence = readFileSync(join(original, "license.md"), "utf8");
  writeFileSync(join(broken, "index.js"), source.replace("var h = m * 60;", "var h = m * 61;"));
  rmSync(join(broken, "license.md"));
  writeFileSync(join(broken, "stray.bin"), Buffer.from([0, 255, 13, 10, 0]));
  const client = await daemon.client();
  const { run, events } = await daemon.ended({
    task: "An hour has 60 minutes, and the licence is missing. Mend it.",
    workspace: await client.uploadWorkspace(packWorkspace(broken)),
    image: "node",
    accept: [CHECK, "test -s license.md"],
    model: scripted([
      { say: "It looks fine." },
      {
        expect: { output: "/2 of 2 acceptance checks failed/" },
        use: [
          { tool: "edit", input: { path: "index.js", old: "m * 61;", new: "m * 60;" } },
          { tool: "write", input: { path: "license.md", content: licence } },
          { tool: "bash", input: { command: "rm stray.bin" } },
        ],
      },
      { expect: { verdict: "allow" }, say: "Mended." },
    ]),
  });
  expect(events.at(-1)).toMatchObject({ type: "run.completed", data: { summary: "Mended." } });
  expect(dataOf(events, "acceptance.checked").map(({ passed }) => passed)).toEqual([false, true]);
  const { patch, ignored } = await client.diff(run);
  expect(ignored).toBe(0);
  const clean = copyOf(broken, "clean");
  const file = join(folder, "run.patch");
  writeFileSync(file, patch);
  execFileSync("git", ["apply", "--check", file], { cwd: clean });
  execFileSync("git", ["apply", file], { cwd: clean });
  expect(contentOf(clean)).toEqual(contentOf(original));
});

test("a run that changes nothing has an empty diff, whatever it was given", async () => {
  const { run } = await daemon.ended({ task: "Look.", model: bashScript("ls -la; git status --short") });
  expect(await (await daemon.client()).diff(run)).toEqual({
    patch: "",
    ignored: 0,
    omitted: { count: 0, first: [] },
  });
});
