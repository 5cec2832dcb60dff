import { WebSocket } from "ws";
import type { JournalEvent } from "../../daemon/protocol/events.ts";
import type { ServerFrame } from "../../daemon/protocol/frames.ts";
import { TOKEN } from "../http/daemon.ts";

/** A plain client of the stream that keeps every frame. */
export class Client {
  readonly frames: ServerFrame[] = [];
  readonly texts: string[] = [];
  readonly socket: WebSocket;
  readonly closed: Promise<number>;
  readonly #waiting = new Set<() => void>();

  constructor(port: number) {
    this.socket = new WebSocket(`ws://127.0.0.1:${port}/v1/stream`, {
      headers: { authorization: `Bearer ${TOKEN}` },
      perMessageDeflate: false,
      maxPayload: 32 * 1024 * 1024,
    });
    this.socket.on("message", (data) => {
      this.texts.push(String(data));
      this.frames.push(JSON.parse(String(data)) as ServerFrame);
      for (const check of this.#waiting) check();
    });
    this.socket.on("error", () => undefined);
    this.closed = new Promise((resolve) => this.socket.once("close", resolve));
  }

  static async open(port: number): Promise<Client> {
    const client = new Client(port);
    await client.until((frames) => frames.some(({ type }) => type === "hello"));
    return client;
  }

  send(frame: unknown): void {
    this.socket.send(typeof frame === "string" ? frame : JSON.stringify(frame));
  }

  subscribe(run: string, after?: number): void {
    this.send({ type: "subscribe", run, ...(after === undefined ? {} : { after }) });
  }

  /** Resolves when the frames so far are as wanted. */
  until(wanted: (frames: readonly ServerFrame[]) => boolean): Promise<void> {
    return new Promise((resolve) => {
      const check = () => {
        if (!wanted(this.frames)) return;
        this.#waiting.delete(check);
        resolve();
      };
      this.#waiting.add(check);
      check();
    });
  }

  events(run?: string): JournalEvent[] {
    return this.frames.flatMap((frame) =>
      frame.type === "event" && (run === undefined || frame.run === run) ? [frame.event] : [],
    );
  }

  ofType<T extends ServerFrame["type"]>(type: T): Extract<ServerFrame, { type: T }>[] {
    return this.frames.filter((frame): frame is Extract<ServerFrame, { type: T }> => frame.type === type);
  }

  async close(): Promise<void> {
    this.socket.close();
    await this.closed;
  }
}
