/** Files that a policy does not let be read or written, by the file tools, while names change under them (THREATS 11). */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { bash, ConfinedRuns, PREPARE, python, textOf } from "./confined-runs.ts";

let runs: ConfinedRuns;

beforeAll(async () => {
  runs = await ConfinedRuns.open("confined-tools");
}, 300_000);
afterAll(() => runs?.close());

/** Two names change places as fast as they can, until somebody makes `/tmp/stop`. */
const SWAPPING = python(`while not os.path.exists('/tmp/stop'):
  call(316, -100, b'/workspace/place', -100, b'/workspace/other', 2)`);
const SWAPPED = `mkdir -p private place && echo HIDDEN | tee private/file.txt > private/kept.txt
echo open > place/file.txt && ln -s private other`;
const RACED =
  '{ read: { allow: [/workspace/**, /tmp/**], deny: ["**/private/**"] }, write: { allow: [/workspace/**, /tmp/**], deny: ["**/private/**"] } }';

describe("a path that leads elsewhere while it is used", () => {
  test("the file tools never read or write outside of what was judged (threat 11)", async () => {
    const rounds = Array.from({ length: 12 }, (_, round) => [
      { tool: "read", input: { path: "place/file.txt" } },
      { tool: "write", input: { path: `place/written${round}.txt`, content: "written" } },
      { tool: "edit", input: { path: "place/kept.txt", old: "HIDDEN", new: "changed" } },
      { tool: "grep", input: { pattern: "HIDDEN", path: "place" } },
      { tool: "glob", input: { pattern: "*", path: "place" } },
    ]);
    const swapping = { tool: "bash", input: { command: SWAPPING, background: true } };
    const { outcomes, seen } = await runs.worked(
      RACED,
      SWAPPED,
      [swapping, ...rounds.flat(), bash("touch /tmp/stop")],
      "ls private; cat private/*",
    );
    // An action that is denied has no outcome.
    expect(outcomes.length).toBeGreaterThan(2);
    expect(outcomes.map(textOf).filter((output) => /HIDDEN|^kept\.txt$/m.test(output))).toEqual([]);
    expect(seen).toBe("file.txt\nkept.txt\nHIDDEN\nHIDDEN\n");
  });

  test("a symlink in the place of a folder that may be read opens nothing", async ({ skip }) => {
    runs.needLandlock(skip);
    const { outcomes } = await runs.worked(
      "{ read: { allow: [/workspace/src/**] }, write: { allow: [/workspace/**] } }",
      PREPARE,
      [bash("cat src/a.txt"), bash("mv src was && ln -s private src"), bash("cat src/secret.txt; ls src/")],
      "true",
    );
    expect(outcomes.map(({ exitCode }) => exitCode)).toEqual([0, 0, 2]);
  });
});

test("what may not be read is not found by searching either, whatever its name", async () => {
  const { outcomes } = await runs.worked(
    '{ read: { allow: [/workspace/**], deny: ["**/private/**", "**/*.env"] } }',
    `mkdir -p private src; echo HIDDEN | tee private/secret.txt src/a.env 'src/b:1:c.env' > 'src/odd:7:name'
mkdir -p private/x$'\\n'/workspace && echo HIDDEN > private/x$'\\n'/workspace/src`,
    [
      { tool: "grep", input: { pattern: "HIDDEN" } },
      { tool: "grep", input: { pattern: "HIDDEN", path: "src" } },
      { tool: "glob", input: { pattern: "**" } },
      { tool: "grep", input: { pattern: "nowhere" } },
    ],
    "true",
  );
  const leftOut = "[what the policy does not let be read is left out]";
  const found = `/workspace/src/odd:7:name:1:HIDDEN\n${leftOut}`;
  expect(outcomes.map(textOf)).toEqual([
    found,
    found,
    `/workspace/go\n/workspace/src/odd:7:name\n${leftOut}`,
    "No line matches.",
  ]);
});
