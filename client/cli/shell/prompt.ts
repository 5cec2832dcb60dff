import { createInterface, type Interface } from "node:readline";
import { harmlessLine } from "../harmless.ts";

/** What a prompt talks to. */
export interface Conversation {
  /** Stands before the directory: the run. */
  readonly name: string;
  readonly directory: string;
  /** Runs one command; resolves to its status, or undefined when nothing more can be run. */
  run(command: string): Promise<number | undefined>;
  /** Ctrl-C while a command runs. */
  interrupt(): void;
  /** Resolves when nothing more can be run. */
  readonly over: Promise<void>;
}

export interface Streams {
  readonly input: NodeJS.ReadableStream;
  readonly output: NodeJS.WritableStream;
}

const LEAVE = /^\s*(?:exit|logout)(?:\s+(\d{1,3}))?\s*$/;

/**
 * Reads lines from a person and runs each, until Ctrl-D, `exit`, or nothing more can be run. A line that ends in a
 * backslash goes on in the next. Resolves to the last command's status.
 */
export async function converse(streams: Streams, conversation: Conversation): Promise<number> {
  const reader = createInterface({ ...streams, terminal: true, historySize: 500 });
  const lines = new Lines(reader);
  let running = false;
  let pending = "";
  reader.on("SIGINT", () => {
    if (running) return conversation.interrupt();
    pending = "";
    streams.output.write("^C\n");
    reader.write(null, { ctrl: true, name: "e" });
    reader.write(null, { ctrl: true, name: "u" });
    ask(reader, conversation, pending);
  });
  try {
    return await talk();
  } finally {
    reader.close();
  }

  async function talk(): Promise<number> {
    let status = 0;
    for (;;) {
      ask(reader, conversation, pending);
      const line = await Promise.race([lines.next(), conversation.over.then(() => undefined)]);
      if (line === undefined) {
        streams.output.write("\n");
        return status;
      }
      if (line.endsWith("\\")) {
        pending += `${line}\n`;
        continue;
      }
      const command = pending + line;
      pending = "";
      const leave = LEAVE.exec(command);
      if (leave) return leave[1] === undefined ? status : Number(leave[1]) & 255;
      if (command.trim() === "") continue;
      running = true;
      const came = await conversation.run(command);
      running = false;
      if (came === undefined) return status;
      status = came;
    }
  }
}

function ask(reader: Interface, { name, directory }: Conversation, pending: string): void {
  reader.setPrompt(pending === "" ? `${name}:${harmlessLine(directory)} $ ` : "> ");
  reader.prompt(true);
}

/** Lines as they come, also those typed ahead; undefined from the end on. */
class Lines {
  readonly #waiting: string[] = [];
  #closed = false;
  #wake: () => void = () => {};

  constructor(reader: Interface) {
    reader.on("line", (line) => {
      this.#waiting.push(line);
      this.#wake();
    });
    reader.once("close", () => {
      this.#closed = true;
      this.#wake();
    });
  }

  async next(): Promise<string | undefined> {
    while (this.#waiting.length === 0 && !this.#closed)
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    return this.#waiting.shift();
  }
}
