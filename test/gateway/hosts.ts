/** Hosts that requests go to: real servers on loopback, known by made-up names, behind a resolver of the test's own. */
import { once } from "node:events";
import { createServer, type IncomingMessage, type RequestListener, type Server } from "node:http";
import { createServer as createSecureServer } from "node:https";
import { type AddressInfo, connect, createServer as createTcpServer, type Socket } from "node:net";
import type { Duplex } from "node:stream";
import { connect as secure, type TLSSocket } from "node:tls";
import { createAuthority } from "../../daemon/gateway/authority.ts";
import { createGateway, type Gateway, type GatewayOptions } from "../../daemon/gateway/gateway.ts";
import type { Gatekeeper } from "../../daemon/gateway/port.ts";

export interface Host {
  readonly port: number;
  /** Requests as they arrived, bodies included. */
  readonly received: {
    readonly method: string;
    readonly url: string;
    readonly headers: IncomingMessage["headers"];
    readonly body: string;
  }[];
  close(): Promise<void>;
}

/** Everything a listener needs to be closed, whatever still hangs on it. */
export async function listening(
  server: Server | ReturnType<typeof createTcpServer>,
): Promise<{ port: number; close(): Promise<void> }> {
  const open = new Set<Socket>();
  server.on("connection", (socket: Socket) => {
    open.add(socket);
    socket.on("error", () => {});
    socket.once("close", () => open.delete(socket));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const close = () =>
    new Promise<void>((resolve) => {
      server.close(() => resolve());
      for (const socket of open) socket.destroy();
    });
  return { port: (server.address() as AddressInfo).port, close };
}

function recording(answer: RequestListener, received: Host["received"]): RequestListener {
  return (request, response) => {
    const pieces: Buffer[] = [];
    request.on("data", (piece) => pieces.push(piece));
    request.on("end", () => {
      const { method = "", url = "", headers } = request;
      received.push({ method, url, headers, body: Buffer.concat(pieces).toString() });
      answer(request, response);
    });
  };
}

export async function plainHost(answer: RequestListener): Promise<Host> {
  const received: Host["received"] = [];
  return { received, ...(await listening(createServer(recording(answer, received)))) };
}

/** An authority that upstream certificates come from, of names as a test likes. */
export async function upstreamTrust() {
  const authority = await createAuthority("upstream");
  const hostOf = async (name: string, answer: RequestListener): Promise<Host> => {
    const received: Host["received"] = [];
    const context = await authority.contextFor(name);
    const server = createSecureServer(
      { SNICallback: (_name, done) => done(null, context) },
      recording(answer, received),
    );
    return { received, ...(await listening(server)) };
  };
  return { ca: authority.certificate, hostOf };
}

/** A gateway behind a TCP listener, as sandboxes reach theirs through the attached stream. */
export async function proxy(keeper: Gatekeeper, options: GatewayOptions) {
  const gateway: Gateway = createGateway(options);
  const server = createTcpServer({ allowHalfOpen: true, noDelay: true }, (socket) =>
    gateway.serve(socket, keeper),
  );
  const { port, close } = await listening(server);
  return {
    gateway,
    port,
    /** A connection to the proxy, and all that comes back on it until it ends. */
    raw: (text: string) => rawExchange(port, text),
    close: async () => {
      gateway.close();
      await close();
    },
  };
}

/** CONNECT, then TLS to the gateway, which a test may ask for by another name. */
export function tunnel(
  port: number,
  to: string,
  names: { ca: string; servername: string },
): Promise<TLSSocket> {
  return tunnelOver(connect(port, "127.0.0.1"), to, names);
}

/** The same, over whatever leads to the gateway. */
export async function tunnelOver(
  socket: Duplex,
  to: string,
  { ca, servername }: { ca: string; servername: string },
): Promise<TLSSocket> {
  socket.write(`CONNECT ${to} HTTP/1.1\r\nHost: ${to}\r\n\r\n`);
  const [opened] = (await once(socket, "data")) as [Buffer];
  if (!opened.toString("latin1").startsWith("HTTP/1.1 200")) throw new Error(opened.toString("latin1"));
  const secured = secure({ socket, ca, servername, ALPNProtocols: ["http/1.1"] });
  secured.on("error", () => {});
  await once(secured, "secureConnect");
  return secured;
}

/** Writes, and reads until the connection ends. */
export async function said(socket: Duplex, text: string): Promise<string> {
  const pieces: Buffer[] = [];
  socket.on("data", (piece) => pieces.push(piece));
  socket.on("error", () => {});
  socket.write(text, "latin1");
  // Streams that are no sockets stay half open.
  await new Promise((resolve) => socket.once("end", resolve).once("close", resolve));
  socket.destroy();
  return Buffer.concat(pieces).toString("latin1");
}

function rawExchange(port: number, text: string): Promise<string> {
  return said(connect(port, "127.0.0.1"), text);
}

/** A body that was sent in chunks. */
export function unchunked(text: string): string {
  const at = text.indexOf("\r\n");
  const length = Number.parseInt(text.slice(0, at), 16);
  return length > 0 ? text.slice(at + 2, at + 2 + length) + unchunked(text.slice(at + 4 + length)) : "";
}
