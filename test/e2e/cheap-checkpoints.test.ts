import { execFile } from "node:child_process";
import { statSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { packageRoot } from "../../daemon/package-root.ts";
import type { EventOf, JournalEvent } from "../../daemon/protocol/events.ts";
import { Engine } from "../../daemon/sandbox/engine.ts";
import { Images } from "../../daemon/sandbox/images.ts";
import { percentile } from "../servers/health.ts";
import { CommandLine } from "./command-line.ts";
import { manyFiles } from "./many-files.ts";
import { dataOf } from "./runs.ts";

const FULL = process.env.CAISSON_TEST_FULL === "1";
const FILES = 30_000;
/** Lines of the largest file; the mean one has some 5 KB. */
const LINES = 1_000;
const TURNS = 400;
/** The figures are over the first so many. */
const COUNTED = 200;
/** Milliseconds of thinking before each response. */
const THINKING_MS = 300;
const PLAIN_COMMITS = 5;
const CALL_MS = 120_000;
const execute = promisify(execFile);

let cli: CommandLine;
beforeAll(async () => {
  cli = await CommandLine.open();
});
afterAll(() => cli.close());

/** Commits of a container that holds the files in its own layer, one changed each time, as without a rebase. */
async function plainCommits(folder: string): Promise<number[]> {
  const engine = await Engine.connect();
  const image = await new Images(engine).ensureImage("base", () => undefined);
  const words = ["run", "--detach", "--network", "none", "--entrypoint", "/bin/sleep", image, "infinity"];
  const id = (await execute("docker", words)).stdout.trim();
  const times: number[] = [];
  try {
    await execute("docker", ["cp", `${folder}/.`, `${id}:/workspace`], { timeout: CALL_MS });
    for (let index = 0; index < PLAIN_COMMITS; index += 1) {
      await execute("docker", [
        "exec",
        "--user=root",
        id,
        "sh",
        "-c",
        `echo ${index} >> /workspace/d${index}/e${index}/f${index}.txt`,
      ]);
      const began = performance.now();
      const made = await engine.call("test: commit", CALL_MS, (docker) =>
        docker.getContainer(id).commit({ pause: false }),
      );
      times.push(performance.now() - began);
      await execute("docker", ["rmi", String(Reflect.get(made as object, "Id"))]);
    }
  } finally {
    await execute("docker", ["rm", "--force", "--volumes", id]);
  }
  return times;
}

async function lastEvents(): Promise<JournalEvent[]> {
  const { out } = await cli.run(["events", "last", "--json"]);
  return out
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as JournalEvent);
}

/** Milliseconds from each response to the start of its action: what a checkpoint held up is in it. */
function waits(events: readonly JournalEvent[]): number[] {
  let responded: EventOf<"model.responded"> | undefined;
  return events.flatMap((event) => {
    if (event.type === "model.responded") responded = event;
    if (event.type !== "action.started" || !responded) return [];
    return [Date.parse(event.at) - Date.parse(responded.at)];
  });
}

describe.skipIf(!FULL)(`${FILES} files, ${TURNS} turns that change one each (CAISSON_TEST_FULL)`, () => {
  test("C2: checkpoints are 20 times cheaper than commits without a rebase, keep nobody waiting, and stay small", async () => {
    const changed = await manyFiles(join(cli.work, "large"), FILES, LINES);
    const turns = Array.from({ length: TURNS }, (_, index) => ({
      delayMs: THINKING_MS,
      use: [{ tool: "bash", input: { command: `echo ${index} >> /workspace/${changed[index * 7]}` } }],
    }));
    await cli.file("turns.yaml", JSON.stringify({ turns: [...turns, { say: "Done." }] }));
    const coding = await readFile(join(packageRoot, "policies", "coding.yaml"), "utf8");
    await cli.file("policy.yaml", coding.replace("actions: 200", "actions: 1000"));
    const words = ["run", "Change.", "--workspace", "large", "--policy", "policy.yaml"];
    const ended = await cli.run([...words, "--model", "script:turns.yaml"]);
    expect(ended).toMatchObject({ status: 0 });
    const events = await lastEvents();
    const taken = dataOf(events, "checkpoint.taken");
    const [first, ...others] = taken;
    const plain = await plainCommits(join(cli.work, "large"));
    const ours = others.slice(0, COUNTED).map(({ durationMs = 0 }) => durationMs);
    const added = waits(events).slice(0, COUNTED);
    const rebases = dataOf(events, "sandbox.started").filter(({ because }) => because === "rebased").length;
    const bytes = others.slice(0, COUNTED - 1).reduce((sum, one) => sum + one.bytes, 0);
    console.table({
      "plain commit p50": percentile(plain, 0.5),
      "checkpoint p50": percentile(ours, 0.5),
      "checkpoint p95": percentile(ours, 0.95),
      "first checkpoint": first?.durationMs,
      "waiting p50": percentile(added, 0.5),
      "waiting p95": percentile(added, 0.95),
      "own bytes of the checkpoints": bytes,
      rebases,
      checkpoints: taken.length,
      skipped: dataOf(events, "checkpoint.skipped").length,
    });
    expect(taken.length).toBeGreaterThanOrEqual(TURNS - 1);
    expect(dataOf(events, "checkpoint.skipped")).toEqual([]);
    // Each turn's file is in a layer whole.
    const sizes = changed.slice(0, TURNS * 7).map((path) => statSync(join(cli.work, "large", path)).size);
    const written = sizes.filter((_, index) => index % 7 === 0).slice(1, COUNTED);
    expect(bytes).toBeLessThan(3 * written.reduce((sum, size) => sum + size, 0));
    expect(percentile(plain, 0.5) / percentile(ours, 0.5)).toBeGreaterThan(20);
    expect(percentile(added, 0.5)).toBeLessThan(5);
  }, 1_800_000);
});
