/**
 * What a request is addressed to, in the one spelling that is judged, journalled and sent. Whatever two readers
 * could take for two different hosts or paths is refused, not repaired (THREATS 21 to 23).
 */
import { domainToASCII, domainToUnicode } from "node:url";

export interface HttpTarget {
  readonly method: string;
  readonly scheme: "http" | "https";
  /** A lower-case A-label, a canonical IPv4 address, or a canonical IPv6 address in brackets. */
  readonly host: string;
  readonly port: number;
  /** The path that rules are matched against: what was percent-encoded is plain. */
  readonly path: string;
  /** Path and query as they are sent. */
  readonly target: string;
  /** The whole, without a default port. */
  readonly url: string;
}

export interface Refusal {
  readonly refused: string;
}

/** Characters of a URL that is judged at all. */
const MAX_URL = 8_192;
const DEFAULT_PORT = { http: 80, https: 443 } as const;
/** RFC 3986's `pchar` and `/`. */
const PATH = /^[A-Za-z0-9._~!$&'()*+,;=:@/%-]*$/;
/** How package managers write `@scope/name` in a path of one part. */
const SCOPED = /^@[A-Za-z0-9_~][A-Za-z0-9._~-]*%2[Ff][A-Za-z0-9_~][A-Za-z0-9._~-]*$/;

const refuse = (refused: string): Refusal => ({ refused });

function parseIPv6(host: string): string | Refusal {
  const canonical = /^\[[0-9a-fA-F:.]+\]$/.test(host) ? tryHostname(host) : undefined;
  if (canonical === undefined) return refuse("it names no IPv6 address");
  return canonical === host.toLowerCase()
    ? canonical
    : refuse(`the address has another spelling; write ${canonical}`);
}

function tryHostname(host: string): string | undefined {
  return URL.canParse(`http://${host}/`) ? new URL(`http://${host}/`).hostname : undefined;
}

/** Numbers in a host's last label make every reader try an address, each in its own way. */
function parseNumeric(host: string): string | Refusal {
  const parts = host.split(".");
  const canonical =
    parts.length === 4 && parts.every((part) => /^(?:0|[1-9]\d{0,2})$/.test(part) && Number(part) < 256);
  return canonical ? host : refuse("an IPv4 address is four decimal numbers, such as 192.0.2.1");
}

function parseName(name: string): string | Refusal {
  const ascii = domainToASCII(name);
  // Round trip: what folds into another name (wide letters, soft hyphens, other dots) is refused.
  const same = /[^\x20-\x7e]/.test(name)
    ? domainToUnicode(ascii) === name.normalize("NFC").toLowerCase()
    : ascii === name;
  if (ascii === "" || !same) return refuse("the host's name has no single reading; write its A-label");
  if (
    ascii.length > 253 ||
    !ascii.split(".").every((label) => /^[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?$/.test(label))
  )
    return refuse("the host's name is not labels of letters, digits and `-` between dots");
  return ascii;
}

/** A host's one spelling, as in `HttpTarget`; what is ambiguous is refused. */
export function parseHost(text: string): string | Refusal {
  if (text.length > 1_000) return refuse("the host's name is too long");
  if (text.startsWith("[")) return parseIPv6(text);
  const name = text.toLowerCase();
  if (name === "") return refuse("it has no host");
  if (name.endsWith(".")) return refuse("the host ends in a dot; leave it out");
  if (/^(?:\d+|0x[0-9a-f]*)$/.test(name.slice(name.lastIndexOf(".") + 1))) return parseNumeric(name);
  return parseName(name);
}

/** `host:port`, as a CONNECT names it; without a port, the scheme's own. */
export function parseAuthority(
  text: string,
  scheme?: "http" | "https",
): { readonly host: string; readonly port: number } | Refusal {
  if (text.includes("@"))
    return refuse("it carries a user's name or password; leave out what stands before `@`");
  const [, name, digits] = /^(\[[^\]]*\]|[^:[\]]*)(?::(.*))?$/s.exec(text) ?? [];
  if (name === undefined) return refuse("the host and port can't be read");
  const host = parseHost(name);
  if (typeof host !== "string") return host;
  if (digits === undefined)
    return scheme === undefined ? refuse("it has no port") : { host, port: DEFAULT_PORT[scheme] };
  const port = /^[1-9]\d{0,4}$/.test(digits) ? Number(digits) : 0;
  return port > 0 && port < 65_536 ? { host, port } : refuse("the port is not a number from 1 to 65535");
}

function segmentProblem(segment: string): string | undefined {
  if (/%(?![0-9A-Fa-f]{2})/.test(segment)) return "a `%` in the path begins no two hexadecimal digits";
  if (/%(?:[01][0-9A-F]|7F)/i.test(segment)) return "the path holds an encoded control character";
  if (/%2e/i.test(segment)) return "the path encodes a dot; write it plainly";
  if (/%5c/i.test(segment)) return "the path holds an encoded backslash";
  if (/%25(?:2e|2f|3b|5c|25|00)/i.test(segment)) return "the path is encoded twice";
  if (/%2f/i.test(segment) && !SCOPED.test(segment)) return "the path encodes a slash";
  // Some servers cut `;…` off a segment before they resolve it, others after.
  if (/^\.{1,2}(?:;|%3b)/i.test(segment))
    return "the path has a `.` or `..` before a `;`; write where it leads";
  if (segment === "." || segment === "..") return "the path has a `.` or `..`; write where it leads";
  return undefined;
}

/** The path as rules see it. */
function parsePath(path: string): string | Refusal {
  if (!PATH.test(path)) return refuse("the path holds a character that must be percent-encoded");
  if (path.includes("//")) return refuse("the path has an empty part (`//`)");
  for (const segment of path.split("/")) {
    const problem = segmentProblem(segment);
    if (problem !== undefined) return refuse(problem);
  }
  try {
    const plain = decodeURIComponent(path);
    return plain === plain.normalize("NFC")
      ? plain
      : refuse("the path's encoded letters have another spelling");
  } catch {
    return refuse("the path's percent-encoding is not UTF-8");
  }
}

/**
 * Reads a request's method and absolute URL, of `http:` or `https:`. The gateway reads with it what came over the
 * wire, the policy what is judged. An opaque tunnel is method `CONNECT` and `https://host:port/`. Never throws.
 */
export function parseTarget(method: string, url: string): HttpTarget | Refusal {
  if (!/^[A-Z]{1,20}$/.test(method)) return refuse("the method is not upper-case letters, such as GET");
  if (url.length > MAX_URL) return refuse(`the URL has over ${MAX_URL} characters`);
  if (/[\p{Cc}\p{Z}\p{Cs}\p{Cf}]/u.test(url))
    return refuse("the URL holds a space, a line end or a character that shows nothing");
  if (url.includes("\\")) return refuse("the URL holds a backslash");
  if (url.includes("#"))
    return refuse("the URL has a fragment, which is never sent; leave out `#` and what follows");
  const [, name, authority = "", rest = ""] = /^(https?):\/\/([^/?]*)(.*)$/i.exec(url) ?? [];
  if (name === undefined) return refuse("it is no absolute URL of http: or https:");
  const scheme = name.toLowerCase() === "https" ? "https" : "http";
  const found = parseAuthority(authority, scheme);
  if ("refused" in found) return found;
  const cut = rest.indexOf("?");
  const [sent, query] = cut < 0 ? [rest, ""] : [rest.slice(0, cut), rest.slice(cut)];
  if (/[^\x21-\x7e]/.test(query)) return refuse("the query holds a character that must be percent-encoded");
  const path = parsePath(sent || "/");
  if (typeof path !== "string") return path;
  const { host, port } = found;
  const target = `${sent || "/"}${query}`;
  const suffix = port === DEFAULT_PORT[scheme] ? "" : `:${port}`;
  return { method, scheme, host, port, path, target, url: `${scheme}://${host}${suffix}${target}` };
}
