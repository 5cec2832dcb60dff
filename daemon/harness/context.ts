import { hydrate } from "../journal/hydrate.ts";
import type { ModelRequest, RequestBlock, RequestMessage } from "../model/port.ts";
import type { ContentBlock } from "../protocol/content.ts";
import type { EventData } from "../protocol/events.ts";
import type { Decision } from "../protocol/verdicts.ts";
import { type ConversationEvent, toArray } from "../run/state.ts";
import type { Dependencies } from "./dependencies.ts";
import { digestOf } from "./digest.ts";
import type { Excerpts } from "./excerpts.ts";
import { observationOf } from "./observations.ts";
import { personsObservations } from "./persons-observations.ts";
import { type Governed, policiesOf } from "./policies.ts";
import { systemPrompt } from "./system-prompt.ts";

/** Tokens the assembled context may take when the task does not say. */
const BUDGET_TOKENS = 160_000;
const MAXIMUM_OUTPUT_TOKENS = 16_384;
/** Characters of English or code to a token, roughly; cautious. */
const CHARACTERS_PER_TOKEN = 3;
const LEFT_OUT = "[left out: it was long ago. Use the output tool with the action's id to read it again.]";

export interface AssembledContext {
  readonly request: ModelRequest;
  readonly manifest: EventData<"model.requested">["manifest"];
  readonly digest: string;
}

/** What a context is made of: of a run that is carried, or one that is replayed. */
export interface Told extends Governed {
  readonly deps: Governed["deps"] & Pick<Dependencies, "toolbox">;
  readonly excerpts: Pick<Excerpts, "of">;
}

/** ORIENT: what the model gets to see, from the journal alone. */
export async function assembleContext(
  run: Told,
  prompt: typeof systemPrompt = systemPrompt,
): Promise<AssembledContext> {
  const { state, deps } = run;
  const shown = await run.excerpts.of(toArray(state.branch.conversation));
  const events = (await hydrate(shown, deps.blobs)) as ConversationEvent[];
  const submitted = (await hydrate(state.submitted?.data, deps.blobs)) as EventData<"run.submitted">;
  const first = state.inherited
    ? ((await hydrate(state.inherited.first.data, deps.blobs)) as EventData<"run.submitted">)
    : submitted;
  const system = prompt(submitted, await policiesOf(run));
  const budget = submitted.context?.budgetTokens ?? BUDGET_TOKENS;
  const messages = withinBudget(conversation(first, events), budget * CHARACTERS_PER_TOKEN - system.length);
  const { definitions } = deps.toolbox;
  const request: ModelRequest = {
    purpose: "ordinary",
    system,
    messages,
    tools: definitions,
    maxOutputTokens: MAXIMUM_OUTPUT_TOKENS,
    observed: observed(run, events),
  };
  const inherited = state.inherited?.said ?? 0;
  const manifest = {
    system: digestOf(system),
    tools: digestOf(definitions),
    events: ranges(events.slice(inherited)),
    ...(inherited > 0 ? { inherited } : {}),
  };
  return { request, manifest, digest: digestOf([system, definitions, messages]) };
}

/** What happened since the last response: the results as the model reads them, and the verdicts. */
function observed(run: Told, events: readonly ConversationEvent[]): ModelRequest["observed"] {
  const last = events.findLastIndex((event) => event.type === "model.responded");
  const since = events.slice(last + 1);
  const persons = personsObservations(events);
  const verdicts = since.flatMap((event): Decision[] =>
    event.type === "action.judged" && event.data.layer !== "person" ? [event.data.verdict] : [],
  );
  return {
    position: run.state.branch.responses,
    attempt: run.state.branch.failures,
    results: since.flatMap((event) => personsPart(event, persons) ?? observationOf(event, since) ?? []),
    verdicts,
  };
}

