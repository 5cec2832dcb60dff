import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { Duplex } from "node:stream";
import { createSecureContext } from "node:tls";
import type { Dialler } from "./dial.ts";
import { exchange, type Place } from "./exchange.ts";
import { GATEWAY_LIMITS, type GatewayLimits } from "./limits.ts";
import type { Gatekeeper } from "./port.ts";
import { refuseConnection } from "./refusal.ts";
import { type Lookup, lookupBySystem } from "./resolve.ts";
import { Served } from "./served.ts";
import { connectTunnel } from "./tunnel.ts";

export interface GatewayOptions {
  /** PEM: certificates to trust upstream instead of Node's own, which `NODE_EXTRA_CA_CERTS` adds to. */
  readonly ca?: string;
  /** How names are resolved; the system's own way unless given. */
  readonly lookup?: Lookup;
  readonly limits?: Partial<GatewayLimits>;
}

/** The only way out of a sandbox: an HTTP/1.1 proxy over whatever carries its connections. */
export interface Gateway {
  /**
   * Serves a connection from a sandbox, and owns it from here on. Takes absolute-form requests (of `https:` too, for
   * who can't do TLS itself) and CONNECT; nothing leaves that the keeper has not allowed.
   */
  serve(connection: Duplex, keeper: Gatekeeper): void;
  /** Resets every connection. */
  close(): void;
}

export function createGateway(options: GatewayOptions = {}): Gateway {
  const { ca, lookup = lookupBySystem, limits } = options;
  const dialler: Dialler = {
    limits: { ...GATEWAY_LIMITS, ...limits },
    trust: createSecureContext(ca === undefined ? {} : { ca }),
    lookup,
  };
  const live = new Set<Served>();
  /** By the stream that requests are read from: a connection, or the plain side of its tunnel. */
  const sources = new WeakMap<Duplex, Served>();
  const server = createHttpServer(dialler.limits);
  const onRequest = (request: IncomingMessage, response: ServerResponse) => {
    const served = sources.get(request.socket);
    if (served === undefined) return void request.socket.destroy();
    served.inTurn(() => {
      served.answering = response;
      return exchange(request, response, placeOf(served, dialler.limits));
    });
  };
  server.on("request", onRequest);
  // Whether a body is wanted is only known once the request has been judged.
  server.on("checkContinue", onRequest);
  server.on("clientError", (error, socket) => {
    // In the middle of an answer there is no place for another.
    const served = sources.get(socket);
    const { headersSent, writableFinished } = served?.answering ?? {};
    if (served === undefined || (headersSent && !writableFinished)) return void socket.destroy();
    const reason = `the request can't be read as HTTP/1.1: ${error.message}`;
    const next = "Send one plain, well-formed HTTP/1.1 request.";
    refuseConnection(socket, { status: 400, what: "(unreadable)", reason, next });
  });
  server.on("connect", (request, socket, head) => {
    const served = sources.get(socket);
    if (served === undefined) return void socket.destroy();
    const inspected = (secured: Duplex) => {
      sources.set(secured, served);
      served.source = secured;
      server.emit("connection", secured);
    };
    served.inTurn(() => connectTunnel({ request, head, served, dialler, inspected }));
  });
  return {
    serve: (connection, keeper) => {
      const served = new Served(connection, keeper, dialler);
      live.add(served);
      connection.once("close", () => live.delete(served));
      sources.set(connection, served);
      server.emit("connection", connection);
    },
    close: () => {
      for (const served of live) served.reset();
    },
  };
}

function placeOf({ keeper, upstream, tunnel }: Served, limits: GatewayLimits): Place {
  if (tunnel === undefined) return { keeper, upstream, limits };
  const { violation, ...end } = tunnel;
  return { keeper, upstream, limits, tunnel: end, ...(violation === undefined ? {} : { violation }) };
}

/** A parser and framer of requests; it never listens, so that its own timers do not run: `Served` has them. */
function createHttpServer({ requestHeadBytes, headMs }: GatewayLimits) {
  const server = createServer({
    maxHeaderSize: requestHeadBytes,
    insecureHTTPParser: false,
    keepAliveTimeout: headMs,
    // A missing one is refused with the others, so that the answer says why.
    requireHostHeader: false,
  });
  // All there is room for: beyond a count Node would drop headers silently.
  server.maxHeadersCount = 0;
  return server;
}
