import { connect, isIP, type Socket } from "node:net";
import { type SecureContext, connect as secure, type TLSSocket } from "node:tls";
import type { GatewayLimits } from "./limits.ts";
import { TooLate } from "./refusal.ts";
import { addressesOf, type Lookup, literalOf } from "./resolve.ts";

/** Where to, and which private ranges the rules name for it. */
export interface Destination {
  readonly scheme: "http" | "https" | "opaque";
  /** An IPv6 address in brackets. */
  readonly host: string;
  readonly port: number;
  readonly addresses: readonly string[];
}

export interface Dialler {
  readonly limits: GatewayLimits;
  /** What upstream certificates are verified with. */
  readonly trust: SecureContext;
  /** @throws what the system's resolver throws */
  readonly lookup: Lookup;
}

/**
 * A connection to exactly the addresses that were checked; `https` with the host's certificate verified.
 * @throws {RequestRefused}
 * @throws {Error} when it can't be made in time
 */
export async function dial(to: Destination, dialler: Dialler, gone: AbortSignal): Promise<Socket> {
  const checked = await addressesOf(to.host, to.addresses, dialler.lookup, dialler.limits.resolveMs);
  gone.throwIfAborted();
  const plain = connectTo(checked, to);
  const socket = to.scheme === "https" ? secured(plain, to.host, dialler.trust) : plain;
  const stop = () => socket.destroy(new Error("nobody waits for it any more"));
  gone.addEventListener("abort", stop, { once: true });
  try {
    await connected(plain, socket, to, dialler.limits.connectMs);
    return socket;
  } finally {
    gone.removeEventListener("abort", stop);
  }
}

function connectTo(checked: readonly string[], to: Destination): Socket {
  const list = checked.map((address) => ({ address, family: isIP(address) }));
  return connect({
    host: literalOf(to.host),
    port: to.port,
    noDelay: true,
    autoSelectFamily: true,
    // The sole resolver of this connection: it knows the checked addresses alone.
    lookup: (_host, _options, found) => found(null, list),
  });
}

function secured(plain: Socket, host: string, trust: SecureContext): TLSSocket {
  const literal = literalOf(host);
  return secure({
    socket: plain,
    host: literal,
    // RFC 6066: addresses are not sent; the certificate is verified for them all the same.
    servername: isIP(literal) ? "" : literal,
    ALPNProtocols: ["http/1.1"],
    secureContext: trust,
    rejectUnauthorized: true,
  });
}

function connected(plain: Socket, socket: Socket, to: Destination, deadlineMs: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => socket.destroy(new TooLate(`it took over ${deadlineMs} ms`)), deadlineMs);
    // Stays: a socket is never without a listener for errors, whoever takes it over.
    socket.on("error", (error) => {
      const Kind = error instanceof TooLate ? TooLate : Error;
      reject(new Kind(`can't connect to ${to.host}:${to.port}: ${error.message}`));
    });
    socket.once("close", () => {
      clearTimeout(timer);
      reject(new Error(`${to.host}:${to.port} closed the connection`));
    });
    socket.once(to.scheme === "https" ? "secureConnect" : "connect", () => {
      clearTimeout(timer);
      resolve();
    });
    if (plain !== socket) plain.once("error", (error) => socket.destroy(error));
  });
}
