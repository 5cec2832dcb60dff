/** What the gateway relies on of a sandbox's proxy port, whatever makes the sandboxes. */
import { once } from "node:events";
import type { Duplex } from "node:stream";
import { pipeline } from "node:stream/promises";
import { expect, it } from "vitest";
import { PROXY_PORT } from "../../daemon/sandbox/gate.ts";
import type { Sandbox, SandboxHost } from "../../daemon/sandbox/host.ts";
import { finish, processSpec, shellIn } from "./run-in-sandbox.ts";

export interface ConnectionsUnderTest {
  readonly subject: () => { successor(): Promise<SandboxHost> };
  readonly acquire: () => Promise<Sandbox>;
}

const DIAL = `exec 5<>/dev/tcp/127.0.0.1/${PROXY_PORT}`;

export function describeConnections({ subject, acquire }: ConnectionsUnderTest): void {
  it("S1: carries what commands send to the proxy port, and the answers, and nothing to anywhere else", async () => {
    const sandbox = await acquire();
    expect(sandbox.facts.proxyPort).toBe(PROXY_PORT);
    sandbox.onConnection(upperCase);
    const ran = await shellIn(sandbox, `${DIAL}; echo hello >&5; head -n 1 <&5; cat /proc/net/tcp`);
    const [answer, ...listed] = ran.stdout.trim().split("\n");
    expect(answer).toBe("HELLO");
    const listening = listed.filter((line) => /^\s*\d+: \S+ 00000000:0000 0A /.test(line));
    const port = PROXY_PORT.toString(16).toUpperCase().padStart(4, "0");
    expect(listening).toEqual([expect.stringContaining(`0100007F:${port}`)]);
  });

  it("resets connections that nobody takes", async () => {
    const sandbox = await acquire();
    const ran = await shellIn(sandbox, `${DIAL} && read -r line <&5`);
    expect(ran.outcome.exitCode).not.toBe(0);
    expect(ran.stderr).toMatch(/reset by peer/i);
  });

  it("a command can neither listen on the proxy port nor inherit its socket", async () => {
    const sandbox = await acquire();
    const nc = `/.caisson/busybox nc -l -p ${PROXY_PORT}`;
    const ran = await shellIn(
      sandbox,
      `${nc}; /.caisson/busybox ls -l /proc/self/fd 2>/dev/null | grep socket; true`,
    );
    expect(ran.stderr).toMatch(/in use/i);
    expect(ran.stdout).toBe("");
  });

  it("fails closed: with the daemon that held them connections are reset, and its successor serves new ones", async () => {
    const first = await acquire();
    const taken = new Promise<Duplex>((resolve) => first.onConnection(resolve));
    const spec = processSpec(["/.caisson/bash", "-c", `${DIAL}; echo asked >&5; read -r line <&5`]);
    const process = await first.start(spec);
    const [asked] = await once(await taken, "data");
    expect(String(asked)).toBe("asked\n");
    first.detach();

    const host = await subject().successor();
    const again = await host.reattach(first.id);
    const resumed = await again?.resume(spec.id, { stdout: 0, stderr: 0 });
    if (again === undefined || resumed === undefined) throw new Error("not running any more");
    again.onConnection(upperCase);
    expect((await finish(resumed)).stderr).toMatch(/reset by peer/i);
    expect((await shellIn(again, `${DIAL}; echo new >&5; head -n 1 <&5`)).stdout).toBe("NEW\n");
    again.detach();
    await host.close();
    expect(process.id).toBe(spec.id);
  });
}

function upperCase(connection: Duplex): void {
  const upper = async function* (bytes: AsyncIterable<Buffer>) {
    for await (const piece of bytes) yield piece.toString().toUpperCase();
  };
  pipeline(connection, upper, connection).catch(() => undefined);
}
