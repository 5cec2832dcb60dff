import { isDeepStrictEqual } from "node:util";
import { effectOf } from "../../policy/effect.ts";
import { judge } from "../../policy/judge.ts";
import { parseCommand } from "../../policy/parse-command.ts";
import type { PolicyAction } from "../../policy/port.ts";
import type { EventData, NewEvent } from "../../protocol/events.ts";
import { approvalIdOf } from "../../protocol/ids.ts";
import type { Verdict } from "../../protocol/verdicts.ts";
import { countedUse } from "../../run/family.ts";
import { madeRequest } from "../../run/requests.ts";
import type { ActionState } from "../../run/state.ts";
import { wallTime } from "../../run/wall-time.ts";
import { Permit } from "../../sandbox/gate.ts";
import { bindingOf } from "../binding.ts";
import { confinementFor } from "../confinement.ts";
import type { Dependencies } from "../dependencies.ts";
import { historyOf } from "../history.ts";
import { absolutePath, resolvePath } from "../housekeeping.ts";
import { hydrateInput } from "../inputs.ts";
import { forModel, raiseDetected, raised, readBy } from "../labelling.ts";
import type { LiveRun } from "../live-run.ts";
import { withMemoryKills } from "../memory.ts";
import { performing } from "../performing.ts";
import { type Governed, policiesOf } from "../policies.ts";
import { Resolutions } from "../resolutions.ts";
import { type Plan, ToolRefusal, type ToolResult } from "../tools/tool.ts";
import { sandboxOf } from "./end.ts";

/** A plan, and where its paths led in the sandbox. */
export type Planned = Plan & Pick<EventData<"action.judged">, "resolved">;

/** An action brought into normal form, or why that can't be. */
export async function planOf(run: LiveRun, action: ActionState): Promise<Planned> {
  const sandbox = sandboxOf(run);
  const policies = await policiesOf(run);
  const timeoutMs = Math.min(wallLeft(run), ...policies.map((policy) => policy.execLimits.timeoutMs));
  const resolutions = new Resolutions();
  const { env, ...confined } = await confinementFor(run, sandbox.facts);
  const plan = await run.deps.toolbox.normalise(action.tool, await hydrateInput(run, action), {
    action: action.action,
    resolve: async (path) => {
      const resolved = await resolvePath(sandbox, path);
      resolutions.note(path, absolutePath(path), resolved);
      return resolved;
    },
    parseCommand,
    env: { ...sandbox.env, ...(await run.egress.environment()), ...env },
    timeoutMs,
    ...confined,
    ...(await run.egress.destinations()),
  });
  return { ...plan, ...resolutions.journalled() };
}

/** The plan of an action that was judged before. One that can't be made any more refuses when it is performed. */
export async function planAnew(run: LiveRun, action: ActionState): Promise<Planned> {
  try {
    return await planOf(run, action);
  } catch (error) {
    if (!(error instanceof ToolRefusal)) throw error;
    return { policy: [], perform: () => Promise.reject(error) };
  }
}

/** What a path names may have changed since it was judged (A2). @throws ToolRefusal when it leads elsewhere now */
export function requireAsJudged(run: LiveRun, action: ActionState, { resolved }: Planned): void {
  if (isDeepStrictEqual(resolved, resolvedWhenJudged(run, action.action))) return;
  throw new ToolRefusal("A path leads elsewhere now than when this was judged; nothing was done.");
}

function resolvedWhenJudged(run: LiveRun, action: string): Planned["resolved"] {
  for (let cell = run.state.branch.conversation; cell; cell = cell.before) {
    const { type, data } = cell.value;
    if (type === "action.judged" && data.action === action) return data.resolved;
  }
  return undefined;
}

/** Milliseconds of wall time the run has left; at least one, since a deadline of none would be no deadline. */
export function wallLeft(run: LiveRun): number {
  const limit = run.state.policy?.limits.wall ?? Number.POSITIVE_INFINITY;
  return Math.max(1, limit - wallTime(run.state, run.deps.now()));
}

/** Judges a proposed action; what is allowed by rule is started at once, its verdict on disk before it (A1, J3). */
export async function judgeAction(run: LiveRun, action: ActionState): Promise<void> {
  const { action: id } = action;
  let plan: Planned;
  try {
    plan = await planOf(run, action);
  } catch (error) {
    if (!(error instanceof ToolRefusal)) throw error;
    return deny(run, id, "builtin.input", error.message);
  }
  const judged = await verdictOn(run, plan);
  const events: NewEvent[] = [{ type: "action.judged", data: { action: id, ...judged } }];
  if (judged.verdict !== "allow") return void (await run.commit("written", () => events));
  await start(run, action, plan, Permit.grant(id, judged.verdict, undefined), events);
}

/** What is journalled of the judging of a plan. */
export async function verdictOn(
  run: Governed & { readonly deps: Pick<Dependencies, "judged"> },
  { policy, resolved }: Planned,
): Promise<Omit<EventData<"action.judged">, "action">> {
  return { ...(await verdictOf(run, policy)), ...(resolved ? { resolved } : {}) };
}

/** The strictest of the verdicts on an action's parts. */
export async function verdictOf(
  run: Governed & { readonly deps: Pick<Dependencies, "judged"> },
  actions: readonly PolicyAction[],
): Promise<Omit<EventData<"action.judged">, "action">> {
  const policies = await policiesOf(run);
  const history = historyOf(run.state);
  const began = performance.now();
  const verdicts = actions.map((action) => judge(policies, action, history));
  run.deps.judged?.(performance.now() - began);
  const effects = actions.map((action) => effectOf(policies, action));
  const strictest = (["deny", "ask", "allow"] as const).flatMap((decision) =>
    verdicts.filter(({ verdict }) => verdict === decision),
  )[0];
  const effect = (["external", "local", "read"] as const).find((one) => effects.includes(one)) ?? "local";
  return { ...(strictest ?? NOTHING_JUDGED), matched: verdicts.flatMap(({ matched }) => matched), effect };
}

