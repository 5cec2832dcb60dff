import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { eventLines } from "../../../client/cli/render/events.ts";
import { type Line, painted } from "../../../client/cli/render/line.ts";
import { Narration } from "../../../client/cli/render/narration.ts";
import { LiveOutput, outputLines } from "../../../client/cli/render/output.ts";
import { displayWidth } from "../../../client/cli/render/width.ts";
import type { JournalEvent } from "../../../daemon/protocol/events.ts";

const RUN = "019aa3f0-5b00-7c3a-9d51-0f6f2a6c1e01";
const spine = eventsOf("spine.ndjson");

function eventsOf(name: string): JournalEvent[] {
  const text = readFileSync(new URL(`../../fixtures/${name}`, import.meta.url), "utf8");
  return text
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as JournalEvent);
}

function written(lines: readonly Line[], columns = Number.POSITIVE_INFINITY): string {
  return painted(lines, { columns, colour: (text) => text });
}

function told(events: readonly JournalEvent[], columns?: number): string {
  const narration = new Narration();
  return written(
    events.flatMap((event) => narration.event(event)),
    columns,
  );
}

describe("a recorded run, told", () => {
  const text = told(spine);

  test.each([
    "Run 2a6c1e01 · claude-sonnet-5-5 · policy coding",
    "Make the failing test pass.",
    "withheld by the policy: 1 path (.env)",
    "model: overloaded (529); try 2 in 0.5 s — overloaded_error",
    "I run the tests first.",
    "▸ bash  npm test\n  allow · shell\n    1 failed\n",
    "… the whole output has 22.8 kB",
    "▸ bash  git push origin fix\n  ask · push — Publishing needs a person.\n  allowed once by a person — The branch is ours.",
    "→ POST https://api.example.com/repos/acme/app/pulls allow · pr",
    "▸ bash  git push --force origin main\n  deny · force — Rule force denies a forced push.",
    "? Also fix sub()? (yes / no)",
    "the sandbox was lost — The engine stopped the container.",
    "✗ acceptance  not passed; the agent goes on\n  ✗ npm test · exit 1 · 0.3 s\n    1 failed",
    "↺ rewound to c2 (event 43)",
    "‖ interrupted by a person — Lunch.",
    "You: Leave sub() alone.",
    "denied because nobody answered in time",
    "✓ acceptance  passed",
    "add() adds.",
  ])("says %j", (part) => expect(text).toContain(part));

  test.each([40, 80])("fits into %i columns", (columns) => {
    for (const row of told(spine, columns).split("\n"))
      expect(displayWidth(row)).toBeLessThanOrEqual(columns);
  });

  test("every type of event can be told", () => {
    for (const event of eventsOf("every-type.ndjson")) expect(() => written(eventLines(event))).not.toThrow();
  });

  test("a type of a newer daemon is passed over", () => {
    expect(eventLines({ ...spine[0], type: "run.levitated" } as unknown as JournalEvent)).toEqual([]);
  });

  test("actions proposed together are each told with their own verdict", () => {
    const order = text.indexOf("▸ plan") < text.indexOf("▸ edit  src/add.js\n  allow · files.write.allow[0]");
    expect(order).toBe(true);
  });
});

describe("what comes live", () => {
  const index = spine.findIndex(({ type }) => type === "action.finished");
  const before = spine.slice(0, index);
  const finished = spine[index] as JournalEvent;

  test("is not told again when it is journalled", () => {
    const narration = new Narration();
    for (const event of before) narration.event(event);
    const live = narration.live({ run: RUN, action: "a1", stream: "stdout", data: "1 failed\nnot " });
    const after = [
      ...narration.live({ run: RUN, action: "a1", stream: "stdout", data: "ok 1" }),
      ...narration.event(finished),
    ];
    expect(written(live)).toBe("    1 failed\n");
    expect(written(after)).toMatch(/^ {4}not ok 1\n {2}exit 1 · /);
  });

  test("is bounded, and what was left out is counted", () => {
    const output = new LiveOutput();
    const lines = output.push(Array.from({ length: 100 }, (_, number) => `line ${number}\n`).join(""));
    expect(lines).toHaveLength(40);
    expect(written(output.end())).toBe("    … 60 more lines\n");
  });

  test("a line without end is shown in pieces, not kept", () => {
    const output = new LiveOutput();
    expect(output.push("x".repeat(5_000))).toHaveLength(1);
    expect(output.push("y")).toHaveLength(0);
  });

  test("a line that overwrites itself is shown as it ends", () => {
    expect(written(new LiveOutput().push("10 %\r50 %\r100 %\r\n"))).toBe("    100 %\n");
  });

  test("the model's words are told as they come, once", () => {
    const responded = before.find(({ type }) => type === "model.responded") as JournalEvent;
    const narration = new Narration();
    const said = [
      ...narration.live({ run: RUN, stream: "text", data: "I run the" }),
      ...narration.live({ run: RUN, stream: "text", data: " tests first.\n" }),
      ...narration.event(responded),
    ];
    expect(written(said).match(/I run the tests first\./g)).toHaveLength(1);
  });

  test("a response that breaks off and comes anew is told anew", () => {
    const failed = before.find(({ type }) => type === "model.failed") as JournalEvent;
    const responded = before.find(({ type }) => type === "model.responded") as JournalEvent;
    const narration = new Narration();
    const said = [
      ...narration.live({ run: RUN, stream: "text", data: "I ru\n" }),
      ...narration.event(failed),
      ...narration.event(responded),
    ];
    expect(written(said)).toMatch(/I ru\n… \(the response broke off\)[\s\S]*I run the tests first\./);
  });

  test("nobody saw: beginning and end are shown", () => {
    const text = Array.from({ length: 100 }, (_, number) => `line ${number}`).join("\n");
    const shown = written(outputLines("bash", text));
    expect(shown).toMatch(/line 0\n[\s\S]*line 11\n {4}… 82 more lines\n {4}line 94\n[\s\S]*line 99\n$/);
  });

  test("an empty output takes no line", () => expect(outputLines("bash", "")).toEqual([]));
});

test("a request that asks a person is told below the command that waits for it", () => {
  const said = spine.find(({ type }) => type === "approval.requested");
  if (said?.type !== "approval.requested") throw new Error("the fixture asks");
  const input = { method: "POST", url: "https://api.example.com/pulls", bodyBytes: 2, preview: "{}" };
  const data = { ...said.data, request: "q1", tool: "fetch", input, rule: "pr", reason: "A person looks." };
  expect(told([{ ...said, data }]).trimEnd()).toBe(
    "    → POST https://api.example.com/pulls (2 B: {}) ask · pr — A person looks.",
  );
});
