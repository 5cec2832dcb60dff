import { parseTarget } from "../http-target.ts";
import type { PolicyAction } from "../port.ts";

/** Something that a run did or wanted to do, and what came of the asking. */
export interface Observation {
  readonly action: PolicyAction;
  readonly outcome: "allowed" | "denied";
  /** Whose word it was in the end. */
  readonly by: "rule" | "person";
  /** Of a request: the private ranges that its host might lie in. */
  readonly addresses?: readonly string[];
}

/** As tests in policy files write an action. */
export interface Example {
  readonly exec?: string;
  readonly read?: string;
  readonly write?: string;
  readonly tool?: string;
  readonly http?: string;
  readonly cwd?: string;
}

const WORKSPACE = "/workspace";

/** The action as a test has it, which tells it from others too. */
export function exampleOf(action: PolicyAction): Example {
  switch (action.kind) {
    case "exec": {
      const { cwd, command } = action;
      return { exec: command.text, ...(cwd === "" || cwd === WORKSPACE ? {} : { cwd }) };
    }
    case "read":
      return { read: action.path };
    case "write":
      return { write: action.path };
    case "tool":
      return { tool: action.tool };
    case "http": {
      const target = parseTarget(action.method, action.url);
      const path = "refused" in target ? action.url : target.target;
      const at = action.registry === undefined ? action.url : `registry:${action.registry}${path}`;
      return { http: `${action.method} ${at}` };
    }
  }
}

/** Each different thing once. What was both allowed and denied by a person is for a person to answer again. */
export interface Gathered {
  readonly allowed: readonly Observation[];
  readonly denied: readonly Observation[];
  readonly disputed: readonly Observation[];
}

export function gathered(observations: readonly Observation[]): Gathered {
  const byKey = new Map<string, Observation[]>();
  for (const one of observations) {
    const key = JSON.stringify(exampleOf(one.action));
    const same = byKey.get(key);
    if (same) same.push(one);
    else byKey.set(key, [one]);
  }
  const allowed: Observation[] = [];
  const denied: Observation[] = [];
  const disputed: Observation[] = [];
  for (const all of byKey.values()) {
    const yes = all.find(({ outcome }) => outcome === "allowed");
    const no = all.find(({ outcome }) => outcome === "denied");
    const refusedByPerson = all.some(({ outcome, by }) => outcome === "denied" && by === "person");
    if (yes && refusedByPerson) disputed.push(yes);
    else if (yes) allowed.push({ ...yes, addresses: all.flatMap(({ addresses }) => addresses ?? []) });
    else if (no) denied.push(no);
  }
  return { allowed, denied, disputed };
}
