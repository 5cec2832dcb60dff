import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { Duplex } from "node:stream";
import { CaissonError } from "../protocol/errors.ts";
import type { Admission } from "./admission.ts";
import { answerBroken, refuseRaw } from "./broken-request.ts";

/** Bounds of the listener; durations in milliseconds. */
const LIMITS = {
  /** Beyond all that is counted one by one; keeps the process below its bound on open files. */
  connections: 2_048,
  headersMs: 10_000,
  /** The longest upload; bodies have deadlines of their own. */
  requestMs: 600_000,
  /** How exactly the two before it are kept. */
  checkMs: 1_000,
  keepAliveMs: 30_000,
  /** A socket on which nothing moves for so long is closed; longer than any handler takes. */
  idleMs: 660_000,
  listenMs: 10_000,
  /** Connections that wait to be taken: below what `Admission` lets stand idle, so that each is read once. */
  backlog: 1_000,
} as const;

export interface HttpServer {
  readonly server: Server;
  /** Starts to listen; port 0 takes a free one. @throws the system's error, such as EADDRINUSE */
  listen(host: string, port: number): Promise<{ readonly host: string; readonly port: number }>;
  /** Takes no new requests, lets those under way finish for `graceMs`, then cuts them off. */
  close(graceMs: number): Promise<void>;
}

type Listener = (request: IncomingMessage, response: ServerResponse) => void;

/** A server with every time and count bounded. The owner closes it. */
export function createHttpServer(app: Listener, admission: Admission): HttpServer {
  const server = createServer(
    {
      requestTimeout: LIMITS.requestMs,
      headersTimeout: LIMITS.headersMs,
      connectionsCheckingInterval: LIMITS.checkMs,
      keepAliveTimeout: LIMITS.keepAliveMs,
      // The app refuses a request without a Host as it refuses a foreign one.
      requireHostHeader: false,
    },
    app,
  );
  server.maxConnections = LIMITS.connections;
  server.timeout = LIMITS.idleMs;
  const answers = new WeakMap<Duplex, ServerResponse>();
  server.on("connection", (socket) => admission.connected(socket));
  server.on("request", (request, response) => answers.set(request.socket, response));
  // Node would close it without a word.
  server.on("connect", (_request, socket) => refuseRaw(socket, noTunnels()));
  // What a request expects of a server it need not get (RFC 9110, 10.1.1).
  server.on("checkExpectation", app);
  const refused = new WeakSet<Duplex>();
  server.on("clientError", (error, socket) => {
    // What still comes from who was refused is broken too; to cut it now would cost it the answer.
    if (refused.has(socket)) return;
    refused.add(socket);
    answerBroken(error, socket, answers.get(socket));
  });
  return {
    server,
    listen: (host, port) => listen(server, host, port),
    close: (graceMs) => close(server, graceMs),
  };
}

function noTunnels(): CaissonError {
  return new CaissonError(
    "method_not_allowed",
    "The daemon is no proxy; nothing was connected. Take its address out of HTTPS_PROXY.",
  );
}

function listen(server: Server, host: string, port: number) {
  return new Promise<{ host: string; port: number }>((resolve, reject) => {
    const failed = (error: Error) => {
      clearTimeout(timer);
      reject(error);
    };
    const timer = setTimeout(() => {
      server.close();
      failed(new Error(`listening on ${host}:${port} took longer than ${LIMITS.listenMs} ms`));
    }, LIMITS.listenMs);
    server.once("error", failed);
    server.listen({ host, port, exclusive: true, backlog: LIMITS.backlog }, () => {
      clearTimeout(timer);
      server.off("error", failed);
      resolve({ host, port: (server.address() as AddressInfo).port });
    });
  });
}

function close(server: Server, graceMs: number): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(() => server.closeAllConnections(), graceMs);
    server.close(() => {
      clearTimeout(timer);
      resolve();
    });
    server.closeIdleConnections();
  });
}
