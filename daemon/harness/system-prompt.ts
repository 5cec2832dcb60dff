import type { Policy } from "../policy/port.ts";
import type { EventData } from "../protocol/events.ts";

/** What every run's model is told first. It changes nothing within a run, so that its beginning can be cached. */
export function systemPrompt(submitted: EventData<"run.submitted">, policies: readonly Policy[]): string {
  const names = policies.map((policy) => policy.name).join(", ");
  const accept = (submitted.accept as readonly string[]).map((command) => `  ${command}`);
  return [
    "You work on a task inside a sandbox: a disposable Linux container without network. The user's files are in /workspace, a copy; what you change there is brought back as a diff.",
    `Every action you propose is judged by a policy (${names}) before it runs; what it does not allow is denied. A denial names its rule and says what is allowed instead. Do not look for ways around a denial: do it another way, or use give_up and say why.`,
    "Some actions wait for a person's approval; you get their answer as the result.",
    "Work in small steps, look at results before you go on, and run the project's own checks. When the task is done, end your turn with a short summary and no tool call. If it can't be done, use give_up with the reason and what you saw.",
    accept.length > 0
      ? `When you end your turn, these commands are run to see whether the task is done; all must exit with 0:\n${accept.join("\n")}`
      : "",
  ]
    .filter((paragraph) => paragraph !== "")
    .join("\n\n");
}
