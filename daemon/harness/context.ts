import { hydrate } from "../journal/hydrate.ts";
import type { ModelRequest } from "../model/port.ts";
import type { EventData } from "../protocol/events.ts";
import type { Decision } from "../protocol/verdicts.ts";
import type { ConversationEvent, RunState } from "../run/state.ts";
import type { Budget } from "./budget.ts";
import { type Conversation, personsPart, type Retelling } from "./conversation.ts";
import type { Dependencies } from "./dependencies.ts";
import { digestOf } from "./digest.ts";
import { observationOf } from "./observations.ts";
import { type Governed, policiesOf } from "./policies.ts";
import { systemPrompt } from "./system-prompt.ts";

/** Tokens the assembled context may take when the task does not say. */
const BUDGET_TOKENS = 160_000;
const MAXIMUM_OUTPUT_TOKENS = 16_384;
/** Characters of English or code to a token, roughly; cautious. */
const CHARACTERS_PER_TOKEN = 3;

export interface AssembledContext {
  readonly request: ModelRequest;
  readonly manifest: EventData<"model.requested">["manifest"];
  readonly digest: string;
}

/** What a context is made of: of a run that is carried, or one that is replayed. */
export interface Told extends Governed {
  readonly deps: Governed["deps"] & Pick<Dependencies, "toolbox">;
  readonly retelling: Pick<Retelling, "of">;
  readonly budget: Pick<Budget, "within" | "digestOf">;
}

/** ORIENT: what the model gets to see, from the journal alone. */
export async function assembleContext(
  run: Told,
  prompt: typeof systemPrompt = systemPrompt,
): Promise<AssembledContext> {
  const { state, deps } = run;
  const submitted = (await hydrate(state.submitted?.data, deps.blobs)) as EventData<"run.submitted">;
  const first = state.inherited
    ? ((await hydrate(state.inherited.first.data, deps.blobs)) as EventData<"run.submitted">)
    : submitted;
  const system = prompt(submitted, await policiesOf(run));
  const budget = submitted.context?.budgetTokens ?? BUDGET_TOKENS;
  const conversation = await run.retelling.of(first, state.branch.conversation);
  const { events } = conversation;
  const messages = run.budget.within(conversation.messages, budget * CHARACTERS_PER_TOKEN - system.length);
  const { definitions } = deps.toolbox;
  const request: ModelRequest = {
    purpose: "ordinary",
    system,
    messages,
    tools: definitions,
    maxOutputTokens: MAXIMUM_OUTPUT_TOKENS,
    observed: observed(run, conversation),
  };
  const inherited = state.inherited?.said ?? 0;
  const manifest = {
    system: digestOf(system),
    tools: digestOf(definitions),
    events: ranges(events.slice(inherited), state.rewinds),
    ...(inherited > 0 ? { inherited } : {}),
  };
  return { request, manifest, digest: run.budget.digestOf(system, definitions, messages) };
}

/** What happened since the last response: the results as the model reads them, and the verdicts. */
function observed({ state }: Told, { newest, persons }: Conversation): ModelRequest["observed"] {
  const verdicts = newest.flatMap((event): Decision[] =>
    event.type === "action.judged" && event.data.layer !== "person" ? [event.data.verdict] : [],
  );
  return {
    position: state.branch.responses,
    attempt: state.branch.failures,
    results: newest.flatMap((event) => personsPart(event, persons) ?? observationOf(event, newest) ?? []),
    verdicts,
  };
}

/**
 * The events' seqs as inclusive ranges. What stands between two of them that no model is told of parts no range, only
 * what was abandoned does: else a manifest would have ranges for each turn, and a journal the square of its turns.
 */
function ranges(events: readonly ConversationEvent[], rewinds: RunState["rewinds"]): [number, number][] {
  const [first] = events;
  const last = events.at(-1);
  if (!first || !last) return [];
  if (rewinds.length === 0) return [[first.seq, last.seq]];
  const joined: [number, number][] = [];
  for (const { seq } of events) {
    const newest = joined.at(-1);
    const abandoned = (from: number) => rewinds.some((one) => from < one.seq && one.to < seq - 1);
    if (newest && (seq === newest[1] + 1 || !abandoned(newest[1]))) newest[1] = seq;
    else joined.push([seq, seq]);
  }
  return joined;
}
