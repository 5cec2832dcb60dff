import { lookup as systemLookup } from "node:dns/promises";
import { connect, isIP, type Socket } from "node:net";
import { type SecureContext, connect as secure, type TLSSocket } from "node:tls";
import { addressProblem, settledAddress } from "./addresses.ts";
import type { GatewayLimits } from "./limits.ts";
import { RequestRefused, TooLate } from "./refusal.ts";

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

export type Lookup = (host: string) => Promise<readonly string[]>;

export async function lookupBySystem(host: string): Promise<readonly string[]> {
  return (await systemLookup(host, { all: true, verbatim: true })).map(({ address }) => address);
}

/**
 * The addresses a host stands for, resolved once; those that may not be dialled are left out.
 * @throws {RequestRefused} when none may be
 * @throws {Error} when nobody resolves it, and no rule settles its address
 */
export async function addressesOf(
  { host, addresses: named }: Pick<Destination, "host" | "addresses">,
  { lookup, limits }: Dialler,
): Promise<readonly string[]> {
  const literal = literalOf(host);
  const found = isIP(literal) ? [literal] : await resolved(host, named, lookup, limits.resolveMs);
  const problems = found.map((address) => addressProblem(address, named));
  const good = found.filter((_, i) => problems[i] === undefined);
  if (good.length > 0) return good;
  throw new RequestRefused({
    rule: "gateway.address",
    reason: `${host} is no public address, and no rule that allows the request names it: ${problems.join("; ")}`,
  });
}

/** An address as sockets take it: without brackets. */
function literalOf(host: string): string {
  return host.replace(/^\[|\]$/g, "");
}

async function resolved(
  host: string,
  named: readonly string[],
  lookup: Lookup,
  deadlineMs: number,
): Promise<readonly string[]> {
  try {
    const found = await within(lookup(host), deadlineMs, `resolving ${host}`);
    if (found.length > 0) return found;
  } catch (error) {
    const settled = settledAddress(named);
    if (settled !== undefined) return [settled];
    throw new Error(`${host} can't be resolved (${error instanceof Error ? error.message : String(error)})`);
  }
  throw new Error(`${host} has no address`);
}

function within<T>(work: Promise<T>, deadlineMs: number, what: string): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new TooLate(`${what} took over ${deadlineMs} ms`)), deadlineMs);
    work.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}

/**
 * A connection to exactly the addresses that were checked; `https` with the host's certificate verified.
 * @throws {RequestRefused}
 * @throws {Error} when it can't be made in time
 */
export async function dial(to: Destination, dialler: Dialler, gone: AbortSignal): Promise<Socket> {
  const checked = await addressesOf(to, dialler);
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
    socket.on("error", (error) =>
      reject(new Error(`can't connect to ${to.host}:${to.port}: ${error.message}`)),
    );
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
