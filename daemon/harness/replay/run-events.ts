import { hydrate } from "../../journal/hydrate.ts";
import { CaissonError } from "../../protocol/errors.ts";
import type { Ending, EventOf } from "../../protocol/events.ts";
import type { Step } from "../../run/next.ts";
import type { RunState } from "../../run/state.ts";
import { checkAction } from "../check-action.ts";
import { gitModeOf } from "../policies.ts";
import { boundTo } from "../steps/set-up.ts";
import { alike, compared, type Difference } from "./compare.ts";
import { type Expectation, otherStep } from "./expectation.ts";
import type { Today } from "./today.ts";

export const policyBound: Expectation<"policy.bound"> = async ({ event: { data }, state, today }) => {
  // Whoever asks what another policy would have said knows that it is another one.
  if (today.rebound) return undefined;
  const submitted = state.submitted?.data;
  if (!submitted) return undefined;
  const says = (keys: string) => `The policy is bound differently today: ${keys}.`;
  try {
    const policies = await today.bound({ ...state, policy: data });
    const layers = policies.map(({ layer, name, hash, text }, index) => {
      const recorded = data.layers[index];
      // A secret in a policy was redacted: its text is not the one whose hash was bound.
      const redacted = recorded && String(recorded.text).includes("[redacted:");
      return { text, ...recorded, layer, name, hash: redacted ? recorded.hash : hash };
    });
    const got = boundTo(policies, submitted, layers);
    return compared("event", data, today.journalled(data, got), says);
  } catch (error) {
    if (!(error instanceof CaissonError)) throw error;
    const expected = { name: data.name, hash: data.hash };
    return {
      what: "event",
      expected,
      got: { refused: error.code },
      detail: `The policy is refused today: ${error.message}`,
    };
  }
};

export const sandboxStarted: Expectation<"sandbox.started"> = ({ event: { data }, state }) => {
  const image = state.policy?.image;
  if (data.checkpoint !== undefined || image === undefined) return undefined;
  return compared("event", data, { image }, () => "The sandbox is made from another image today.");
};

export const workspaceIngested: Expectation<"workspace.ingested"> = async ({ event, state, today }) => {
  const git = gitModeOf(await today.bound(state));
  return compared("event", event.data, { git }, () => "The repository is let in differently today.");
};

export const limitReached: Expectation<"limit.reached"> = ({ event: { data }, state, step }) => {
  if (step.do !== "note-limit") return otherStep({ type: "limit.reached" }, step);
  const { limit, used } = step.reached;
  const value = state.policy?.limits[limit];
  // How much time there was is the world's to say.
  const got = limit === "wall" ? { limit, value } : { limit, value, used };
  return compared("event", data, got, (keys) => `The limit is noted differently today: ${keys}.`);
};

export const acceptanceChecked: Expectation<"acceptance.checked"> = async ({ event, state, today }) => {
  const { data } = event;
  const { blobs } = today.deps;
  const commands = (await hydrate(state.submitted?.data.accept ?? [], blobs)) as string[];
  const checks = await Promise.all(
    commands.map(async (command, index) => {
      const { verdict, reason } = await today.verdict(state, [checkAction(command)]);
      const denied = { ok: false, output: `The policy denies this check: ${reason}` };
      return { ...data.checks[index], command, verdict, ...(verdict === "deny" ? denied : {}) };
    }),
  );
  const verdicts = (of: readonly { readonly verdict: unknown }[]) => of.map(({ verdict }) => verdict);
  const what = alike(verdicts(data.checks), verdicts(checks)) ? "event" : "verdict";
  const passed = data.checks.every((check) => check.ok);
  const got = { turn: state.branch.turn, passed, checks };
  return compared(
    what,
    data,
    today.journalled(data, got),
    (keys) => `The acceptance checks come out differently today: ${keys}.`,
  );
};

/** How a run ends: as its state says, or as the world had it. */
export const sandboxStopped: Expectation<"sandbox.stopped"> = (moment) => {
  const { ending } = moment.event.data;
  return ending === undefined ? undefined : endingOf(moment, ending);
};

export function ended(moment: AtEnd): Difference | undefined {
  return endingOf(moment, { type: moment.event.type, ...moment.event.data } as Ending);
}

interface AtEnd {
  readonly event: EventOf<"sandbox.stopped" | "run.completed" | "run.failed" | "run.cancelled">;
  readonly state: RunState;
  readonly step: Step;
  readonly today: Today;
}

function endingOf({ event, state, step, today: harness }: AtEnd, ending: Ending): Difference | undefined {
  const today = step.do === "end" ? harness.journalled(ending, step.ending) : undefined;
  if (today && alike(ending, today)) return undefined;
  const told = state.stopped?.ending !== undefined;
  if (!told && isWorldly(state, ending)) return undefined;
  if (!today) return otherStep(event, step);
  const says = (keys: string) => `The run ends differently today: ${keys}.`;
  return compared("event", ending, today, says);
}

/** Endings that no state leads to: a person's, and those of faults around the run. */
function isWorldly(state: RunState, ending: Ending): boolean {
  if (ending.type === "run.cancelled") return true;
  if (ending.type === "run.completed") return false;
  if (ending.code === "internal" || ending.code === "journal_damaged") return true;
  // A limit that is noted leads to its own ending; what the sandbox has written to disk is measured outside.
  if (ending.code === "limit") return state.limit === undefined;
  if (ending.code === "model") return true;
  const lost = state.sandbox ? undefined : state.lost?.reason;
  return ending.code === "sandbox" && !(lost !== undefined && String(ending.reason).includes(lost));
}
