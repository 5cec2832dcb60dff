import { createHash, timingSafeEqual } from "node:crypto";
import type { IncomingMessage } from "node:http";

/** Names under which a browser or a tool on this machine reaches a loopback listener. */
const LOOPBACK_NAMES = ["127.0.0.1", "localhost", "[::1]"];
const HOST_HEADER = /^(\[[0-9a-f:]{2,39}\]|[a-z0-9.-]{1,253})(?::(\d{1,5}))?$/;

export interface Refusal {
  readonly code: "forbidden_host" | "forbidden_origin";
  readonly detail: string;
}

/** Who may talk to the daemon at all (H1). */
export interface Access {
  /** Why a request comes from elsewhere; undefined when it doesn't. Checked before the token. */
  foreign(request: IncomingMessage): Refusal | undefined;
  /** Compares in constant time. */
  authorised(token: string | undefined): boolean;
}

/**
 * @param settings.token the daemon's bearer token
 * @param settings.host the host the daemon listens on, as configured; loopback names are always among its own
 */
export function createAccess(settings: { readonly token: string; readonly host: string }): Access {
  if (settings.token === "") throw new Error("the daemon needs a token; an empty one would let everybody in");
  const names = new Set([...LOOPBACK_NAMES, bracketed(settings.host.toLowerCase())]);
  const expected = digest(settings.token);
  return {
    foreign: (request) => foreign(request, names),
    authorised: (token) => timingSafeEqual(digest(token ?? ""), expected),
  };
}

/** The token of an `Authorization: Bearer` header. */
export function bearerOf(request: IncomingMessage): string | undefined {
  return /^Bearer ([\x21-\x7e]{1,1024})$/i.exec(request.headers.authorization ?? "")?.[1];
}

function foreign(request: IncomingMessage, names: ReadonlySet<string>): Refusal | undefined {
  const port = request.socket.localPort;
  const hosts = request.headersDistinct.host ?? [];
  // A target in absolute form names a host of its own, which goes before the header (RFC 9112, 3.2.2).
  const target = /^[a-z][a-z0-9+.-]*:\/\/([^/?#]*)/i.exec(request.url ?? "")?.[1];
  const named = target === undefined ? hosts : [...hosts, target];
  if (hosts.length !== 1 || !named.every((host) => isOwn(host, names, port)))
    return {
      code: "forbidden_host",
      detail: "The Host header does not name this daemon. Use the address it listens on.",
    };
  const origins = request.headersDistinct.origin ?? [];
  const own = origins.every((origin) => {
    const host = /^http:\/\/(.+)$/.exec(origin.toLowerCase())?.[1];
    return host !== undefined && isOwn(host, names, port);
  });
  // Browsers leave Origin out of some requests of other pages (images, navigations), and this header in.
  const sites = request.headersDistinct["sec-fetch-site"] ?? [];
  if (own && sites.every((site) => site === "same-origin" || site === "none")) return undefined;
  return { code: "forbidden_origin", detail: "A page of another origin may not talk to this daemon." };
}

/** Without a port, a browser means port 80. */
function isOwn(header: string, names: ReadonlySet<string>, port: number | undefined): boolean {
  const parts = HOST_HEADER.exec(header.toLowerCase());
  return parts !== null && names.has(parts[1] ?? "") && Number(parts[2] ?? 80) === port;
}

function bracketed(host: string): string {
  return host.includes(":") && !host.startsWith("[") ? `[${host}]` : host;
}

/** Equal lengths for timingSafeEqual, whatever was sent. */
function digest(text: string): Buffer {
  return createHash("sha256").update(text).digest();
}
