import type { JournalEvent } from "../../daemon/protocol/events.ts";

/** What a rewind took back, and what it could not. */
export interface TakenBack {
  readonly turns: number;
  /** Of the agent's and of people's. */
  readonly actions: number;
  /** Requests that had left the sandbox. */
  readonly sent: number;
  /** Messages of people, which are still heard. */
  readonly messages: number;
}

type Counted = "turns" | "actions" | "sent" | "messages";

/** What an event that is taken back counts as. */
function kindOf(event: JournalEvent): Counted | undefined {
  switch (event.type) {
    case "turn.started":
      return "turns";
    case "action.started":
      return event.data.again ? undefined : "actions";
    case "egress.judged":
      return event.data.verdict === "deny" ? undefined : "sent";
    case "message.received":
      return "messages";
    default:
      return undefined;
  }
}

/**
 * Sums up a journal between the event gone back to and the rewind. What an earlier rewind in it had taken back
 * already counts no more, but for what was sent and said.
 */
export async function takenBack(
  events: AsyncIterable<JournalEvent> | Iterable<JournalEvent>,
  rewind: number,
): Promise<TakenBack> {
  const found: { readonly seq: number; readonly kind: Counted }[] = [];
  for await (const event of events) {
    if (event.seq >= rewind) break;
    if (event.type === "run.rewound") {
      const { to } = event.data;
      const stays = found.filter(({ seq, kind }) => seq <= to || kind === "sent" || kind === "messages");
      found.splice(0, found.length, ...stays);
    }
    const kind = kindOf(event);
    if (kind) found.push({ seq: event.seq, kind });
  }
  const count = (wanted: Counted) => found.filter(({ kind }) => kind === wanted).length;
  return {
    turns: count("turns"),
    actions: count("actions"),
    sent: count("sent"),
    messages: count("messages"),
  };
}
