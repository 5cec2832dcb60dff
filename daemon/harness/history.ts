import { z } from "zod";
import { parseCommand } from "../policy/parse-command.ts";
import type { DoneAction, PolicyAction, PolicyHistory } from "../policy/port.ts";
import { isBlobReference } from "../protocol/text.ts";
import { type RunState, toArray } from "../run/state.ts";

const Command = z.object({
  command: z.string(),
  cwd: z.string().optional(),
  background: z.boolean().optional(),
});
const Written = z.object({ path: z.string() });
/** A command too long to stand in the journal: what it wrote is not known, so it counts as having written. */
const LONG: PolicyAction = { kind: "write", tool: "bash", path: "" };

/** What rules may depend on of what a run did so far. */
export function historyOf({ branch, hadExternalEffect }: RunState): PolicyHistory {
  return {
    labels: branch.labels,
    externalEffect: hadExternalEffect,
    done: () => doneOn(branch.conversation),
  };
}

/** Actions with an outcome on this branch, oldest first; a person's own among them. */
function* doneOn(conversation: RunState["branch"]["conversation"]): Generator<DoneAction> {
  const proposed = new Map<string, { readonly tool: string; readonly input: unknown }>();
  for (const { type, data } of toArray(conversation)) {
    if (type === "action.proposed") proposed.set(data.action, data);
    if (type !== "action.finished" && type !== "action.unknown") continue;
    const { tool, input } = proposed.get(data.action) ?? {};
    if (tool === undefined) continue;
    const exitCode = type === "action.finished" && !isInBackground(input) ? data.exitCode : undefined;
    yield { action: inNormalForm(tool, input), ...(exitCode === undefined ? {} : { exitCode }) };
  }
}

/** Its exit status is that of its start. */
function isInBackground(input: unknown): boolean {
  return Command.safeParse(input).data?.background === true;
}

/** As far as it matters to rules about sequences: which commands were run, and that something was written. */
function inNormalForm(tool: string, input: unknown): PolicyAction {
  const path = Written.safeParse(input).data?.path;
  if ((tool === "write" || tool === "edit") && path !== undefined) return { kind: "write", tool, path };
  if (tool !== "bash") return { kind: "tool", tool, input };
  const run = Command.safeParse(input).data;
  if (run) return { kind: "exec", tool, command: parseCommand(run.command), cwd: run.cwd ?? "", env: {} };
  const text = typeof input === "object" && input !== null ? Reflect.get(input, "command") : undefined;
  return isBlobReference(text) ? LONG : { kind: "tool", tool, input };
}
