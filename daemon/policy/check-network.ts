/** Where requests may go, and with which secrets: hosts, ranges and paths that can match something. */
import { hintFor } from "../protocol/suggest.ts";
import type { PolicyProblem } from "../protocol/views.ts";
import type { NetworkRuleDocument } from "./document-outgoing.ts";
import { hostPattern } from "./host-pattern.ts";
import type { Path, ReadDocument } from "./read-document.ts";
import { isRange } from "./request-terms.ts";
import { urlGlob } from "./url-glob.ts";

export function* hostProblems(read: ReadDocument, host: string, path: Path): Iterable<PolicyProblem> {
  const pattern = hostPattern(host);
  if (typeof pattern !== "string") return;
  const hint = /[:/]/.test(host)
    ? "write the host alone; ports have their own key"
    : "write a host such as docs.example.org, or *.example.org for its subdomains";
  yield read.problem(path, `\`${host}\` ${pattern}`, hint);
}

function* ruleProblems(read: ReadDocument, rule: NetworkRuleDocument, path: Path): Iterable<PolicyProblem> {
  if (rule.host !== undefined) yield* hostProblems(read, rule.host, [...path, "host"]);
  for (const [n, range] of (rule.addresses ?? []).entries())
    if (!isRange(range))
      yield read.problem(
        [...path, "addresses", n],
        `\`${range}\` is no range of addresses`,
        "write address/prefix, such as 127.0.0.0/8 or ::1/128",
      );
  for (const [n, pattern] of (rule.paths ?? []).entries()) {
    const problem = pathProblem(pattern);
    if (problem !== undefined) yield read.problem([...path, "paths", n], `\`${pattern}\` ${problem}`);
  }
  for (const [n, method] of (rule.methods ?? []).entries())
    if (method === "CONNECT")
      yield read.problem(
        [...path, "methods", n],
        "the rule can match nothing by `CONNECT`: tunnels are looked into",
        "write `opaque: true` instead of `methods` and `paths` for one that is not",
      );
  yield* secretProblems(read, rule, path);
}

/** Why a glob can match no path of a URL; undefined: it can. */
function pathProblem(pattern: string): string | undefined {
  const glob = urlGlob(pattern, false);
  if (typeof glob === "string") return glob;
  if (/%[0-9A-Fa-f]{2}/.test(pattern))
    return "is percent-encoded: paths are matched plain, so write the characters themselves";
  return undefined;
}

function* secretProblems(read: ReadDocument, rule: NetworkRuleDocument, path: Path): Iterable<PolicyProblem> {
  if (rule.secret === undefined) return;
  const { secrets = {} } = read.document;
  const secret = Object.hasOwn(secrets, rule.secret) ? secrets[rule.secret] : undefined;
  if (secret === undefined) {
    yield read.problem(
      [...path, "secret"],
      `no secret is called \`${rule.secret}\``,
      hintFor(rule.secret, Object.keys(secrets)),
    );
    return;
  }
  const { host } = rule;
  if (host === undefined || host.startsWith("*") || secret.hosts.some((one) => isFor(one, host))) return;
  yield read.problem(
    [...path, "secret"],
    `the secret \`${rule.secret}\` is not for \`${host}\``,
    `it is for ${secret.hosts.join(", ")}; add the host there if it is meant to get it`,
  );
}

function isFor(pattern: string, host: string): boolean {
  const glob = hostPattern(pattern);
  return typeof glob !== "string" && glob(host);
}

/** Headers that frame a message, say where it goes, or are for the next hop alone. */
const ROUTING: ReadonlySet<string> = new Set(
  "connection content-length expect host keep-alive proxy-authorization proxy-connection te trailer transfer-encoding upgrade".split(
    " ",
  ),
);

function* declaredSecrets(read: ReadDocument): Iterable<PolicyProblem> {
  for (const [name, secret] of Object.entries(read.document.secrets ?? {})) {
    const path = ["secrets", name];
    if (!/^[A-Za-z][A-Za-z0-9_-]{0,99}$/.test(name))
      yield read.problem(
        path,
        `\`${name}\` is no name for a secret`,
        "names are letters, digits, `-` and `_`, a letter first",
        "key",
      );
    if (
      !/^(?:env:[A-Za-z_]\w*|file:[^/\0][^\0]*)$/.test(secret.from) ||
      /(?:^|[:/])\.\.?(?:\/|$)/.test(secret.from)
    )
      yield read.problem(
        [...path, "from"],
        `\`${secret.from}\` is no place for a secret`,
        "write env:NAME, or file:NAME for a file in the daemon's folder `secrets`",
      );
    if (
      !/^[A-Za-z0-9!#$%&'*+.^_`|~-]+: ?[\x20-\x7e]*$/.test(secret.header) ||
      secret.header.split("{}").length !== 2
    )
      yield read.problem(
        [...path, "header"],
        "`header` is a name and a value with one `{}`",
        'write it as in "authorization: Bearer {}"',
      );
    const header = secret.header.split(":", 1)[0]?.toLowerCase() ?? "";
    if (ROUTING.has(header))
      yield read.problem(
        [...path, "header"],
        `a secret can't go in the header \`${header}\`: it says how the request is carried`,
        'write the header that the host reads it from, such as "authorization: Bearer {}"',
      );
    for (const [n, host] of secret.hosts.entries()) yield* hostProblems(read, host, [...path, "hosts", n]);
  }
}

export function* networkProblems(read: ReadDocument): Iterable<PolicyProblem> {
  for (const [i, rule] of (read.document.network ?? []).entries())
    yield* ruleProblems(read, rule, ["network", i]);
  yield* declaredSecrets(read);
}
