import { NOTHING_DONE } from "../../daemon/policy/history.ts";
import { judge } from "../../daemon/policy/judge.ts";
import { parseCommand } from "../../daemon/policy/parse-command.ts";
import { parsePolicy } from "../../daemon/policy/parse-policy.ts";
import type { Policy, PolicyAction } from "../../daemon/policy/port.ts";
import type { Layer, Verdict } from "../../daemon/protocol/verdicts.ts";

/** A policy from the sections that matter to a test. */
export function policy(sections: string, layer: Layer = "run"): Policy {
  const result = parsePolicy(`version: 1\nname: test\ndefault: deny\n${sections}`, layer);
  if (!result.ok) throw new Error(JSON.stringify(result.check.errors));
  return result.policy;
}

export function exec(text: string, cwd = "/workspace", env: Record<string, string> = {}): PolicyAction {
  return { kind: "exec", tool: "bash", command: parseCommand(text), cwd, env };
}

export function judged(layers: Policy | readonly Policy[], text: string): Verdict {
  return judge("name" in layers ? [layers] : layers, exec(text), NOTHING_DONE);
}
