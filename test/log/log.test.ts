import { mkdir, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { createRedactor } from "../../daemon/boundary/redaction.ts";
import { createLog, type Logger } from "../../daemon/log/logger.ts";
import { RotatingFile } from "../../daemon/log/rotating-file.ts";
import { logRun } from "../../daemon/log/run-log.ts";
import { temporaryHome } from "../journal/homes.ts";
import { event, RUN, sealed, submitted } from "../run/journal.ts";

let home: Awaited<ReturnType<typeof temporaryHome>>;
beforeEach(async () => {
  home = await temporaryHome();
});
afterEach(() => home.dispose());

const inHome = (name: string) => join(home.home, name);
const SECRET = "sk-ant-0123456789abcdef";

describe("the log file", () => {
  const write = (file: RotatingFile, from: number, to: number) => {
    for (let at = from; at < to; at += 1) file.write(`${JSON.stringify({ at, pad: "x".repeat(80) })}\n`);
  };

  test("is bounded: older files are kept up to their number, no line is cut", async () => {
    const file = new RotatingFile({ path: inHome("log"), maximumBytes: 1_000, kept: 2 });
    write(file, 0, 100);
    file.close();
    expect((await readdir(home.home)).sort()).toEqual(["log", "log.1", "log.2"]);
    const kept: number[] = [];
    for (const name of ["log.2", "log.1", "log"]) {
      expect((await stat(inHome(name))).size).toBeLessThanOrEqual(1_000);
      const lines = (await readFile(inHome(name), "utf8")).trimEnd().split("\n");
      kept.push(...lines.map((line) => (JSON.parse(line) as { at: number }).at));
    }
    expect(kept).toEqual(Array.from({ length: kept.length }, (_, at) => 100 - kept.length + at));
  });

  test("of an earlier daemon is gone on with, and counts", async () => {
    await writeFile(inHome("log"), `${"y".repeat(990)}\n`);
    const file = new RotatingFile({ path: inHome("log"), maximumBytes: 1_000, kept: 2 });
    write(file, 0, 1);
    file.close();
    expect((await stat(inHome("log.1"))).size).toBe(991);
    expect((await stat(inHome("log"))).mode & 0o777).toBe(0o600);
  });

  test("that can't be written loses its lines, says how many when it can, and harms nobody", async () => {
    await mkdir(inHome("log"));
    const file = new RotatingFile({ path: inHome("log"), maximumBytes: 1_000, kept: 2 });
    write(file, 0, 3);
    await rm(inHome("log"), { recursive: true });
    write(file, 3, 4);
    file.close();
    const [lost, next] = (await readFile(inHome("log"), "utf8"))
      .trimEnd()
      .split("\n")
      .map((one) => JSON.parse(one));
    expect(lost).toMatchObject({ level: "warn", lines: 3 });
    expect(next).toMatchObject({ at: 3 });
  });
});

describe("lines", () => {
  const logged = async (tell: (log: Logger) => void, level: "debug" | "info" = "info") => {
    const redactor = createRedactor([{ name: "key", value: SECRET }]);
    tell(createLog({ home: home.home, redactor, level, echo: false }));
    const text = await readFile(inHome("daemon.log"), "utf8").catch(() => "");
    return text
      .split("\n")
      .flatMap((line) => (line === "" ? [] : [JSON.parse(line) as Record<string, unknown>]));
  };

  test("hold no secret, wherever it stands (J6)", async () => {
    const error = new Error(`401 with Authorization: Bearer ${SECRET}`, { cause: new Error(SECRET) });
    const lines = await logged((log) => {
      log.error(
        { err: error, deep: [{ [SECRET]: Buffer.from(SECRET).toString("base64") }] },
        `told ${SECRET}`,
      );
      log.warn(SECRET);
    });
    const text = JSON.stringify(lines);
    expect(text).not.toContain(SECRET);
    expect(text).not.toContain(Buffer.from(SECRET).toString("base64").slice(0, 20));
    expect(text).toContain("[redacted:key]");
  });

  test("tell an error's type, message, stack and cause", async () => {
    const err = new TypeError("it broke", { cause: new Error("for this reason") });
    const [line] = await logged((log) => log.error({ err }, "request failed"));
    expect(line).toMatchObject({
      level: "error",
      msg: "request failed",
      err: { type: "TypeError", message: "it broke", cause: { message: "for this reason" } },
    });
    expect(line?.err).toMatchObject({ stack: expect.stringContaining("log.test.ts") });
  });

  test("are short, however long what they tell of", async () => {
    let deep: unknown = "end";
    for (let level = 0; level < 100; level += 1) deep = { deep };
    const [line] = await logged((log) => log.warn({ long: "x".repeat(1e6), deep }, "y".repeat(1e6)));
    expect(JSON.stringify(line).length).toBeLessThan(5_000);
    expect(line?.long).toMatch(/x… \(1000000 characters\)$/);
  });

  const EVENTS = sealed([
    submitted,
    event("model.failed", { turn: 1, kind: "overloaded", reason: "TEXT", attempt: 1, status: 529 }),
    event("action.proposed", { action: "a1", turn: 1, tool: "bash", input: { command: "TEXT" } }),
    event("action.judged", {
      action: "a1",
      verdict: "allow",
      rule: "shell",
      reason: "TEXT",
      layer: "run",
      matched: [],
    }),
    event("action.started", { action: "a1" }),
    event("action.finished", { action: "a1", ok: true, exitCode: 0, output: "TEXT", durationMs: 3 }),
    event("message.received", { text: "TEXT" }),
    event("run.failed", { code: "internal", reason: "TEXT" }),
  ]);

  test("of a run name it, its action and its turn; levels say who should look", async () => {
    const lines = await logged((log) => logRun(log, RUN, EVENTS), "debug");
    expect(lines.every((line) => line.run === RUN)).toBe(true);
    expect(lines.map(({ level, msg, action, turn }) => [level, msg, action ?? turn])).toEqual([
      ["info", "run submitted", undefined],
      ["warn", "model request failed", 1],
      ["debug", "action judged", "a1"],
      ["debug", "action started", "a1"],
      ["debug", "action finished", "a1"],
      ["error", "run failed", undefined],
    ]);
  });

  test("of a run tell no task, no command and no output, at any level", async () => {
    const lines = await logged((log) => logRun(log, RUN, EVENTS), "debug");
    expect(JSON.stringify(lines)).not.toMatch(/TEXT|Repair it/);
  });

  test("at info are the life of a run, not its steps", async () => {
    const lines = await logged((log) => logRun(log, RUN, EVENTS));
    expect(lines.map(({ level }) => level)).toEqual(["info", "warn", "error"]);
  });
});
