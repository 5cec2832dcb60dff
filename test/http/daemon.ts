import { createAccess } from "../../daemon/http/access.ts";
import { Admission, type AdmissionLimits } from "../../daemon/http/admission.ts";
import { createHttpApp } from "../../daemon/http/app.ts";
import { createHttpServer } from "../../daemon/http/server.ts";
import type { Blobs, Journal } from "../../daemon/journal/port.ts";
import type { StreamLimits } from "../../daemon/sockets/limits.ts";
import { createStream } from "../../daemon/sockets/stream.ts";
import { CannedHarness, cannedViews, MemoryBlobs, MemoryJournal } from "./doubles.ts";

export const TOKEN = "a-token-of-the-tests";

export interface TestDaemon {
  readonly url: string;
  readonly port: number;
  readonly journal: MemoryJournal;
  readonly blobs: MemoryBlobs;
  readonly owned: Set<string>;
  readonly harness: CannedHarness;
  readonly logged: { fields: object; message: string }[];
  readonly sockets: number;
  /** A request with the token, unless `headers` say otherwise. */
  call(method: string, path: string, options?: CallOptions): Promise<Response>;
  /** The first half of stopping: the stream is closed, the server still answers. */
  stopStream(): Promise<void>;
  stop(): Promise<void>;
}

export interface CallOptions {
  readonly body?: unknown;
  readonly headers?: Record<string, string>;
}

export interface DaemonOptions {
  readonly limits?: Partial<StreamLimits>;
  readonly admission?: Partial<AdmissionLimits>;
  readonly journal?: MemoryJournal;
  readonly port?: number;
  readonly maximumWorkspaceBytes?: number;
}

/** The HTTP and WebSocket faces over doubles, on a free port of the loopback. */
export async function startDaemon(options: DaemonOptions = {}): Promise<TestDaemon> {
  const journal = options.journal ?? new MemoryJournal();
  const blobs = new MemoryBlobs();
  const harness = new CannedHarness();
  const owned = new Set<string>();
  const logged: TestDaemon["logged"] = [];
  const log = (fields: object, message: string) => logged.push({ fields, message });
  const access = createAccess({ token: TOKEN, host: "127.0.0.1" });
  const admission = new Admission(options.admission);
  const app = createHttpApp({
    admission,
    access,
    harness: harness.face,
    views: cannedViews(journal, owned),
    journal: journal as unknown as Journal,
    blobs: blobs as unknown as Blobs,
    metrics: { contentType: "text/plain; version=0.0.4; charset=utf-8", text: async () => "up 1\n" },
    version: "0.0.0-test",
    log: { error: log, warn: log },
    maximumWorkspaceBytes: options.maximumWorkspaceBytes ?? 1024 * 1024,
  });
  const server = createHttpServer(app, admission);
  const { port } = await server.listen("127.0.0.1", options.port ?? 0);
  const stream = createStream({
    server: server.server,
    admission,
    access,
    journal,
    harness: harness.face,
    ...(options.limits ? { limits: options.limits } : {}),
  });
  const url = `http://127.0.0.1:${port}`;
  return {
    url,
    port,
    journal,
    blobs,
    owned,
    harness,
    logged,
    get sockets() {
      return stream.sockets;
    },
    call: (method, path, { body, headers } = {}) => fetch(url + path, request(method, body, headers)),
    stopStream: () => stream.close(),
    stop: async () => {
      await stream.close();
      await server.close(0);
    },
  };
}

function request(method: string, body: unknown, headers: Record<string, string> | undefined): RequestInit {
  const raw = typeof body === "string" || body instanceof Uint8Array;
  return {
    method,
    headers: {
      authorization: `Bearer ${TOKEN}`,
      ...(body === undefined ? {} : { "content-type": "application/json" }),
      ...headers,
    },
    ...(body === undefined ? {} : { body: raw ? (body as string) : JSON.stringify(body) }),
    signal: AbortSignal.timeout(10_000),
  };
}
