import type { IncomingMessage } from "node:http";
import { isIP } from "node:net";
import type { Duplex } from "node:stream";
import { TLSSocket } from "node:tls";
import { parseAuthority, parseHost } from "../policy/http-target.ts";
import type { Dialler } from "./dial.ts";
import { ESTABLISHED, openOpaque } from "./opaque.ts";
import type { Violation } from "./port.ts";
import { ASK_A_PERSON, refuseConnection } from "./refusal.ts";
import { pairsOf, type TunnelEnd } from "./request.ts";
import type { Served } from "./served.ts";

export interface Connecting {
  readonly request: IncomingMessage;
  /** What came behind the request's head. */
  readonly head: Buffer;
  readonly served: Served;
  readonly dialler: Dialler;
  /** Takes the plain side of an inspected tunnel. */
  readonly inspected: (secured: TLSSocket) => void;
}

/**
 * Makes of a CONNECT what it may become. An inspected tunnel ends here: its TLS is the run's own authority's, and
 * what it carries are requests like any other.
 * @throws {Error} when the keeper does
 */
export async function connectTunnel(connecting: Connecting): Promise<void> {
  const { request, served, head } = connecting;
  const end = endOf(request, served);
  if ("rule" in end) return refuseTunnel(served, request.url ?? "", end);
  if (head.length > 0) served.connection.unshift(head);
  const tunnel = served.keeper.tunnel(end.host, end.port);
  if (tunnel.mode === "refused") return refuseTunnel(served, nameOf(end), undefined);
  if (tunnel.mode === "opaque") return openOpaque(end, served, connecting.dialler);
  served.connection.write(ESTABLISHED);
  const first = await firstBytes(served.connection, connecting.dialler.limits.headMs);
  if (first === undefined) return served.reset();
  if (!isClientHello(first)) return refuseTunnel(served, nameOf(end), NOT_TLS);
  await inspect(end, connecting);
}

const NOT_TLS: Violation = {
  rule: "gateway.tls",
  reason: "what follows the CONNECT is not TLS; send plain HTTP to the proxy with an absolute URL instead",
};

function nameOf({ host, port }: TunnelEnd): string {
  return `${host}:${port}`;
}

function endOf(request: IncomingMessage, { tunnel }: Served): TunnelEnd | Violation {
  const refuse = (rule: string, reason: string) => ({ rule: `gateway.${rule}`, reason });
  if (tunnel !== undefined) return refuse("target", "a tunnel inside a tunnel is not opened");
  const end = parseAuthority(request.url ?? "");
  if ("refused" in end) return refuse("target", `the CONNECT's target is refused: ${end.refused}`);
  const { "content-length": length, "transfer-encoding": encoding } = request.headers;
  if (length !== undefined || encoding !== undefined) return refuse("framing", "a CONNECT has no body");
  const hosts = pairsOf(request.rawHeaders).filter(([name]) => name.toLowerCase() === "host");
  // Older clients send CONNECT as HTTP/1.0, without a Host header.
  if (hosts.length === 0 && request.httpVersion === "1.0") return end;
  const [[, host] = ["", ""]] = hosts;
  const named = parseAuthority(host.trim(), "https");
  const same = hosts.length === 1 && !("refused" in named) && named.host === end.host;
  // Some clients leave the port out of the Host header here, whatever it is.
  return same && (named.port === end.port || !host.includes(":", host.indexOf("]") + 1))
    ? end
    : refuse("host", "the Host header names another host than the CONNECT");
}

/** Journalled, then answered; the violation is absent where the policy itself refuses. */
async function refuseTunnel(
  { keeper, source, gone }: Served,
  name: string,
  violation: Violation | undefined,
): Promise<void> {
  const url = `https://${name.slice(0, 1_000)}/`;
  const judged = await keeper.judge(
    { method: "CONNECT", url, bodyBytes: 0, ...(violation === undefined ? {} : { violation }) },
    gone,
  );
  const nothing = { bytesOut: 0, bytesIn: 0, durationMs: 0 };
  if (judged.allowed) await keeper.finished(judged.request, { ...nothing, error: "the tunnel was refused" });
  const { rule, reason } = violation ?? (judged.allowed ? REFUSED : judged.verdict);
  refuseConnection(source, { status: 403, what: `CONNECT ${name}`, rule, reason, next: ASK_A_PERSON });
}

const REFUSED: Violation = { rule: "gateway", reason: "the tunnel was refused" };

/** What comes first, left where it is. Undefined: nothing came in time. */
function firstBytes(connection: Duplex, withinMs: number): Promise<Buffer | undefined> {
  return new Promise((settle) => {
    const timer = setTimeout(() => settle(undefined), withinMs);
    const resolve = (piece: Buffer | undefined) => {
      clearTimeout(timer);
      settle(piece);
    };
    connection.once("data", (piece: Buffer) => {
      connection.pause();
      connection.unshift(piece);
      resolve(piece);
    });
    connection.once("end", () => resolve(undefined));
    connection.once("close", () => resolve(undefined));
    connection.resume();
  });
}

/** Handshake record, version 3.x, ClientHello; of a shorter piece what there is of it. */
function isClientHello(first: Buffer): boolean {
  return first[0] === 0x16 && (first[1] ?? 3) === 3 && (first[5] ?? 1) === 1;
}

async function inspect(end: TunnelEnd, { served, inspected }: Connecting): Promise<void> {
  const { keeper, connection } = served;
  const { authority } = keeper;
  const secured = new TLSSocket(connection, {
    isServer: true,
    ALPNProtocols: ["http/1.1"],
    secureContext: await authority.contextFor(end.host),
    // The name asked for gets a certificate, also where it is the wrong one: so that the refusal can be read.
    SNICallback: (name, done) => {
      const host = parseHost(name);
      if (typeof host !== "string") return done(new Error(`the server name is refused: ${host.refused}`));
      authority.contextFor(host).then((context) => done(null, context), done);
    },
  });
  secured.on("error", () => served.reset());
  secured.once("close", () => served.reset());
  connection.once("close", () => secured.destroy());
  secured.once("secure", () => {
    const violation = serverNameProblem(secured, end);
    served.tunnel = { ...end, ...(violation === undefined ? {} : { violation }) };
    inspected(secured);
  });
}

/** TLS's own name for the host is the CONNECT's; an address has none. */
function serverNameProblem(secured: TLSSocket, { host }: TunnelEnd): Violation | undefined {
  const name =
    (secured as TLSSocket & { readonly servername?: string | false | null }).servername || undefined;
  const literal = isIP(host.replace(/^\[|\]$/g, "")) > 0;
  if (literal ? name === undefined || name === host : name?.toLowerCase() === host) return undefined;
  const said = name === undefined ? "no host" : `the host ${name}`;
  return { rule: "gateway.sni", reason: `TLS names ${said}, the CONNECT ${host}` };
}
