/** The conversation as the model reads it: messages told from events, each stretch of them once. */
import { hydrate } from "../journal/hydrate.ts";
import type { Blobs } from "../journal/port.ts";
import type { RequestBlock, RequestMessage } from "../model/port.ts";
import type { ContentBlock } from "../protocol/content.ts";
import type { EventData } from "../protocol/events.ts";
import { referencesIn } from "../protocol/text.ts";
import type { ConversationEvent } from "../run/state.ts";
import { Excerpts } from "./excerpts.ts";
import { observationOf } from "./observations.ts";
import { personsObservations } from "./persons-observations.ts";

/** A response and what came of it, up to the next one; the first stretch is what stands before all responses. */
interface Stretch {
  readonly events: readonly ConversationEvent[];
  /** With long texts read, and excerpts of long outputs. */
  readonly read: readonly ConversationEvent[];
  /** What is said; undefined where people's commands are part of it: how those are told changes with later ones. */
  readonly said: readonly RequestMessage[] | undefined;
}

/** A conversation as it is told. */
export interface Conversation {
  readonly messages: readonly RequestMessage[];
  /** The newest response and what came of it, with texts read. */
  readonly newest: readonly ConversationEvent[];
  /** What the model is told of people's commands, by action. */
  readonly persons: ReadonlyMap<string, string>;
}

/**
 * Tells a run's conversation, turn for turn. A stretch that can't grow any more is told once: a run of a thousand
 * turns would else tell all of them a thousand times. Those with texts in blobs are read anew each time, so that
 * what was written at length is not held while the run waits.
 */
export class Retelling {
  readonly #blobs: Pick<Blobs, "read" | "text">;
  readonly #excerpts: Excerpts;
  /** By their first event. */
  readonly #told = new WeakMap<ConversationEvent, Stretch>();

  constructor(blobs: Pick<Blobs, "read" | "text">) {
    this.#blobs = blobs;
    this.#excerpts = new Excerpts(blobs);
  }

  /** @throws BlobMissing, BlobDamaged */
  async of(
    submitted: EventData<"run.submitted">,
    events: readonly ConversationEvent[],
  ): Promise<Conversation> {
    const own = personsActions(events);
    const stretches: Stretch[] = [];
    for (const stretch of stretchesOf(events))
      stretches.push(this.#known(stretch) ?? (await this.#tell(stretch, own)));
    for (const stretch of stretches.slice(0, -1)) this.#keep(stretch);
    const persons = personsObservations(
      stretches.flatMap(({ read, said }) => (said === undefined ? read : [])),
    );
    const said = stretches.flatMap((stretch) => stretch.said ?? told(stretch.read, persons));
    const newest = stretches.at(-1)?.read ?? [];
    return { messages: toAnswer(joined([...beginning(submitted), ...said])), newest, persons };
  }

  #known(events: readonly ConversationEvent[]): Stretch | undefined {
    const [first] = events;
    const known = first && this.#told.get(first);
    if (known?.events.length !== events.length) return undefined;
    return known.events.every((event, index) => event === events[index]) ? known : undefined;
  }

  #keep(stretch: Stretch): void {
    const [first] = stretch.events;
    if (first && !this.#told.has(first) && !stretch.events.some(hasBlob)) this.#told.set(first, stretch);
  }

  async #tell(events: readonly ConversationEvent[], own: ReadonlySet<string>): Promise<Stretch> {
    const read: ConversationEvent[] = [];
    for (const event of await this.#excerpts.of(events))
      read.push(hasBlob(event) ? ((await hydrate(event, this.#blobs)) as ConversationEvent) : event);
    const persons = events.some((event) => "action" in event.data && own.has(event.data.action));
    return { events, read, said: persons ? undefined : told(read, new Map()) };
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

function stretchesOf(events: readonly ConversationEvent[]): ConversationEvent[][] {
  const stretches: ConversationEvent[][] = [];
  for (const event of events) {
    const last = stretches.at(-1);
    if (last && event.type !== "model.responded") last.push(event);
    else stretches.push([event]);
  }
  return stretches;
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
    const observation = own ?? (answersAction(event) ? undefined : observationOf(event, events));
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
  return persons.get(event.data.action);
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
