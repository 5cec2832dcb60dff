import { appendFile, mkdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { CAUGHT_UP, readLog } from "../../../client/cli/log-files.ts";
import { painted } from "../../../client/cli/render/line.ts";
import { LogNarration, parseLogLine } from "../../../client/cli/render/log-line.ts";
import { displayWidth } from "../../../client/cli/render/width.ts";
import { RotatingFile } from "../../../daemon/log/rotating-file.ts";
import { CommandLine } from "../../e2e/command-line.ts";
import { temporaryHome } from "../../journal/homes.ts";

const RUN = "019aa3f0-5b00-7c3a-9d51-0f6f2a6c1e01";
const OTHER = "019aa3f0-9e80-7d11-8a40-5b7c9d2e4f02";
const entry = (fields: Readonly<Record<string, unknown>>) =>
  JSON.stringify({ level: "info", time: "2026-11-21T09:00:01.000Z", ...fields });

describe("reading", () => {
  let home: Awaited<ReturnType<typeof temporaryHome>>;
  beforeEach(async () => {
    home = await temporaryHome();
  });
  afterEach(() => home.dispose());

  const path = () => join(home.home, "log");

  test("older files come first, a last line without its end comes too", async () => {
    await writeFile(`${path()}.2`, "one\n");
    await writeFile(`${path()}.1`, "two\nthr");
    await writeFile(path(), "four\nfive");
    const seen: unknown[] = [];
    for await (const line of readLog(path())) seen.push(line);
    expect(seen).toEqual(["one", "two", "thr", "four", "five", CAUGHT_UP]);
  });

  test("following goes on through every new file, without a gap and without a repetition", async () => {
    const file = new RotatingFile({ path: path(), maximumBytes: 400, kept: 3 });
    let next = 0;
    const write = (count: number) => {
      for (let left = count; left > 0; left -= 1) file.write(`${String(next++).padStart(30, "0")}\n`);
    };
    write(5);
    const stopped = new AbortController();
    const seen: number[] = [];
    for await (const line of readLog(path(), stopped.signal)) {
      // Twelve lines fill a file: the reader is always somewhere behind a file that is being put away.
      if (line === CAUGHT_UP) write(7);
      else if (seen.push(Number(line)) % 6 === 0 && next < 200) write(6);
      if (seen.length === next && next >= 200) stopped.abort();
    }
    file.close();
    expect(seen).toEqual(Array.from({ length: next }, (_, at) => at));
  });

  test("a log that comes to be later, or is emptied, is followed from its beginning", async () => {
    const stopped = new AbortController();
    const seen: unknown[] = [];
    for await (const line of readLog(path(), stopped.signal)) {
      seen.push(line);
      if (line === CAUGHT_UP) await writeFile(path(), "a first line\n");
      else if (line === "a first line") await writeFile(path(), "second\n");
      else stopped.abort();
    }
    expect(seen).toEqual([CAUGHT_UP, "a first line", "second"]);
  });
});

describe("telling", () => {
  const told = (raw: string, columns = 80) => {
    const narration = new LogNarration(true);
    return painted(narration.lines(parseLogLine(raw)), { columns, colour: (text) => text });
  };

  test("says when, how grave, what, and of which run and action", () => {
    const text = told(
      entry({
        level: "warn",
        durationMs: 3,
        action: "a1",
        run: RUN,
        msg: "it was lost",
        reason: "two words",
      }),
    );
    expect(text).toMatch(
      /^2026-11-21\n\d\d:\d\d:01 warn {2}it was lost {2}run=2a6c1e01 {2}action=a1 {2}durationMs=3/,
    );
    expect(text.replaceAll("\n", " ")).toContain('reason="two words"');
  });

  test("an error's stack and cause stand below it", () => {
    const err = {
      type: "Error",
      message: "it broke",
      stack: "Error: it broke\n  at x",
      cause: { message: "why" },
    };
    expect(told(entry({ level: "error", msg: "request failed", err }))).toMatch(
      /error request failed\n {2}Error: it broke\n {4}at x\n {2}why\n$/,
    );
  });

  test("what is none of the log's own lines is shown as it is", () => {
    expect(told("node: bad option")).toBe("node: bad option\n");
    expect(told('{"no":"level"}')).toBe('{"no":"level"}\n');
    expect(told('{"level":"info","time":"never"}')).toContain("info");
  });

  test.each([20, 40])("fits %d columns and can't steer the terminal", (columns) => {
    const nasty = "\x1b]0;title\x07\x1b[31mred\u202e \x9b2J";
    const text = told(entry({ msg: nasty, reason: `${nasty} ${"long ".repeat(30)}`, run: RUN }), columns);
    for (const row of text.split("\n")) expect(displayWidth(row)).toBeLessThanOrEqual(columns);
    // biome-ignore lint/suspicious/noControlCharactersInRegex: none of them may come through
    expect(text).not.toMatch(/[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]/);
  });
});

describe("the command, without a daemon", () => {
  let cli: CommandLine;
  const log = () => join(cli.folder, "home", "daemon.log");
  beforeAll(async () => {
    cli = await CommandLine.open();
    await mkdir(join(cli.folder, "home", "runs", RUN), { recursive: true });
    await mkdir(join(cli.folder, "home", "runs", OTHER), { recursive: true });
  });
  beforeEach(async () => {
    await writeFile(`${log()}.1`, `${entry({ msg: "oldest" })}\nnode: a crash\n`);
    await writeFile(
      log(),
      `${[
        entry({ level: "debug", msg: "one", run: RUN }),
        entry({ level: "warn", msg: "two", run: RUN }),
        entry({ level: "error", msg: "three", run: OTHER }),
      ].join("\n")}\n`,
    );
  });
  afterAll(() => cli?.close());

  const messages = (text: string) =>
    text.split("\n").flatMap((line) => /oldest|a crash|one|two|three/.exec(line)?.[0] ?? []);

  test.each([
    [[], ["oldest", "a crash", "one", "two", "three"]],
    [["--json"], ["oldest", "a crash", "one", "two", "three"]],
    [
      ["--json", "-n", "2"],
      ["two", "three"],
    ],
    [
      ["--level", "warn"],
      ["a crash", "two", "three"],
    ],
    [
      ["--run", RUN.slice(-8)],
      ["one", "two"],
    ],
    [["--run", "last", "--level", "error", "-n", "9"], ["three"]],
  ])("logs %j", async (options, expected) => {
    const { status, out, error } = await cli.run(["logs", ...options]);
    expect({ status, error }).toEqual({ status: 0, error: "" });
    expect(messages(out)).toEqual(expected);
    const own = out.split("\n").filter((line) => /one|two|three|oldest/.test(line));
    if (options[0] === "--json") for (const line of own) expect(JSON.parse(line)).toHaveProperty("level");
    else for (const line of own) expect(line).toMatch(/^2026-11-21T09:00:01\.000Z (debug|info|warn|error) /);
  });

  test.each([
    [["--level", "loud"], /--level loud: write one of debug, info, warn, error/],
    [["-n", "many"], /-n many: write how many lines/],
    [["--run", "nope1234"], /There is no run "nope1234"/],
  ])("logs %j is refused in words", async (options, words) => {
    const { status, error } = await cli.run(["logs", ...options]);
    expect(status).toBe(2);
    expect(error).toMatch(words);
    expect(error).not.toMatch(/ at .*:\d+/);
  });

  test("--follow tells what comes, through a new file, until Ctrl-C", async () => {
    const following = cli.start(["logs", "--follow", "-n", "1"]);
    await following.says(/three/);
    await appendFile(log(), `${entry({ msg: "four" })}\n`);
    await following.says(/four/);
    const file = new RotatingFile({ path: log(), maximumBytes: 1, kept: 1 });
    file.write(`${entry({ msg: "five" })}\n`);
    file.close();
    await following.says(/five/);
    following.child.kill("SIGINT");
    const { status, out, error } = await following.ended;
    expect({ status, error }).toEqual({ status: 130, error: "" });
    expect(out.match(/three|four|five/g)).toEqual(["three", "four", "five"]);
    expect(out).not.toContain("one");
  });

  test("--follow ends quietly when its reader has gone", async () => {
    const following = cli.start(["logs", "--follow"]);
    await following.says(/three/);
    following.child.stdout?.destroy();
    await appendFile(log(), `${entry({ msg: "four" })}\n`.repeat(3));
    expect(await following.ended).toMatchObject({ status: 0, error: "" });
  });

  test("says so when there is no log", async () => {
    await rm(log());
    await rm(`${log()}.1`);
    const { status, out, error } = await cli.run(["logs"]);
    expect({ status, out }).toEqual({ status: 0, out: "" });
    expect(error).toMatch(/There is no log at .*daemon\.log: no daemon of this home has run yet/);
  });
});