function conversation(
  submitted: EventData<"run.submitted">,
  events: readonly ConversationEvent[],
): RequestMessage[] {
  const messages: { role: "user" | "assistant"; content: RequestBlock[] }[] = [];
  const say = (role: "user" | "assistant", blocks: readonly RequestBlock[]) => {
    const last = messages.at(-1);
    if (last?.role === role) last.content.push(...blocks);
    else if (blocks.length > 0) messages.push({ role, content: [...blocks] });
  };
  const persons = personsObservations(events);
  if (submitted.recap !== undefined) say("user", [text(String(submitted.recap))]);
  say("user", [text(String(submitted.task))]);
  for (const [index, event] of events.entries()) {
    if (event.type === "model.responded") {
      say("assistant", event.data.content);
      say("user", answers(event.data, following(events, index)));
    } else {
      const own = personsPart(event, persons);
      const observation = own ?? (answersAction(event) ? undefined : observationOf(event, events));
      if (observation) say("user", [text(observation)]);
    }
  }
  if (messages.at(-1)?.role === "assistant") say("user", [text("Go on.")]);
  return messages;
}

/** What the model is told at this event of a person's command; undefined: the event is about no such command. */
function personsPart(event: ConversationEvent, persons: ReadonlyMap<string, string>): string | undefined {
  if (event.type !== "action.finished" && event.type !== "action.unknown") return undefined;
  return persons.get(event.data.action);
}

/** The events up to the next response. */
function following(events: readonly ConversationEvent[], index: number): readonly ConversationEvent[] {
  const end = events.findIndex((event, at) => at > index && event.type === "model.responded");
  return events.slice(index + 1, end === -1 ? undefined : end);
}

function answersAction(event: ConversationEvent): boolean {
  return event.type.startsWith("action.") || event.type === "approval.decided";
}

/** One tool_result for every tool_use, in order, as the Messages API wants it; then what else there is to say. */
function answers(
  response: EventData<"model.responded">,
  since: readonly ConversationEvent[],
): RequestBlock[] {
  const actionOf = new Map(
    since.flatMap((event) =>
      event.type === "action.proposed" ? [[event.data.toolUse, event.data.action] as const] : [],
    ),
  );
  const results = response.content.flatMap((block): RequestBlock[] => {
    if (block.type !== "tool_use") return [];
    const about = since.filter(
      (event) => "action" in event.data && event.data.action === actionOf.get(block.id),
    );
    const content = about.flatMap((event) => observationOf(event, since) ?? []).join("\n");
    const isError = !about.some((event) => event.type === "action.finished" && event.data.ok);
    return [{ type: "tool_result", toolUseId: block.id, content: content || "This was not run.", isError }];
  });
  return results.length === 0 ? [...notice(response)] : [...results, ...notice(response)];
}

/** What a stop reason other than the ordinary ones means to the model. */
function notice({ stopReason }: EventData<"model.responded">): RequestBlock[] {
  if (stopReason === "max_tokens")
    return [text("Your response was cut at its length limit. Go on from there, in smaller steps.")];
  return [];
}

function text(content: string): ContentBlock {
  return { type: "text", text: content };
}

/** Leaves out the oldest results until the rest fits: they can be read again with the `output` tool. */
function withinBudget(messages: readonly RequestMessage[], characters: number): RequestMessage[] {
  let excess =
    messages.reduce((sum, message) => sum + JSON.stringify(message.content).length, 0) - characters;
  return messages.map((message, index) => {
    if (excess <= 0 || index >= messages.length - 2) return message;
    const content = message.content.map((block) => {
      if (excess <= 0 || block.type !== "tool_result" || block.content.length <= LEFT_OUT.length)
        return block;
      excess -= block.content.length - LEFT_OUT.length;
      return { ...block, content: LEFT_OUT };
    });
    return { ...message, content };
  });
}

/** The events' seqs as inclusive ranges. */
function ranges(events: readonly ConversationEvent[]): [number, number][] {
  const joined: [number, number][] = [];
  for (const { seq } of events) {
    const last = joined.at(-1);
    if (last && seq === last[1] + 1) last[1] = seq;
    else joined.push([seq, seq]);
  }
  return joined;
}
