import { describe, expect, it } from "vitest";
import type { OutputChunk, ProcessOutcome, ProcessSpec, SandboxProcess } from "../../daemon/sandbox/host.ts";
import { putTar } from "../../daemon/sandbox/put-tar.ts";

const ENDED: ProcessOutcome = {
  exitCode: 0,
  timedOut: false,
  stateSaved: false,
  durationMs: 1,
  maxRssBytes: 0,
  cpuMs: 0,
  stdoutBytes: 0,
  stderrBytes: 0,
  leftRunning: 0,
};

/** An unpacker that takes pieces one at a time and ends when told, or when its input ends. */
function unpacker(behaviour: {
  readonly errors?: string;
  readonly endsAfter?: number;
  readonly exitCode?: number;
}) {
  const taken: number[] = [];
  const signals: string[] = [];
  const forgotten: string[] = [];
  let end: (outcome: ProcessOutcome) => void = () => undefined;
  const outcome = new Promise<ProcessOutcome>((resolve) => {
    end = resolve;
  });
  const finish = (): void => end({ ...ENDED, exitCode: behaviour.exitCode ?? 0 });
  async function* output(): AsyncGenerator<OutputChunk> {
    await outcome;
    if (behaviour.errors) yield { stream: "stderr", offset: 0, bytes: Buffer.from(behaviour.errors) };
  }
  const process: SandboxProcess = {
    id: "tar",
    output: output(),
    outcome,
    acknowledge: () => undefined,
    keepTail: () => undefined,
    write: async (bytes) => {
      if (taken.length === behaviour.endsAfter) {
        finish();
        // As when a reader has gone: what it did not take is never taken.
        await new Promise(() => undefined);
      }
      taken.push(bytes.length);
    },
    closeStdin: finish,
    signal: (signal) => signals.push(signal),
  };
  const specs: ProcessSpec[] = [];
  const sandbox = {
    start: async (spec: ProcessSpec) => {
      specs.push(spec);
      return process;
    },
    forget: (id: string) => forgotten.push(id),
  };
  return { sandbox, taken, signals, forgotten, specs };
}

async function* pieces(count: number, bytes: number): AsyncGenerator<Uint8Array> {
  for (let index = 0; index < count; index += 1) yield new Uint8Array(bytes);
}

describe("unpacking an archive in a sandbox", () => {
  it("hands it over in bounded pieces, each after the one before was taken", async () => {
    const { sandbox, taken, forgotten, specs } = unpacker({});
    await putTar(sandbox, "p", "/workspace", pieces(2, 600 * 1024));
    expect(Math.max(...taken)).toBeLessThanOrEqual(256 * 1024);
    expect(taken.reduce((sum, length) => sum + length, 0)).toBe(2 * 600 * 1024);
    expect(specs[0]?.argv.slice(-2)).toEqual(["-C", "/workspace"]);
    expect(forgotten).toEqual(["p"]);
  });

  it("fails with the unpacker's own words, bounded", async () => {
    const { sandbox } = unpacker({ errors: `tar: no space left${"!".repeat(9_000)}`, exitCode: 2 });
    const failure = putTar(sandbox, "p", "/workspace", pieces(1, 10));
    await expect(failure).rejects.toThrow(/unpacking into \/workspace failed: exit 2: tar: no space left/);
    await expect(failure).rejects.toSatisfy((error: Error) => error.message.length < 5_000);
  });

  it("stops reading the archive when the unpacker ends early", async () => {
    const { sandbox, taken } = unpacker({ endsAfter: 3, exitCode: 1, errors: "bad header" });
    await expect(putTar(sandbox, "p", "/w", pieces(Number.POSITIVE_INFINITY, 10))).rejects.toThrow(
      "bad header",
    );
    expect(taken).toHaveLength(3);
  });

  it("kills the unpacker when the archive can't be read to its end", async () => {
    const { sandbox, signals, forgotten } = unpacker({});
    async function* broken(): AsyncGenerator<Uint8Array> {
      yield new Uint8Array(10);
      throw new Error("disk gone");
    }
    await expect(putTar(sandbox, "p", "/w", broken())).rejects.toThrow("disk gone");
    expect(signals).toEqual(["SIGKILL"]);
    expect(forgotten).toEqual(["p"]);
  });
});
