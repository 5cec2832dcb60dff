import { badInput } from "./exit.ts";

/** Longest task, in characters; the daemon takes no longer one. */
const LONGEST = 1_000_000;

/**
 * The task itself; `-` stands for what comes on standard input.
 * @throws CliError when it is empty or too long
 */
export async function taskText(given: string, stdin: NodeJS.ReadStream, prompt: () => void): Promise<string> {
  if (given === "-" && stdin.isTTY === true) prompt();
  const task = given === "-" ? await allOf(stdin) : given;
  if (task.trim() !== "") return task;
  throw badInput(
    given === "-"
      ? "Nothing came on standard input, so there is no task. Nothing was submitted."
      : 'The task is empty. Say what is to be done: caisson run "fix the failing test"',
  );
}

async function allOf(stdin: NodeJS.ReadStream): Promise<string> {
  const decoder = new TextDecoder();
  let text = "";
  for await (const chunk of stdin) {
    text += decoder.decode(chunk as Buffer, { stream: true });
    if (text.length > LONGEST)
      throw badInput(
        `The task on standard input is longer than ${LONGEST} characters. Nothing was submitted.`,
      );
  }
  return text.trimEnd();
}
