import { mkdtemp, rm } from "node:fs/promises";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { vi } from "vitest";
import { Engine } from "../../daemon/sandbox/engine.ts";

/** What the engine answers to `METHOD /path`; undefined: never. */
export type Answer = (
  call: string,
  request: IncomingMessage,
) => { status: number; body?: unknown } | undefined;

export interface FakeEngine {
  readonly engine: Engine;
  /** Every call so far, as `METHOD /path`, without version and query. */
  readonly calls: string[];
  close(): Promise<void>;
}

/** An engine that answers as told, hanging and failing included, behind the real client. */
export async function fakeEngine(answer: Answer): Promise<FakeEngine> {
  const calls: string[] = [];
  const { host, close } = await fakeEngineSocket((call, request) => {
    if (call === "GET /version") return { status: 200, body: VERSION };
    calls.push(call);
    return answer(call, request);
  });
  vi.stubEnv("DOCKER_HOST", host);
  const engine = await Engine.connect().finally(() => vi.unstubAllEnvs());
  return { engine, calls, close };
}

/** An engine's socket, where every call is answered as told; `host` is for DOCKER_HOST. */
export async function fakeEngineSocket(
  answer: Answer,
): Promise<{ readonly host: string; close(): Promise<void> }> {
  const folder = await mkdtemp(join(tmpdir(), "caisson-engine-"));
  const socket = join(folder, "docker.sock");
  const server = createServer((request, response) => {
    const call = `${request.method} ${(request.url ?? "").replace(/\?.*$/, "").replace(/^\/v[\d.]+/, "")}`;
    const given = answer(call, request);
    if (given !== undefined) send(response, given.status, given.body);
  });
  await new Promise<void>((resolve) => server.listen(socket, resolve));
  return {
    host: `unix://${socket}`,
    close: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
      await rm(folder, { recursive: true, force: true });
    },
  };
}

const VERSION = { Version: "20.10.0", ApiVersion: "1.41", MinAPIVersion: "1.12", Arch: "amd64" };

function send(
  response: ServerResponse,
  status: number,
  body: unknown = { message: `status ${status}` },
): void {
  response.writeHead(status, { "content-type": "application/json" });
  response.end(status === 204 ? "" : JSON.stringify(body));
}
