/** The conversation as the model reads it: messages told from events, each stretch of them once. */
import { hydrate } from "../journal/hydrate.ts";
import type { Blobs } from "../journal/port.ts";
import type { RequestBlock, RequestMessage } from "../model/port.ts";
import type { ContentBlock } from "../protocol/content.ts";
import type { EventData } from "../protocol/events.ts";
import { referencesIn } from "../protocol/text.ts";
import { type Chain, type ConversationEvent, toArray } from "../run/state.ts";
import { Excerpts } from "./excerpts.ts";
import { isProposedIn, observationOf } from "./observations.ts";
import { personsObservations } from "./persons-observations.ts";

/** A response and what came of it, up to the next one; the first stretch is what stands before all responses. */
interface Stretch {
  readonly events: readonly ConversationEvent[];
  /** Kept where it can't become another one. */
  telling?: Telling;
}

/** A stretch as it is told. */
interface Telling {
  /** With long texts read, and excerpts of long outputs. */
  readonly read: readonly ConversationEvent[];
  /** What is said; undefined where people's commands are part of it: how those are told changes with later ones. */
  readonly said: readonly RequestMessage[] | undefined;
}

/** A conversation as it is told. */
export interface Conversation {
  readonly events: readonly ConversationEvent[];
  readonly messages: readonly RequestMessage[];
  /** The newest response and what came of it, with texts read. */
  readonly newest: readonly ConversationEvent[];
  /** What the model is told of people's commands, by action. */
  readonly persons: ReadonlyMap<string, string>;
}

/** A conversation as far as it was told before. */
interface Known {
  readonly chain: Chain<ConversationEvent>;
  readonly events: readonly ConversationEvent[];
  /** All but the last one, which may grow. */
  readonly closed: readonly Stretch[];
}

/**
 * Tells a run's conversation, turn for turn. A stretch that can't grow any more is told once: a run of a thousand
 * turns would else tell all of them a thousand times. Those with texts in blobs are read anew each time, so that
 * what was written at length is not held while the run waits.
 */
export class Retelling {
  readonly #blobs: Pick<Blobs, "read" | "text">;
  readonly #excerpts: Excerpts;
  #known: Known = { chain: undefined, events: [], closed: [] };

  constructor(blobs: Pick<Blobs, "read" | "text">) {
    this.#blobs = blobs;
    this.#excerpts = new Excerpts(blobs);
  }

  /** @throws BlobMissing, BlobDamaged */
  async of(submitted: EventData<"run.submitted">, chain: Chain<ConversationEvent>): Promise<Conversation> {
    const { events, stretches } = this.#stretchesOf(chain);
    const own = personsActions(events);
    const tellings: Telling[] = [];
    const last = stretches.at(-1);
    for (const stretch of stretches)
      tellings.push(stretch.telling ?? (await this.#tell(stretch, own, stretch !== last)));
    const persons = personsObservations(
      tellings.flatMap(({ read, said }) => (said === undefined ? read : [])),
    );
    const said = tellings.flatMap((telling) => telling.said ?? told(telling.read, persons));
    const messages = toAnswer(joined([...beginning(submitted), ...said]));
    return { events, messages, newest: tellings.at(-1)?.read ?? [], persons };
  }

  /** What was told before is the beginning of it, unless the run was taken back. */
  #stretchesOf(chain: Chain<ConversationEvent>) {
    const added: ConversationEvent[] = [];
    let cell = chain;
    for (; cell && cell.length > this.#known.events.length; cell = cell.before) added.push(cell.value);
    const goesOn = cell === this.#known.chain;
    const { events: before, closed } = goesOn ? this.#known : { events: [], closed: [] };
    const events = goesOn ? [...before, ...added.reverse()] : toArray(chain);
    const from = closed.reduce((sum, stretch) => sum + stretch.events.length, 0);
    const stretches = [...closed, ...cutAtResponses(events.slice(from))];
    this.#known = { chain, events, closed: stretches.slice(0, -1) };
    return { events, stretches };
  }

  async #tell(stretch: Stretch, own: ReadonlySet<string>, closed: boolean): Promise<Telling> {
    const read: ConversationEvent[] = [];
    let blobs = false;
    for (const event of await this.#excerpts.of(stretch.events)) {
      const blob = hasBlob(event);
      blobs ||= blob;
      read.push(blob ? ((await hydrate(event, this.#blobs)) as ConversationEvent) : event);
    }
    const persons = stretch.events.some((event) => "action" in event.data && own.has(event.data.action));
    const telling = { read, said: persons ? undefined : told(read, new Map()) };
    if (closed && !blobs) stretch.telling = telling;
    return telling;
  }
}

function hasBlob({ data }: ConversationEvent): boolean {
  return !referencesIn(data).next().done;
}

function personsActions(events: readonly ConversationEvent[]): ReadonlySet<string> {
  const own = new Set<string>();
  for (const event of events)
    if (event.type === "action.proposed" && event.data.by === "person") own.add(event.data.action);
  return own;
}

function cutAtResponses(events: readonly ConversationEvent[]): Stretch[] {
  const stretches: ConversationEvent[][] = [];
  for (const event of events) {
    const last = stretches.at(-1);
    if (last && event.type !== "model.responded") last.push(event);
    else stretches.push([event]);
  }
  return stretches.map((one) => ({ events: one }));
}

function beginning({ recap, task }: EventData<"run.submitted">): RequestMessage[] {
  const said = recap === undefined ? [task] : [recap, task];
  return [{ role: "user", content: said.map((one) => text(String(one))) }];
}

/** What one speaker says in a row is one message. */
function joined(said: readonly RequestMessage[]): RequestMessage[] {
  const messages: RequestMessage[] = [];
  for (const one of said) {
    const last = messages.at(-1);
    if (last?.role === one.role)
      messages[messages.length - 1] = { role: one.role, content: [...last.content, ...one.content] };
    else if (one.content.length > 0) messages.push(one);
  }
  return messages;
}

/** The last word is the model's to answer. */
function toAnswer(messages: readonly RequestMessage[]): readonly RequestMessage[] {
  if (messages.at(-1)?.role !== "assistant") return messages;
  return [...messages, { role: "user", content: [text("Go on.")] }];
}

function told(
  events: readonly ConversationEvent[],
  persons: ReadonlyMap<string, string>,
): readonly RequestMessage[] {
  const said = events.flatMap((event, index): RequestMessage[] => {
    if (event.type === "model.responded")
      return [
        { role: "assistant", content: event.data.content },
        { role: "user", content: answers(event.data, events.slice(index + 1)) },
      ];
    const own = personsPart(event, persons);
    // An action is told with the turn that proposed it; what is had again of an earlier one, at its place.
    const observation = own ?? (isProposedIn(events, event) ? undefined : observationOf(event, events));
    return observation ? [{ role: "user", content: [text(observation)] }] : [];
  });
  return joined(said);
}

/** What the model is told at this event of a person's command; undefined: the event is about no such command. */
export function personsPart(
  event: ConversationEvent,
  persons: ReadonlyMap<string, string>,
): string | undefined {
  if (event.type !== "action.finished" && event.type !== "action.unknown") return undefined;
  const own = persons.get(event.data.action);
  if (own === undefined || event.type === "action.unknown" || !event.data.again) return own;
  return event.data.again === "same" ? "" : undefined;
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
