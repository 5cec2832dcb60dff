/** Files that a run makes to harm (threats 18, 28, 29): what its diff says of them, and what a terminal is shown. */
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { clientProgram } from "../built.ts";
import { type Abuse, AbusedDaemon } from "./abused.ts";
import { dataOf } from "./runs.ts";

const FULL = process.env.CAISSON_TEST_FULL !== undefined;
const execute = promisify(execFile);
const ESCAPES = "\\e]52;c;aGFybQ==\\a\\e]8;;http://evil.test\\e\\\\link\\e[2J\\e[31mred";
/** What steers a terminal, or hides in it: line feeds and tabs aside. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: that is what is looked for
const STEERING = /[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u202a-\u202e\u2066-\u2069]/;

let abused: AbusedDaemon;
beforeAll(async () => {
  abused = await AbusedDaemon.start();
});
afterAll(async () => {
  try {
    await abused?.tidy();
  } finally {
    await abused?.cleanUp();
  }
});

const makes = (folders: number, files: number) =>
  `perl -e 'for my $d (1..${folders}) { mkdir "d$d"; for (1..${files}) { open F, ">d$d/f$_" or die $! } }'; echo made`;

describe("names, links and depth", () => {
  let abuse: Abuse;
  beforeAll(async () => {
    const names = [
      "new\\nline",
      `${ESCAPES.replaceAll("/", "")}`,
      "bad\\xff\\xfe",
      "tab\\tdiff --git",
      "dir\\n+++ b",
    ];
    const deep = `perl -e 'for (1..10000) { mkdir "d" x 60 or die; chdir "d" x 60 or die } open F, ">leaf"; print F "x"'`;
    abuse = await abused.abuse("Make.", [
      `${names.map((name) => `printf x > $'${name}'`).join("; ")}; printf x > ' -rf'; ls | wc -l`,
      `mkdir links; cd links; ln -s loop loop; ln -s .. up; ln -s / root; ln -s /etc/passwd file; cd ..; ${deep}; echo made`,
      `printf '${ESCAPES}\\u202eevil\\n'; echo kept > kept`,
    ]);
  });

  test("the diff has every name quoted, links as links, and says what is too deep to be read", () => {
    expect(abuse.events.at(-1)?.type).toBe("run.completed");
    expect(abuse.heard[1]).toBe("made\n");
    const [{ diff, omitted } = { diff: "", omitted: [] }] = dataOf(abuse.events, "sandbox.stopped");
    const patch = typeof diff === "string" ? diff : (diff?.preview ?? "");
    expect(JSON.stringify(omitted)).toContain("its path is too long");
    expect(patch + JSON.stringify(diff)).not.toMatch(STEERING);
  });

  test("the whole diff holds what was made beside it", async () => {
    const { patch } = await (await abused.daemon.client()).diff(abuse.run);
    expect(patch).toContain('"b/new\\nline"');
    expect(patch).toContain('"b/bad\\377\\376"');
    expect(patch).toMatch(/b\/links\/loop\nnew file mode 120000/);
    expect(patch).toContain("b/kept");
    expect(patch).not.toMatch(STEERING);
  });

  test.each(["watch", "events", "show", "diff"])(
    "caisson %s gives a terminal nothing that steers it (threat 29)",
    async (command) => {
      const [node, client] = clientProgram();
      const env = {
        ...process.env,
        CAISSON_ADDRESS: abused.daemon.address,
        CAISSON_HOME: abused.daemon.state,
        NO_COLOR: "1",
      };
      const { stdout, stderr } = await execute(node, [client, command, abuse.run], {
        env,
        maxBuffer: 2 ** 26,
      });
      expect(stdout.length).toBeGreaterThan(10);
      expect(stdout + stderr).not.toMatch(STEERING);
    },
  );
});

test("thousands of new files finish with a whole diff", async () => {
  const abuse = await abused.abuse("Many.", [makes(20, 250)]);
  expect(abuse.events.at(-1)?.type).toBe("run.completed");
  const { patch, omitted } = await (await abused.daemon.client()).diff(abuse.run);
  expect(patch.match(/^diff --git /gm)?.length).toBe(5_000);
  expect(omitted.count).toBe(0);
});

test.skipIf(!FULL)(
  "60,000 new files finish with the diff's bound, which says so (CAISSON_TEST_FULL)",
  async () => {
    const abuse = await abused.abuse("More.", [makes(60, 1_000)]);
    expect(abuse.events.at(-1)?.type).toBe("run.completed");
    const [stopped] = dataOf(abuse.events, "sandbox.stopped");
    expect(stopped?.diffError).toBeUndefined();
    expect(JSON.stringify(stopped?.omitted)).toContain("beyond the 50000 changed files");
    console.info(`60,000 files: the daemon grew by ${Math.round(abuse.grown / 1e6)} MB`);
  },
  600_000,
);

test.skipIf(!FULL)(
  "a million new files finish without a diff, and the run says why (CAISSON_TEST_FULL)",
  async () => {
    const abuse = await abused.abuse("Most.", [makes(1_000, 1_000), "echo alive"]);
    expect(abuse.heard[1]).toBe("alive\n");
    const [stopped] = dataOf(abuse.events, "sandbox.stopped");
    expect(stopped?.diffError).toMatch(/^the workspace has more than \d+ files and folders$/);
    console.info(`a million files: the daemon grew by ${Math.round(abuse.grown / 1e6)} MB`);
  },
  900_000,
);
