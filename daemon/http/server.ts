import { createServer, type RequestListener, type Server } from "node:http";
import type { AddressInfo } from "node:net";

/** Bounds of the listener; durations in milliseconds. */
const LIMITS = {
  connections: 1_024,
  headersMs: 10_000,
  /** The longest upload; JSON bodies have a shorter deadline of their own. */
  requestMs: 600_000,
  keepAliveMs: 30_000,
  /** A socket on which nothing moves for so long is closed; longer than any handler takes. */
  idleMs: 660_000,
  listenMs: 10_000,
} as const;

export interface HttpServer {
  readonly server: Server;
  /** Starts to listen; port 0 takes a free one. @throws the system's error, such as EADDRINUSE */
  listen(host: string, port: number): Promise<{ readonly host: string; readonly port: number }>;
  /** Takes no new requests, lets those under way finish for `graceMs`, then cuts them off. */
  close(graceMs: number): Promise<void>;
}

/** A server with every time and count bounded. The owner closes it. */
export function createHttpServer(app: RequestListener): HttpServer {
  const server = createServer({ requestTimeout: LIMITS.requestMs, headersTimeout: LIMITS.headersMs }, app);
  server.keepAliveTimeout = LIMITS.keepAliveMs;
  server.maxConnections = LIMITS.connections;
  server.maxRequestsPerSocket = 0;
  server.timeout = LIMITS.idleMs;
  return {
    server,
    listen: (host, port) => listen(server, host, port),
    close: (graceMs) => close(server, graceMs),
  };
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
    server.listen({ host, port, exclusive: true }, () => {
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
