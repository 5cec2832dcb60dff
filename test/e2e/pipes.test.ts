import { execFile } from "node:child_process";
import { afterAll, beforeAll, expect, test } from "vitest";
import { clientProgram } from "../built.ts";
import { CommandLine } from "./command-line.ts";

/** More than a pipe's reader waits for. */
const TURNS = 80;

let cli: CommandLine;
beforeAll(async () => {
  cli = await CommandLine.open();
  const turns = Array.from({ length: TURNS }, () => ({
    say: "I look again, at length, so that there is something to read.",
    use: [{ tool: "bash", input: { command: "seq 1 50" } }],
  }));
  await cli.file("long.yaml", JSON.stringify({ turns: [...turns, { say: "Done." }] }));
  await cli.file("short.yaml", "turns: [{ say: Done. }]");
  const { status, error } = await cli.run(["run", "Look.", "--model", "script:long.yaml", "--json"]);
  expect(error, String(status)).not.toMatch(/rror/);
  expect(status).toBe(0);
});
afterAll(() => cli.close());

/** A command with the first line of its output taken, and the whole pipe's status where any part of it fails. */
function firstLine(words: readonly string[]): Promise<{ status: number; out: string; error: string }> {
  const pipe = ["-o", "pipefail", "-c", '"$@" | head -n 1', "bash", ...clientProgram(), ...words];
  return new Promise((resolve) => {
    execFile("bash", pipe, { cwd: cli.work, env: cli.env, timeout: 60_000 }, (failure, out, error) =>
      resolve({ status: failure === null ? 0 : Number(failure.code), out, error }),
    );
  });
}

test.each([
  [["events", "last"]],
  [["events", "last", "--json"]],
  [["watch", "last"]],
  [["watch", "last", "--json"]],
  [["logs"]],
  [["logs", "--json"]],
])("%j | head -1: the line, no trace, status 0", async (words) => {
  const { status, out, error } = await firstLine(words);
  expect(out.split("\n")).toHaveLength(2);
  expect([status, error]).toEqual([0, ""]);
});

test("logs --follow | head -1 ends at the next line after its reader has gone", async () => {
  const first = firstLine(["logs", "--follow"]);
  let over = false;
  void first.then(() => {
    over = true;
  });
  while (!over) await cli.run(["run", "One more for the log.", "--model", "script:short.yaml"]);
  expect(await first).toMatchObject({ status: 0, error: "" });
});
