import { afterAll, beforeAll, expect, test } from "vitest";
import type { JournalEvent } from "../../daemon/protocol/events.ts";
import { dataOf, scripted } from "../e2e/runs.ts";
import { type HarnessUnderTest, harnessUnderTest } from "../harness/harness-under-test.ts";
import { type DockerHosts, dockerHosts } from "./docker-hosts.ts";

let hosts: DockerHosts;
let under: HarnessUnderTest;

beforeAll(async () => {
  hosts = await dockerHosts();
  under = await harnessUnderTest(hosts.host("harness", { poolSize: 1 }));
});

afterAll(async () => {
  await under.close();
  await hosts.cleanUp();
});

const types = (events: readonly JournalEvent[]) => events.map((event) => event.type);

test("a scripted run goes from submission to completion in a real sandbox, every action judged before it starts (A1)", async () => {
  const { run } = await under.harness.submit({
    task: "Write a file.",
    model: {
      script: `
turns:
  - say: I write it.
    use:
      - { tool: write, input: { path: hello.txt, content: "hello\\n" } }
      - { tool: bash, input: { command: "cat hello.txt; export GREETED=yes; mkdir sub; cd sub" } }
  - expect: { output: /hello/, verdict: allow }
    use: [{ tool: bash, input: { command: 'echo "in $PWD, $GREETED"' } }]
  - expect: { output: "/in .workspace.sub, yes/" }
    say: Done.
`,
    },
    accept: ["grep -q hello hello.txt"],
  });
  const events = await under.ended(run);
  expect(events.at(-1)).toMatchObject({ type: "run.completed", data: { summary: "Done." } });
  for (const { seq, type, data } of events) {
    if (type !== "action.started") continue;
    const judged = events.find(
      (event) => event.type === "action.judged" && event.data.action === data.action,
    );
    expect(judged?.seq).toBeLessThan(seq);
  }
  expect(types(events).slice(0, 4)).toEqual([
    "run.submitted",
    "policy.bound",
    "sandbox.started",
    "workspace.ingested",
  ]);
  const { patch } = await under.harness.diff(run);
  expect(patch).toContain("+hello");
});

test("every tool does what it says in a real sandbox", async () => {
  const { run } = await under.harness.submit({
    task: "Use them all.",
    model: {
      script: String.raw`
turns:
  - use:
      - { tool: write, input: { path: src/deep/one.js, content: "const a = 1;\nconst b = 2;\n" } }
      - { tool: write, input: { path: src/two.txt, content: "const c = 3;\n" } }
      - { tool: bash, input: { command: "mkdir -p .git && echo 'const g' > .git/x && printf 'const \\0\\377\\n' > src/bin.dat" } }
      - { tool: grep, input: { pattern: "const [abc] = [0-9]" } }
      - { tool: grep, input: { pattern: "const", glob: "*.js" } }
      - { tool: grep, input: { pattern: "const", path: src/two.txt } }
      - { tool: grep, input: { pattern: "nowhere" } }
      - { tool: grep, input: { pattern: "(" } }
      - { tool: grep, input: { pattern: "const", path: src/bin.dat } }
      - { tool: glob, input: { pattern: "**/*.js" } }
      - { tool: edit, input: { path: src/two.txt, old: "3", new: "4" } }
      - { tool: edit, input: { path: src/deep/one.js, old: "const", new: "let" } }
      - { tool: read, input: { path: src/deep/one.js, offset: 2 } }
      - { tool: bash, input: { command: "seq 1 20000" } }
      - { tool: bash, input: { command: "sleep 600", background: true } }
      - { tool: read, input: { path: src/none.js } }
  - use:
      - { tool: output, input: { action: a14, offset: 40000, limit: 20 } }
      - { tool: output, input: { action: a99 } }
  - say: done
`,
    },
  });
  const events = await under.ended(run);
  const finished = events.flatMap((event) => (event.type === "action.finished" ? [event.data] : []));
  const of = (action: string) => {
    const found = finished.find((data) => data.action === action);
    const output = typeof found?.output === "string" ? found.output : (found?.output.preview ?? "");
    return { ok: found?.ok, output };
  };
  const lines = (action: string) => of(action).output.split("\n").sort();
  expect(lines("a4")).toEqual([
    "/workspace/src/deep/one.js:1:const a = 1;",
    "/workspace/src/deep/one.js:2:const b = 2;",
    "/workspace/src/two.txt:1:const c = 3;",
  ]);
  expect(lines("a5")).toHaveLength(2);
  expect(of("a6")).toEqual({ ok: true, output: "/workspace/src/two.txt:1:const c = 3;" });
  expect(of("a7")).toEqual({ ok: true, output: "No line matches." });
  expect(of("a8").ok).toBe(false);
  expect(of("a9")).toEqual({ ok: true, output: "/workspace/src/bin.dat: a file that is no text matches" });
  expect(of("a10")).toEqual({ ok: true, output: "/workspace/src/deep/one.js" });
  expect(of("a11").ok).toBe(true);
  expect(of("a12")).toMatchObject({ ok: false, output: expect.stringContaining("occurs 2 times") });
  expect(of("a13")).toEqual({ ok: true, output: "     2\tconst b = 2;" });
  expect(of("a15")).toMatchObject({ ok: true, output: expect.stringContaining("started in the background") });
  expect(of("a16")).toMatchObject({ ok: false, output: expect.stringContaining("ENOENT") });
  expect(of("a17")).toMatchObject({
    ok: true,
    output: expect.stringContaining("characters 40000 to 40020 of"),
  });
  expect(of("a18").ok).toBe(false);
});

test("a file too large to be written in one piece is refused in words, and stays as it was", async () => {
  const edit = (path: string) => ({ tool: "edit", input: { path, old: "end", new: "END" } });
  const bash = (command: string) => ({ tool: "bash", input: { command } });
  const make = (bytes: number, path: string) =>
    `{ head -c ${bytes} /dev/zero | tr '\\0' x; echo end; } > ${path}`;
  const { run } = await under.harness.submit({
    task: "Write.",
    model: scripted([
      { use: [bash(`${make(5_000_000, "large")}; ${make(3_500_000, "fits")}`), edit("large"), edit("fits")] },
      { use: [bash("tail -c 4 large fits -q")] },
      { say: "Done." },
    ]),
  });
  const events = await under.ended(run);
  expect(events.at(-1)?.type).toBe("run.completed");
  const outputs = dataOf(events, "action.finished").map(({ output }) => String(output));
  expect(outputs[1]).toMatch(/^The content is larger than \d+ bytes; write it in parts with bash\.$/);
  expect(outputs[3]).toBe("end\nEND\n");
});
