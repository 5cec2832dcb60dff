import type { EventOf } from "../protocol/events.ts";
import type { ConversationEvent } from "../run/state.ts";
import { endingOf, shortened } from "./observations.ts";

/** Commands of people that the model is told of, the newest; those before them are counted. */
const TOLD = 20;
const COMMAND_CHARACTERS = 500;
const SHOWN_HEAD = 1_200;
const SHOWN_TAIL = 800;

type Outcome = EventOf<"action.finished" | "action.unknown">;

/** What the model is told of people's commands, by action: the files it knows may have changed. */
export function personsObservations(events: readonly ConversationEvent[]): ReadonlyMap<string, string> {
  const commands = new Map(
    events.flatMap((event) =>
      event.type === "action.proposed" && event.data.by === "person"
        ? [[event.data.action, commandOf(event.data.input)] as const]
        : [],
    ),
  );
  const outcomes = events.filter(
    (event): event is Outcome =>
      (event.type === "action.unknown" || (event.type === "action.finished" && !event.data.again)) &&
      commands.has(event.data.action),
  );
  const earlier = Math.max(0, outcomes.length - TOLD);
  return new Map(
    outcomes.map((event, index) => {
      const { action } = event.data;
      if (index < earlier) return [action, ""];
      const before =
        index === earlier && earlier > 0
          ? `[earlier commands of a person that are not shown: ${earlier}]\n`
          : "";
      return [action, `${before}${told(event, commands.get(action) ?? "")}`];
    }),
  );
}

function told(event: Outcome, command: string): string {
  const head = `A person ran this in the sandbox, in a shell of their own; files may have changed:\n$ ${command}`;
  if (event.type === "action.unknown") return `${head}\n[its outcome is not known: ${event.data.reason}]`;
  const { withheld } = event.data;
  const output = withheld
    ? `[Its output is for people: ${withheld.rule} keeps it from you.]`
    : shortened(event.data, event.data.action, { head: SHOWN_HEAD, tail: SHOWN_TAIL });
  const parts = [head, output.replace(/\n$/, ""), endingOf(event.data)];
  return parts.filter((part) => part !== "").join("\n");
}

function commandOf(input: unknown): string {
  const { command } = input as { command?: unknown };
  const text = String(command);
  return text.length > COMMAND_CHARACTERS ? `${text.slice(0, COMMAND_CHARACTERS)}…` : text;
}
