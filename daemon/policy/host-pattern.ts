import { isIP } from "node:net";
import { parseHost } from "./http-target.ts";

/**
 * `example.org` is that host, `*.example.org` its subdomains and not itself, `*` any host with a name, which an
 * address is not. A string says why the pattern is refused: it could match no host in its one spelling.
 */
export function hostPattern(pattern: string): ((host: string) => boolean) | string {
  if (pattern === "*") return (host) => isIP(host) === 0 && !host.startsWith("[");
  const wild = pattern.startsWith("*.");
  const name = wild ? pattern.slice(2) : pattern;
  if (name.includes("*")) return "has a `*` that is not alone before the first dot";
  const host = parseHost(name);
  if (typeof host !== "string") return `can match no host: ${host.refused}`;
  if (host !== name)
    return `can match no host: hosts are lower-cased A-labels; write \`${wild ? "*." : ""}${host}\``;
  if (!wild) return (other) => other === host;
  if (isIP(host) !== 0 || host.startsWith("[")) return "can match no host: an address has no subdomains";
  const suffix = `.${host}`;
  return (other) => other.endsWith(suffix) && other.length > suffix.length;
}
