/** Which checkpoints stand around one action, and whether what it changed can be told from what others did. Pure. */
import { posix } from "node:path";
import { CaissonError } from "../protocol/errors.ts";
import type { ActionId } from "../protocol/ids.ts";
import type { CheckpointView } from "../protocol/views.ts";
import { INGESTED } from "./branches.ts";
import { goneCheckpoint } from "./decide.ts";
import { type ActionState, openAction, type RunState, toArray } from "./state.ts";

const WORKSPACE = "/workspace";

export interface Stretch {
  /** Before the action; undefined: the workspace as it was ingested. */
  readonly before: CheckpointView | undefined;
  /** Behind it; undefined: there is none yet, and nothing but the action has changed files since. */
  readonly after: CheckpointView | undefined;
  /** The one file that is the action's, relative to the workspace; undefined: all that changed. */
  readonly path: string | undefined;
}

export function cannotUndo(reason: string): CaissonError {
  return new CaissonError("cannot_undo", `${reason} Nothing was changed.`);
}

/** @throws CaissonError `unknown_action`, `cannot_undo`, `checkpoint_gone` */
export function stretchAround(state: RunState, action: ActionId): Stretch {
  const effects = toArray(state.branch.effects);
  const own = effects.find((one) => one.action.action === action);
  if (!own) throw notThere(state, action);
  if (openAction(state)?.action === action) throw cannotUndo(`${action} has not ended yet.`);
  const line = presentLine(state);
  const before = line.findLast(({ seq }) => seq < own.from);
  const after = line.find(({ seq }) => seq >= own.seq);
  for (const one of [before, after]) if (one?.reclaimed) throw goneCheckpoint(state, one);
  const from = before?.seq ?? 0;
  const others = effects.filter(
    ({ seq, action: one }) => one.action !== action && seq > from && (!after || seq <= after.seq),
  );
  const checked = state.branch.checkedAt > from && (!after || state.branch.checkedAt <= after.seq);
  const alone = others.length === 0 && !checked;
  return { before, after, path: alone ? undefined : pathAmong(own.action, others, checked) };
}

function notThere(state: RunState, action: ActionId): CaissonError {
  const detail =
    Number(action.slice(1)) > state.lastAction
      ? `The run has no action ${action}.`
      : `${action} is no action of the present branch that could have changed files: it only read, was not run, or a rewind took it back.`;
  return new CaissonError("unknown_action", `${detail} Nothing was changed. \`caisson events\` lists them.`);
}

/** The checkpoints of the present branch, oldest first. */
function presentLine({ branch, checkpoints }: RunState): CheckpointView[] {
  const byId = new Map(checkpoints.map((one) => [one.id, one]));
  const line: CheckpointView[] = [];
  for (let one = byId.get(branch.checkpoint ?? INGESTED); one; one = byId.get(one.parent ?? INGESTED))
    line.unshift(one);
  return line;
}

/** Only tools that name the one file they change can be told from each other. */
function pathAmong(own: ActionState, others: readonly { readonly action: ActionState }[], checked: boolean) {
  const path = pathOf(own);
  const rest = others.map(({ action }) => action);
  const unclear = rest.filter((one) => pathOf(one) === undefined || pathOf(one) === path);
  if (path !== undefined && unclear.length === 0 && !checked) return path;
  const whose = (path === undefined ? rest : unclear).map((one) => one.action);
  const named = checked && whose.length === 0 ? "an acceptance check" : whose.join(", ");
  throw cannotUndo(
    `What ${own.action} changed can't be told from what ${named} did: no checkpoint stands between them. \`caisson checkpoints\` lists those that can be gone back to.`,
  );
}

/** The file of the workspace that a `write` or an `edit` names. */
function pathOf({ tool, input, verdict }: ActionState): string | undefined {
  if (tool !== "write" && tool !== "edit") return undefined;
  const path: unknown = Reflect.get(Object(input), "path");
  if (typeof path !== "string") return undefined;
  const resolved: unknown = Reflect.get(Object(Reflect.get(Object(verdict), "resolved")), path);
  const absolute = posix.resolve(WORKSPACE, typeof resolved === "string" ? resolved : path);
  return absolute.startsWith(`${WORKSPACE}/`) ? absolute.slice(WORKSPACE.length + 1) : undefined;
}
