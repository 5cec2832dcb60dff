import {
  END_TYPES,
  type EventData,
  type EventType,
  type JournalEvent,
} from "../../daemon/protocol/events.ts";

export function isEnd(event: JournalEvent): boolean {
  return (END_TYPES as readonly string[]).includes(event.type);
}

/** The data of every event of one type. */
export function dataOf<T extends EventType>(events: readonly JournalEvent[], type: T): EventData<T>[] {
  return events.flatMap((event) => (event.type === type ? [event.data as EventData<T>] : []));
}

/** A script of one bash action a turn, then a last word. */
export function bashScript(...commands: readonly string[]): { script: string } {
  const turns = commands.map((command) => ({ use: [{ tool: "bash", input: { command } }] }));
  return scripted([...turns, { say: "Done." }]);
}

/** An action that starts with a file `/tmp/begun` and lasts until somebody makes `/tmp/go`. */
export const UNTIL_TOLD = "touch /tmp/begun; until [ -e /tmp/go ]; do sleep 0.02; done";

/** JSON is YAML. */
export function scripted(turns: readonly unknown[]): { script: string } {
  return { script: JSON.stringify({ turns }) };
}
