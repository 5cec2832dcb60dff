import type { IncomingMessage } from "node:http";
import { type HttpTarget, parseAuthority, parseTarget } from "../policy/http-target.ts";
import type { Violation } from "./port.ts";

/** Where an inspected tunnel leads; every request in it goes there. */
export interface TunnelEnd {
  readonly host: string;
  readonly port: number;
}

export type ReadRequest =
  | { readonly target: HttpTarget; readonly headers: readonly (readonly [string, string])[] }
  | { readonly violation: Violation; readonly url: string };

/** Headers of one connection, not of the request (RFC 9110, 7.6.1), and what only a proxy is told. */
const OF_ONE_HOP = new Set([
  "connection",
  "expect",
  "host",
  "http2-settings",
  "keep-alive",
  "proxy-authenticate",
  "proxy-authorization",
  "proxy-connection",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
]);

/** What says where a request goes and ends: who has it dropped on the way wants it read otherwise behind it. */
const NEVER_DROPPED = new Set(["content-length", "host", "transfer-encoding"]);

const violation = (rule: string, reason: string): Violation => ({ rule: `gateway.${rule}`, reason });

/** Pairs of name and value, as they came. */
export function pairsOf(raw: readonly string[]): [string, string][] {
  return Array.from({ length: raw.length / 2 }, (_, i) => [raw[2 * i] ?? "", raw[2 * i + 1] ?? ""]);
}

/** Headers that `connection` names, in lower case: they are for the next hop alone. */
function namedByConnection(headers: readonly (readonly [string, string])[]): string[] {
  return valuesOf(headers, "connection").flatMap((value) =>
    value
      .toLowerCase()
      .split(",")
      .map((one) => one.trim()),
  );
}

/** What of the headers goes on: without those of one hop, and those that `connection` names. */
export function endToEnd(headers: readonly (readonly [string, string])[]): [string, string][] {
  const dropped = new Set([...OF_ONE_HOP, ...namedByConnection(headers)]);
  return headers.flatMap(([name, value]) => (dropped.has(name.toLowerCase()) ? [] : [[name, value]]));
}

/**
 * A request as it came over the wire, in the one form that is judged and sent; whatever has two readings is a
 * violation. Node's parser has refused by then: a length beside an encoding or twice, folded lines, bare CR or LF,
 * NUL, spaces before colons, malformed chunks.
 * @param tunnel absent: it came as a proxy's request, with an absolute URL
 */
export function readRequest(request: IncomingMessage, tunnel: TunnelEnd | undefined): ReadRequest {
  const headers = pairsOf(request.rawHeaders);
  const url = absoluteUrl(request.url ?? "", tunnel);
  const problem = formProblem(request, headers) ?? placeProblem(request.url ?? "", tunnel);
  if (problem !== undefined) return { violation: problem, url };
  const target = parseTarget(request.method ?? "", url);
  if ("refused" in target)
    return { violation: violation("target", `the request's target is refused: ${target.refused}`), url };
  const wrongHost = hostProblem(headers, target);
  return wrongHost === undefined ? { target, headers: endToEnd(headers) } : { violation: wrongHost, url };
}

function absoluteUrl(sent: string, tunnel: TunnelEnd | undefined): string {
  if (tunnel === undefined) return sent;
  return `https://${tunnel.host}${tunnel.port === 443 ? "" : `:${tunnel.port}`}${sent}`;
}

function valuesOf(headers: readonly (readonly [string, string])[], wanted: string): string[] {
  return headers.flatMap(([name, value]) => (name.toLowerCase() === wanted ? [value] : []));
}

function formProblem(
  request: IncomingMessage,
  headers: readonly (readonly [string, string])[],
): Violation | undefined {
  if (request.httpVersion !== "1.1") {
    return violation("version", `HTTP/${request.httpVersion} is not spoken here; use HTTP/1.1`);
  }
  const [upgrade] = valuesOf(headers, "upgrade");
  if (upgrade !== undefined) {
    const name = upgrade.slice(0, 40).replace(/[^\x20-\x7e]/g, "?");
    return violation(
      "upgrade",
      `an upgrade to ${name} would carry what can't be judged; use plain HTTP/1.1 requests`,
    );
  }
  const lengths = valuesOf(headers, "content-length");
  const encodings = valuesOf(headers, "transfer-encoding");
  if (encodings.length > 1 || encodings.some((one) => one.trim().toLowerCase() !== "chunked")) {
    return violation("framing", "the only transfer-encoding taken is `chunked`, once");
  }
  if (lengths.length > 1 || (lengths.length > 0 && encodings.length > 0)) {
    return violation("framing", "the body's length is said twice");
  }
  const needed = namedByConnection(headers).find((name) => NEVER_DROPPED.has(name));
  if (needed !== undefined) {
    const reason = `the Connection header names ${needed}, which every hop needs; leave it out there`;
    return violation("framing", reason);
  }
  return undefined;
}

function placeProblem(sent: string, tunnel: TunnelEnd | undefined): Violation | undefined {
  if (tunnel !== undefined && !sent.startsWith("/")) {
    return violation("target", "inside a tunnel a request's target is a path");
  }
  if (tunnel === undefined && !/^https?:\/\//i.test(sent)) {
    return violation("target", "this is a proxy: it takes CONNECT, or an absolute URL of http: or https:");
  }
  return undefined;
}

/** One Host header, of the same host and port as the target. */
function hostProblem(
  headers: readonly (readonly [string, string])[],
  target: HttpTarget,
): Violation | undefined {
  const hosts = valuesOf(headers, "host");
  const [host = ""] = hosts;
  if (hosts.length !== 1) return violation("host", "a request has one Host header");
  const parsed = parseAuthority(host.trim(), target.scheme);
  if ("refused" in parsed) return violation("host", `the Host header is refused: ${parsed.refused}`);
  return parsed.host === target.host && parsed.port === target.port
    ? undefined
    : violation(
        "host",
        `the Host header names ${parsed.host}:${parsed.port}, the request goes to ${target.host}:${target.port}`,
      );
}
