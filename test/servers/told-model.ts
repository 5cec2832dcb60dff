import {
  type MessagesBody,
  type MessagesServer,
  type Served,
  startMessagesServer,
} from "./messages-server.ts";

/** A command for bash, or all of its input. */
export type Told = string | Readonly<Record<string, unknown>>;

/** What a run does next, told the results so far; undefined: the model is done. */
export type Telling = (results: readonly string[]) => Told | Promise<Told | undefined> | undefined;

/** A model of the Messages API that acts in each run as was told for its task, and keeps what it gets to read. */
export class ToldModel {
  readonly #telling = new Map<string, Telling>();
  readonly #heard = new Map<string, string[]>();
  readonly #server: MessagesServer;

  private constructor(server: MessagesServer) {
    this.#server = server;
  }

  static async start(): Promise<ToldModel> {
    let model: ToldModel | undefined;
    const server = await startMessagesServer(({ body }) => model?.answer(body) ?? { silent: true });
    model = new ToldModel(server);
    return model;
  }

  /** For ANTHROPIC_BASE_URL. */
  get url(): string {
    return this.#server.url;
  }

  /** What a run of this task does; a list is done in order. */
  tell(task: string, telling: Telling | readonly Told[]): void {
    this.#telling.set(task, typeof telling === "function" ? telling : (results) => telling[results.length]);
  }

  /** The results that the model last read in the run of this task, in order, just as they were sent to it. */
  heard(task: string): readonly string[] {
    return this.#heard.get(task) ?? [];
  }

  async answer({ messages }: MessagesBody): Promise<Served> {
    const [first] = messages[0]?.content ?? [];
    const task = String(first?.text);
    const results = messages
      .flatMap(({ content }) => content)
      .filter(({ type }) => type === "tool_result")
      .map(({ content }) => textOf(content));
    this.#heard.set(task, results);
    const told = await this.#telling.get(task)?.(results);
    if (told === undefined) return { content: [{ type: "text", text: "Done." }] };
    const input = typeof told === "string" ? { command: told } : told;
    return { content: [{ type: "tool_use", id: `toolu_${results.length}`, name: "bash", input }] };
  }

  close(): Promise<void> {
    return this.#server.close();
  }
}

function textOf(content: unknown): string {
  if (typeof content === "string") return content;
  return (content as readonly { text?: string }[]).map(({ text }) => text ?? "").join("");
}
