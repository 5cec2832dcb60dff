/** The questions of `apply --patch`, in a terminal. */
import { createInterface } from "node:readline";
import type { HunkAnswer, HunkQuestion } from "../workspace/pick-hunks.ts";
import { CliError, EXIT } from "./exit.ts";
import { diffLines } from "./render/diff.ts";
import { EMPTY, line, span } from "./render/line.ts";
import type { Terminal } from "./terminal.ts";

const ANSWERS = ["y", "n", "q", "a", "d"] as const;

const ASKED: Readonly<Record<HunkQuestion["kind"], string>> = {
  hunk: "Apply this hunk",
  mode: "Apply this mode change",
  addition: "Apply this addition",
  deletion: "Apply this deletion",
  rename: "Apply this rename",
  change: "Apply this change",
  folder: "Apply this change of folders",
};

const HELP = [
  "y - apply this hunk",
  "n - do not apply this hunk",
  "q - quit; do not apply this hunk or any of the remaining ones",
  "a - apply this hunk and all later hunks in the file",
  "d - do not apply this hunk or any of the later hunks in the file",
  "? - print help",
];

export interface Questions {
  /** @throws CliError when the input ends, or at Ctrl-C: nothing has been applied then */
  ask(question: HunkQuestion): Promise<HunkAnswer>;
  close(): void;
}

/** Reads answers from standard input, a line each. */
export function openQuestions(terminal: Terminal): Questions {
  const input = createInterface({ input: process.stdin, output: process.stdout });
  const lines = input[Symbol.asyncIterator]();
  let shown: string | undefined;
  let interrupted = false;
  input.on("SIGINT", () => {
    interrupted = true;
    input.close();
  });
  const answer = async (prompt: string): Promise<string> => {
    input.setPrompt(prompt);
    input.prompt();
    const { done, value } = await lines.next();
    if (done !== true) return value.trim();
    if (interrupted) throw new CliError(EXIT.interrupted, "Nothing was changed.");
    throw new CliError(EXIT.badInput, "The answers ended before the questions. Nothing was changed.");
  };
  return {
    ask: async (question) => {
      const { path, kind, number, of, text } = question;
      if (path !== shown) terminal.say([EMPTY, line(0, span(path, "bold"))]);
      shown = path;
      terminal.say(diffLines(text));
      for (;;) {
        const given = await answer(`(${number}/${of}) ${ASKED[kind]} [${ANSWERS.join(",")},?]? `);
        const found = ANSWERS.find((one) => one === given.toLowerCase());
        if (found) return found;
        terminal.say(HELP.map((text) => line(2, text)));
      }
    },
    close: () => input.close(),
  };
}
