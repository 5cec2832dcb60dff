/** Rules for requests that were allowed: host, methods, and paths by their folder. */
import type { NetworkRuleDocument } from "../document-outgoing.ts";
import { type HttpTarget, parseTarget } from "../http-target.ts";
import type { PolicyAction } from "../port.ts";
import { freshId } from "./ids.ts";
import type { Observation } from "./observation.ts";

type HttpAction = Extract<PolicyAction, { kind: "http" }>;

interface Group {
  readonly to: Pick<NetworkRuleDocument, "host" | "registry" | "ports">;
  readonly methods: Map<string, Set<string>>;
  readonly addresses: Set<string>;
  opaque: boolean;
}

const DEFAULT_PORTS = { http: 80, https: 443 } as const;
const LOOKING: ReadonlySet<string> = new Set(["GET", "HEAD"]);
/** What a rule's `paths` may have, by the document's schema. */
const PATHS = 400;

export function networkRulesFor(observations: readonly Observation[]): NetworkRuleDocument[] {
  const groups = new Map<string, Group>();
  for (const { action, addresses = [] } of observations) {
    if (action.kind !== "http") continue;
    const target = parseTarget(action.method, action.url);
    if ("refused" in target) continue;
    const to = destinationOf(action, target);
    const key = JSON.stringify(to);
    const group = groups.get(key) ?? { to, methods: new Map(), addresses: new Set(), opaque: false };
    groups.set(key, group);
    for (const range of addresses) group.addresses.add(range);
    if (action.method === "CONNECT") group.opaque = true;
    else note(group, action.method, pathGlobOf(action.method, target.path));
  }
  const ids = new Set<string>();
  return [...groups.values()].flatMap((group) => rulesOf(group, ids));
}

/** A port is named where it is not the scheme's own. */
function destinationOf({ registry }: HttpAction, { host, port, scheme }: HttpTarget): Group["to"] {
  if (registry !== undefined) return { registry };
  return port === DEFAULT_PORTS[scheme] ? { host } : { host, ports: [port] };
}

function note({ methods }: Group, method: string, glob: string): void {
  methods.set(method, (methods.get(method) ?? new Set()).add(glob));
}

/** What looks may look beside it; what changes something may do so there alone. */
function pathGlobOf(method: string, path: string): string {
  const exact = path.replaceAll(/[\\*?[\]{},!%]/g, "?");
  const folder = exact.slice(0, exact.lastIndexOf("/"));
  return LOOKING.has(method) && folder !== "" ? `${folder}/**` : exact;
}

function rulesOf({ to, methods, addresses, opaque }: Group, ids: Set<string>): NetworkRuleDocument[] {
  const name = to.registry ?? to.host ?? "";
  const shared = { ...to, ...(addresses.size > 0 ? { addresses: [...addresses] } : {}) };
  const rule = (more: Partial<NetworkRuleDocument>): NetworkRuleDocument => ({
    id: freshId(name, ids),
    ...shared,
    ...more,
    decision: "allow",
  });
  const byPaths = new Map<string, { methods: string[]; paths: string[] }>();
  for (const [method, found] of methods) {
    const paths = widest([...found].sort());
    const key = JSON.stringify(paths);
    byPaths.set(key, { methods: [...(byPaths.get(key)?.methods ?? []), method], paths });
  }
  return [...[...byPaths.values()].map(rule), ...(opaque ? [rule({ opaque: true })] : [])];
}

/** Without those that another one holds; too many become any. */
function widest(globs: readonly string[]): string[] {
  const folders = globs.filter((glob) => glob.endsWith("/**")).map((glob) => glob.slice(0, -2));
  const kept = globs.filter(
    (glob) => !folders.some((folder) => glob !== `${folder}**` && glob.startsWith(folder)),
  );
  return kept.length > PATHS ? ["/**"] : kept;
}
