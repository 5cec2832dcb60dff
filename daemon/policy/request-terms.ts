import { BlockList, isIP } from "node:net";
import type { Verdict } from "../protocol/verdicts.ts";
import { NOTHING_DONE } from "./history.ts";
import { parseHost, parseTarget } from "./http-target.ts";
import { judge } from "./judge.ts";
import { type HttpAction, networkMatches } from "./judge-http.ts";
import type { Destination, NetworkRule, Policy } from "./port.ts";

/** What the rules that let a request out add to it. */
export interface RequestTerms {
  /** Names of secrets to be put in. */
  readonly secrets: readonly string[];
  /** Ranges, `address/prefix`, in which the host's address may lie though it is private. */
  readonly addresses: readonly string[];
  /** Bytes that the request may have, head and body; undefined: no rule says. */
  readonly maxBytesOut?: number;
  readonly sinks: readonly string[];
  /** Nobody looks inside. */
  readonly opaque: boolean;
}

/** What a CONNECT may become. */
export type Tunnel =
  | { readonly mode: "inspect" | "opaque" }
  | { readonly mode: "refused"; readonly verdict: Verdict };

const NO_TERMS: RequestTerms = { secrets: [], addresses: [], sinks: [], opaque: false };

function rangeOf(text: string): { address: string; prefix: number; family: "ipv4" | "ipv6" } | undefined {
  const [address = "", digits] = text.split("/", 2);
  const version = isIP(address);
  const widest = version === 4 ? 32 : 128;
  const prefix = digits === undefined ? widest : /^\d{1,3}$/.test(digits) ? Number(digits) : -1;
  if (version === 0 || prefix < 0 || prefix > widest || address.includes("%")) return undefined;
  return { address, prefix, family: version === 4 ? "ipv4" : "ipv6" };
}

/** Whether `text` is an address or a range, `address/prefix`. */
export function isRange(text: string): boolean {
  return rangeOf(text) !== undefined;
}

function contains(wide: string, narrow: string): boolean {
  const [outer, inner] = [rangeOf(wide), rangeOf(narrow)];
  if (outer === undefined || inner === undefined || outer.family !== inner.family) return false;
  if (inner.prefix < outer.prefix) return false;
  const list = new BlockList();
  list.addSubnet(outer.address, outer.prefix, outer.family);
  return list.check(inner.address, inner.family);
}

/** The ranges that lie in both lists. */
function common(one: readonly string[], other: readonly string[]): string[] {
  return [
    ...one.filter((range) => other.some((wide) => contains(wide, range))),
    ...other.filter((range) => one.some((wide) => contains(wide, range) && !contains(range, wide))),
  ];
}

/** Of each layer with an opinion on the network, its rules that let this request out. */
function permitting(layers: readonly Policy[], action: HttpAction): (readonly [Policy, NetworkRule[]])[] {
  const target = parseTarget(action.method, action.url);
  if ("refused" in target) return [];
  return layers.flatMap((policy) =>
    policy.rules.network === undefined
      ? []
      : [
          [
            policy,
            networkMatches(policy, action, target).filter((rule) => rule.decision !== "deny"),
          ] as const,
        ],
  );
}

/**
 * What the matching rules add to a request whose verdict is `allow` or `ask`. Every layer narrows: the least
 * `maxBytesOut` holds, a private address needs every layer that has rules for the network, and a policy from inside
 * the workspace (layer `project`) brings no secret into play.
 */
export function requestTerms(layers: readonly Policy[], action: HttpAction): RequestTerms {
  const found = permitting(layers, action);
  if (found.length === 0) return NO_TERMS;
  const rules = found.flatMap(([, matches]) => matches);
  const bounds = rules.flatMap((rule) => rule.maxBytesOut ?? []);
  const ranges = found.map(([, matches]) => matches.flatMap((rule) => rule.addresses));
  const secrets = found.flatMap(([policy, matches]) =>
    policy.layer === "project" ? [] : matches.flatMap((rule) => rule.secret ?? []),
  );
  return {
    secrets: [...new Set(secrets)],
    addresses: [...new Set(ranges.reduce(common))],
    ...(bounds.length === 0 ? {} : { maxBytesOut: Math.min(...bounds) }),
    sinks: [...new Set(rules.flatMap((rule) => rule.sink ?? []))],
    opaque: action.method === "CONNECT",
  };
}

/**
 * What a CONNECT to a host may become, before anything of what it will carry is known. Opaque only where every layer
 * with rules for the network says so and no rule of any layer wants to look inside; refused when no request to that
 * host could be allowed.
 */
export function tunnelTo(layers: readonly Policy[], to: Destination): Tunnel {
  const host = parseHost(to.host);
  const opinions = layers.flatMap(({ rules }) => (rules.network === undefined ? [] : [rules.network]));
  const reaching = opinions.map((rules) =>
    typeof host === "string" ? rules.filter((rule) => rule.reaches({ ...to, host })) : [],
  );
  const open =
    reaching.length > 0 && reaching.every((rules) => rules.some((rule) => rule.decision !== "deny"));
  if (!open) return { mode: "refused", verdict: refusal(layers, to) };
  const opaque = reaching.every((rules) => rules.every((rule) => rule.opaque));
  return { mode: opaque ? "opaque" : "inspect" };
}

function refusal(layers: readonly Policy[], to: Destination): Verdict {
  const url = `https://${to.host}:${to.port}/`;
  const verdict = judge(
    layers,
    {
      kind: "http",
      tool: "fetch",
      method: "CONNECT",
      url,
      ...(to.registry === undefined ? {} : { registry: to.registry }),
    },
    NOTHING_DONE,
  );
  return verdict.verdict === "deny" ? verdict : { ...verdict, verdict: "deny" };
}
