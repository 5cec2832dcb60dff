import { execFileSync } from "node:child_process";
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { packWorkspace } from "../../client/workspace/pack.ts";
import { DaemonUnderTest } from "./daemon-under-test.ts";
import { bashScript, dataOf, scripted } from "./runs.ts";

/** Small, pure JavaScript, without dependencies. */
const PACKAGE = "ms@2.1.3";
const FETCH_MS = 30_000;
/** Passes on the package as it was published, and on nothing that is broken below. */
const CHECK =
  'node -e \'const ms = require("./"); require("assert").deepEqual([ms("2h"), ms(60000), ms("-3 min")], [7200000, "1m", -180000])\'';

const folder = mkdtempSync(join(tmpdir(), "caisson-e2e-npm-"));
const original = join(folder, "package");
let fetched = false;
let daemon: DaemonUnderTest;

beforeAll(async () => {
  fetched = fetchPackage();
  daemon = await DaemonUnderTest.start();
});
afterAll(async () => {
  await daemon?.cleanUp();
  rmSync(folder, { recursive: true, force: true });
});

/** Whether this machine's own npm client could get the package. */
function fetchPackage(): boolean {
  try {
    const npm = ["pack", PACKAGE, "--silent", "--pack-destination", folder];
    const archive = execFileSync("npm", npm, {
      cwd: folder,
      encoding: "utf8",
      timeout: FETCH_MS,
      stdio: "pipe",
    });
    execFileSync("tar", ["-xzf", join(folder, archive.trim().split("\n").at(-1) ?? "")], { cwd: folder });
    return true;
  } catch {
    return false;
  }
}

function copyOf(source: string, name: string): string {
  const copy = join(folder, name);
  cpSync(source, copy, { recursive: true });
  return copy;
}

/** Every file's path and bytes. */
function contentOf(root: string): Map<string, string> {
  const files = readdirSync(root, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  const paths = files.map((file) => join(file.parentPath, file.name)).sort();
  return new Map(paths.map((path) => [relative(root, path), readFileSync(path, "base64")]));
}

test(`a published package (${PACKAGE}) is broken, repaired in a sandbox, checked, and its diff restores it byte for byte`, async ({
  skip,
}) => {
  skip(!fetched, `npm could not fetch ${PACKAGE}`);
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