const NOTHING_JUDGED: Verdict = {
  verdict: "deny",
  rule: "default",
  reason: "Nothing of this action could be judged.",
  layer: "builtin",
  matched: [],
};

function deny(run: LiveRun, action: string, rule: string, reason: string): Promise<void> {
  const data: EventData<"action.judged"> = {
    action,
    verdict: "deny",
    rule,
    reason,
    layer: "builtin",
    matched: [],
  };
  return run.commit("written", () => [{ type: "action.judged", data }]).then(() => undefined);
}

/** Runs an action that was allowed: by a rule before a crash, or by a person just now. */
export async function act(run: LiveRun, action: ActionState): Promise<void> {
  const plan = await planAnew(run, action);
  const approval = run.state.approvals.get(approvalIdOf(run.run, action.action));
  const binding = await bindingOf(run, plan.policy);
  const decided = approval?.decision?.decision ?? (action.stage === "approved" ? "allow" : undefined);
  if (approval && (approval.revoked || approval.binding !== binding)) {
    const why = approval.revoked ? "was revoked" : "was for something else: what it names has changed since";
    return deny(
      run,
      action.action,
      "builtin.approval",
      `The approval ${why}. Propose the action again if it is still wanted.`,
    );
  }
  await start(run, action, plan, Permit.grant(action.action, action.verdict?.verdict ?? "deny", decided), []);
}

async function start(
  run: LiveRun,
  action: ActionState,
  plan: Planned,
  permit: Permit,
  before: readonly NewEvent[],
): Promise<void> {
  const raises = await readBy(run, plan.policy);
  // Before anything changes, the files of the turn's end must be in its checkpoint.
  const begun = await run.checkpoints.beforeChange(async () => {
    // Of its family another one may have started the last action that the limit leaves.
    if (hasSpentActions(run)) return [];
    const sandbox = sandboxOf(run).id;
    const started: NewEvent = { type: "action.started", data: { action: action.action, sandbox } };
    return run.deps.families.starting(run.run, () =>
      run.commit("synced", (state) => [...before, ...raised(state, raises, action.action), started]),
    );
  });
  if (begun.length > 0) await carryOut(run, action, plan, permit);
}

function hasSpentActions({ run, state, deps }: LiveRun): boolean {
  const { actions = Number.POSITIVE_INFINITY } = state.policy?.limits ?? {};
  return countedUse(state, deps.families.beside(run)).actions >= actions;
}

async function carryOut(run: LiveRun, action: ActionState, plan: Planned, permit: Permit): Promise<void> {
  const began = run.deps.now();
  const context = performing(run, action.action, permit);
  const perform = async () => {
    requireAsJudged(run, action, plan);
    return plan.perform(context);
  };
  await finish(run, action.action, began, perform, context.settled);
}

/**
 * After a daemon's restart: an action that was started and has no outcome. The runner knows whether it ran (A3):
 * if it does, its outcome is taken up; if the runner has never heard of it, it never started, and starts now.
 */
export async function settle(run: LiveRun, action: ActionState): Promise<void> {
  const plan = await planAnew(run, action);
  if (plan.leaves && madeRequest(run.state, action.action)) return mayHaveBeenSent(run, action.action);
  const approved = run.state.approvals.get(approvalIdOf(run.run, action.action))?.decision?.decision;
  const permit = Permit.grant(
    action.action,
    action.verdict?.verdict ?? "deny",
    approved ?? decidedWithoutAsking(action),
  );
  const context = performing(run, action.action, permit);
  const { settle: settled } = plan;
  const began = run.deps.now();
  const kept = settled ? await context.takeUp() : undefined;
  if (kept && settled) return finish(run, action.action, began, async () => settled(kept), context.settled);
  await carryOut(run, action, plan, permit);
}

/** Nobody can tell whether it arrived: sending it again is for the model to propose, and for the policy to judge (A3). */
async function mayHaveBeenSent(run: LiveRun, action: string): Promise<void> {
  const reason =
    "The daemon ended while this request was under way. It may have been sent and have had its effect; it was not sent again.";
  await run.commit("written", () => [{ type: "action.unknown", data: { action, reason } }]);
}

/** An ask that a rule of the submission answered (`--yes-to`) has a decision but no approval record. */
export function decidedWithoutAsking(action: ActionState): "allow" | undefined {
  return action.stage === "approved" || action.stage === "started" ? "allow" : undefined;
}

type Finished = EventData<"action.finished">;

/** Performs and journals the outcome; `as` adds to what is journalled of it. */
export async function finish(
  run: LiveRun,
  action: string,
  began: number,
  perform: () => Promise<ToolResult>,
  settled: () => Promise<void>,
  as: (finished: Finished) => Promise<Finished> = async (finished) => finished,
): Promise<void> {
  const made = await perform().catch((error: unknown): ToolResult => {
    if (error instanceof ToolRefusal) return { ok: false, output: error.message };
    throw error;
  });
  if (run.stopping) return;
  await raiseDetected(run, action, made);
  const result = await forModel(run, action, made);
  const durationMs = Math.max(0, run.deps.now() - began);
  const data = await as({ action, ...(await withMemoryKills(run, result)), durationMs });
  await run.commit("written", () => [{ type: "action.finished", data }]);
  await settled();
}
