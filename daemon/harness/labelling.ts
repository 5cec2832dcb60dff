/** What a run's actions raise its labels to, before anything of it goes anywhere. */
import { isGuarded } from "../boundary/guards.ts";
import { isBeneath } from "../policy/folder-prefixes.ts";
import { globFolders } from "../policy/glob.ts";
import { labelOf } from "../policy/labels.ts";
import type { LabelRule, Policy, PolicyAction } from "../policy/port.ts";
import type { EventData, NewEvent } from "../protocol/events.ts";
import { areSame, both, type Label } from "../protocol/labels.ts";
import { afterRaise } from "../run/labelling.ts";
import type { RunState } from "../run/state.ts";
import { keptFromModel } from "./flow.ts";
import type { LiveRun } from "./live-run.ts";
import { type Governed, policiesOf } from "./policies.ts";
import { type ToolResult, WORKSPACE } from "./tools/tool.ts";

/** Data that is about to be read, and the rule that labels it. */
export type Raise = Omit<EventData<"label.raised">, "action">;

/** The events that raise a run's labels so far; none where that changes nothing. */
export function raised(state: RunState, raises: readonly Raise[], action?: string): NewEvent[] {
  let labelled: Parameters<typeof afterRaise>[0] = state.branch;
  return raises.flatMap((raise) => {
    const before = labelled;
    labelled = afterRaise(before, raise);
    const same =
      areSame(labelled.labels, before.labels) &&
      areSame(labelled.held, before.held) &&
      labelled.released === before.released;
    return same ? [] : [{ type: "label.raised", data: { ...raise, ...(action ? { action } : {}) } }];
  });
}

/**
 * What any command can read: of the workspace as it was ingested, and beside it, where nothing is guarded and nobody
 * looks what there is. None: nothing that is labelled.
 */
export function exposed({ ingested }: RunState, policies: readonly Policy[]): Raise[] {
  const open = (ingested?.data.labelled ?? []).filter(({ guarded }) => !guarded);
  const outside = policies.flatMap(({ rules }) => (rules.labels ?? []).filter(isOutside));
  const where = [
    [open, "the workspace"],
    [outside, "the sandbox beside the workspace"],
  ] as const;
  return where.flatMap(([labelled, place]): Raise[] => {
    if (labelled.length === 0) return [];
    const label = labelled.reduce<Label>((all, one) => both(all, one.label), {});
    const rules = [...new Set(labelled.map(({ rule }) => rule))].join(", ");
    return [{ label, source: `${place}, where any command can read what ${rules} labels` }];
  });
}

/** A glob that may stand for anything, `**` first, is about the workspace. */
function isOutside({ source, pattern }: LabelRule): boolean {
  const apart = (folder: string) => !isBeneath(folder, WORKSPACE) && !isBeneath(WORKSPACE, folder);
  return source === "path" && globFolders(pattern).some(({ folder }) => apart(folder));
}

/** Tools that look through whatever is below a folder. */
const SEARCHES: ReadonlySet<string> = new Set(["grep", "glob"]);

/**
 * What performing an action reads, as far as its plan tells. A guarded file is not among it: whether it is read at all
 * is settled when it is.
 */
export async function readBy(run: Governed, parts: readonly PolicyAction[]): Promise<readonly Raise[]> {
  const policies = await policiesOf(run);
  const raises = parts.map((part): Raise[] => {
    // What comes in through the gateway is labelled there.
    const found = part.tool === "fetch" ? undefined : labelOf(policies, { tool: part.tool });
    const own = found ? [{ label: found.label, source: `tool ${part.tool}, ${found.rule}` }] : [];
    if (part.kind === "exec" || SEARCHES.has(part.tool)) return [...own, ...exposed(run.state, policies)];
    const file = fileRead(run.state, policies, part);
    return file ? [...own, file] : own;
  });
  return raises.flat();
}

function fileRead(state: RunState, policies: readonly Policy[], part: PolicyAction): Raise | undefined {
  if (part.kind !== "read") return undefined;
  const found = labelOf(policies, { path: part.path });
  if (found === undefined) return undefined;
  const guarded =
    isBeneath(part.path, WORKSPACE) && (state.ingested?.data.labelled?.some((one) => one.guarded) ?? false);
  return guarded && isGuarded(found)
    ? undefined
    : { label: found.label, source: `${part.path}, ${found.rule}` };
}

/** Raises the labels by what detectors find in a result, before any of it is told. */
export async function raiseDetected(
  run: LiveRun,
  action: string | undefined,
  { output }: ToolResult,
): Promise<void> {
  const policies = await policiesOf(run);
  if (!policies.some(({ rules }) => rules.labels?.some(({ source }) => source === "detector"))) return;
  const raises = run.deps.redactor.value(output).found.flatMap(({ kind }): Raise[] => {
    const found = labelOf(policies, { detector: kind });
    return found ? [{ label: found.label, source: `detector ${kind}, ${found.rule}` }] : [];
  });
  if (raises.length > 0) await run.commit("written", (state) => raised(state, raises, action));
}

/** Tools whose results are the daemon's own words, or what the model has been told before. */
const OWN_WORDS: ReadonlySet<string> = new Set([
  "write",
  "edit",
  "output",
  "remember",
  "recall",
  "plan",
  "compress",
  "ask",
]);

/** An action's result as the model may have it. A person's own command keeps its output, for people. */
export async function forModel(run: LiveRun, action: string, result: ToolResult): Promise<ToolResult> {
  const { state } = run;
  const own = [...state.branch.actions, ...state.again].find((one) => one.action === action);
  const person = state.persons.has(action) || own?.by === "person";
  if (result.withheld || (!person && OWN_WORDS.has(own?.tool ?? ""))) return result;
  const kept = await keptFromModel(run, state.branch.held, own);
  if (kept === undefined) return result;
  const withheld = { rule: kept.rule, reason: kept.reason };
  return person ? { ...result, withheld } : { ...result, output: kept.marker, withheld };
}
