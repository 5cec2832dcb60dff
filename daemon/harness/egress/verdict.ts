import type { OutgoingRequest, Violation } from "../../gateway/port.ts";
import { effectOf } from "../../policy/effect.ts";
import { parseTarget } from "../../policy/http-target.ts";
import { judge } from "../../policy/judge.ts";
import type { Policy, PolicyAction } from "../../policy/port.ts";
import { requestTerms } from "../../policy/request-terms.ts";
import type { EventData } from "../../protocol/events.ts";
import type { Verdict } from "../../protocol/verdicts.ts";
import type { RunState } from "../../run/state.ts";
import { historyOf } from "../history.ts";
import type { RegistryOf } from "./outside.ts";

export type HttpAction = Extract<PolicyAction, { kind: "http" }>;
type Judged = EventData<"egress.judged">;

/** A request in normal form: what is judged, journalled and sent (A2). */
export function actionOf(
  { method, url, bodyHash }: Pick<OutgoingRequest, "method" | "url" | "bodyHash">,
  registryOf: RegistryOf,
): HttpAction {
  const target = parseTarget(method, url);
  const registry = "refused" in target ? undefined : registryOf(target);
  return {
    kind: "http",
    tool: "fetch",
    method,
    url,
    ...(registry === undefined ? {} : { registry }),
    ...(bodyHash === undefined ? {} : { bodyHash }),
  };
}

/** The policy's verdict at this moment of the run, and what the request does to the world. */
export function judgedNow(
  policies: readonly Policy[],
  state: RunState,
  action: HttpAction,
): Verdict & Pick<Judged, "effect"> {
  return { ...judge(policies, action, historyOf(state)), effect: effectOf(policies, action) };
}

/** A denial of the daemon's own. */
export function denied({ rule, reason }: Violation): Verdict {
  return { verdict: "deny", rule, reason, layer: "builtin", matched: [] };
}

/** What a person reads who is asked. */
export interface AskedInput {
  readonly method: string;
  readonly url: string;
  readonly bodyBytes?: number;
  readonly bodyHash?: string;
  readonly preview?: string;
}

export function askedInput({ method, url, bodyBytes, bodyHash, bodyPreview }: OutgoingRequest): AskedInput {
  return {
    method,
    url,
    ...(bodyBytes === undefined ? {} : { bodyBytes }),
    ...(bodyHash === undefined ? {} : { bodyHash }),
    ...(bodyPreview === undefined ? {} : { preview: bodyPreview }),
  };
}

/** Lower-case names of the headers that the request would be given a credential in, whether there is one or not. */
export function injectedInto(policies: readonly Policy[], action: HttpAction): ReadonlySet<string> {
  const { secrets } = requestTerms(policies, action);
  const headers = policies.flatMap(({ secrets: sources }) =>
    secrets.flatMap((name) => sources[name]?.header.split(":")[0]?.trim().toLowerCase() ?? []),
  );
  return new Set(headers);
}

/** Whether a rule is about package registries, whichever they are. */
export function nameRegistries(policies: readonly Policy[]): boolean {
  const nowhere = { host: "registry.invalid", port: 443 };
  const kinds = [{ registry: "npm" }, { registry: "pypi" }] as const;
  return policies.some(({ rules }) =>
    rules.network?.some((rule) => kinds.some((kind) => rule.reaches({ ...nowhere, ...kind }))),
  );
}
