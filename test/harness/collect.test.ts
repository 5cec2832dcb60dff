import { mkdtemp, readdir, readlink, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { v7 as newRunId } from "uuid";
import { afterEach, beforeEach, expect, test } from "vitest";
import { collect } from "../../daemon/harness/collect.ts";
import { createFileOutputStore } from "../../daemon/journal/file-output-store.ts";
import { SandboxLost, type SandboxProcess } from "../../daemon/sandbox/gate.ts";

const PIECE = Buffer.alloc(300_000, "x");

let home: string;
beforeEach(async () => {
  home = await mkdtemp(join(tmpdir(), "caisson-collect-"));
});
afterEach(() => rm(home, { recursive: true }));

/** A process that prints `PIECE`, and then ends well or is lost with its sandbox. */
function printing(lost: boolean): SandboxProcess {
  async function* output() {
    yield { stream: "stdout" as const, offset: 0, bytes: PIECE };
    if (lost) throw new SandboxLost("killed");
  }
  const outcome = Promise.resolve({ exitCode: 0, timedOut: false, stateSaved: true, leftRunning: 0 });
  const nothing = () => undefined;
  return {
    id: "a1",
    output: output(),
    outcome,
    acknowledge: nothing,
    keepTail: nothing,
  } as unknown as SandboxProcess;
}

async function openBelow(folder: string): Promise<string[]> {
  const targets = (await readdir("/proc/self/fd")).map((fd) =>
    readlink(`/proc/self/fd/${fd}`).catch(() => ""),
  );
  return (await Promise.all(targets)).filter((target) => target.startsWith(folder));
}

test("S6: lets go of what it stored in when the process ends, and when its sandbox is lost; the file stays", async () => {
  const run = newRunId();
  const store = createFileOutputStore(home);
  const { stdout } = await collect(printing(false), store.create(run, "a1"));
  expect(stdout().length).toBe(PIECE.length);
  await expect(collect(printing(true), store.create(run, "a2"))).rejects.toThrow("killed");
  expect(await openBelow(home)).toEqual([]);
  for (const action of ["a1", "a2"]) {
    const again = await store.open(run, action);
    expect(again.stored).toEqual({ stdout: PIECE.length, stderr: 0 });
    await again.append([{ stream: "stdout", bytes: PIECE }]);
    expect(await openBelow(home)).toHaveLength(1);
    await again.remove();
  }
  expect(await openBelow(home)).toEqual([]);
  expect(await readdir(join(home, "runs", run, "output"))).toEqual([]);
});
