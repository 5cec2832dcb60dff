/** A sandbox of its own for attacks from inside. What it may not reach must be refused by the kernel. */
import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, expect } from "vitest";
import type { Sandbox, SandboxLimits } from "../../daemon/sandbox/host.ts";
import { type Ran, runIn, shellIn } from "../contracts/run-in-sandbox.ts";
import { dockerHosts } from "./docker-hosts.ts";

export interface Attacked {
  readonly sandbox: () => Sandbox;
  /** What a script prints, trimmed. */
  shell(script: string): Promise<string>;
  python(script: string): Promise<Ran>;
  /** `done`, or the errno's name with which the kernel refused what the Python lines try. */
  attempt(lines: string): Promise<string>;
}

/** To be called in a `describe`: makes the sandbox before its tests, and removes it after them. */
export function attackedSandbox(limits: SandboxLimits): Attacked {
  let current: Sandbox | undefined;
  let close = async (): Promise<void> => undefined;
  const sandbox = (): Sandbox => {
    if (current === undefined) throw new Error("the sandbox is not there yet");
    return current;
  };

  beforeAll(async () => {
    const hosts = await dockerHosts();
    const host = hosts.host("isolation");
    close = async () => {
      await current?.destroy();
      await host.close();
      expect(await hosts.cleanUp(), "containers left behind").toBe(0);
    };
    current = await host.acquire({ run: randomUUID(), image: "python", limits });
  }, 300_000);
  afterAll(() => close(), 60_000);

  const python = (script: string): Promise<Ran> => runIn(sandbox(), ["/usr/bin/python3", "-c", script]);
  return {
    sandbox,
    python,
    shell: async (script) => (await shellIn(sandbox(), script)).stdout.trim(),
    attempt: async (lines) => {
      const ran = await python(`${PRELUDE}try:\n${lines.replace(/^/gm, "  ")}
  print("done")
except OSError as error: print(errno.errorcode[error.errno])`);
      return ran.stdout.trim() || ran.stderr.trim();
    },
  };
}

const PRELUDE = `import ctypes, errno, os, socket
libc = ctypes.CDLL(None, use_errno=True)
def call(*args):
  result = libc.syscall(*args)
  if result < 0: raise OSError(ctypes.get_errno(), "")
  return result
`;
