import { once } from "node:events";
import { connect, type Socket } from "node:net";

/** One answer as it came over the wire. */
export interface RawAnswer {
  readonly status: number;
  readonly headers: ReadonlyMap<string, string>;
  readonly body: string;
}

/** A connection on which a test writes what it likes; nothing is checked on the way out. */
export class RawHttp {
  readonly socket: Socket;
  readonly #waiting = new Set<() => void>();
  #text = Buffer.alloc(0);
  #ended = false;

  private constructor(socket: Socket) {
    this.socket = socket;
    const changed = () => {
      for (const check of this.#waiting) check();
    };
    socket.on("error", () => undefined);
    socket.on("data", (chunk) => {
      this.#text = Buffer.concat([this.#text, chunk]);
      changed();
    });
    socket.on("close", () => {
      this.#ended = true;
      changed();
    });
    socket.on("end", () => {
      this.#ended = true;
      changed();
    });
  }

  static async open(address: string): Promise<RawHttp> {
    const [host, port] = address.split(":");
    const socket = connect({ host: host ?? "", port: Number(port) });
    await once(socket, "connect");
    return new RawHttp(socket);
  }

  get ended(): boolean {
    return this.#ended;
  }

  /** Bytes that came and are no answer yet. */
  get rest(): Buffer {
    return this.#text;
  }

  /** The next final answer; undefined when the connection ended without one. @throws when none comes in time */
  async answer(
    options: { readonly head?: boolean; readonly ms?: number } = {},
  ): Promise<RawAnswer | undefined> {
    await this.until(
      () => this.#ended || wholeAnswer(this.#text, this.#ended, options.head) !== undefined,
      options.ms,
    );
    const found = wholeAnswer(this.#text, this.#ended, options.head);
    if (found === undefined) return undefined;
    this.#text = this.#text.subarray(found.length);
    return found.answer.status < 200 && found.answer.status !== 101 ? this.answer(options) : found.answer;
  }

  /** Resolves when the daemon closed the connection. */
  async closed(ms?: number): Promise<void> {
    await this.until(() => this.#ended, ms);
  }

  /** Resolves when a condition on what came holds. @throws when it doesn't in time */
  until(holds: () => boolean, ms = 20_000): Promise<void> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#waiting.delete(check);
        reject(new Error(`nothing within ${ms} ms; so far: ${this.#text.subarray(0, 200).toString()}`));
      }, ms);
      const check = () => {
        if (!holds()) return;
        clearTimeout(timer);
        this.#waiting.delete(check);
        resolve();
      };
      this.#waiting.add(check);
      check();
    });
  }
}

/** The first answer in these bytes and how many of them it takes; undefined while it is not whole. */
function wholeAnswer(
  bytes: Buffer,
  ended: boolean,
  head = false,
): { readonly answer: RawAnswer; readonly length: number } | undefined {
  const headEnd = bytes.indexOf("\r\n\r\n");
  if (headEnd < 0) return undefined;
  const [first = "", ...lines] = bytes.subarray(0, headEnd).toString("latin1").split("\r\n");
  const status = Number(/^HTTP\/1\.1 (\d{3}) /.exec(first)?.[1] ?? 0);
  const headers = new Map(
    lines.map((line): [string, string] => {
      const colon = line.indexOf(":");
      return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()];
    }),
  );
  const from = headEnd + 4;
  const body = bodyIn(bytes.subarray(from), headers, ended, head || status < 200 || status === 204);
  return body && { answer: { status, headers, body: body.text }, length: from + body.length };
}

function bodyIn(bytes: Buffer, headers: ReadonlyMap<string, string>, ended: boolean, none: boolean) {
  if (none) return { text: "", length: 0 };
  const length = headers.get("content-length");
  if (length !== undefined)
    return bytes.length < Number(length)
      ? undefined
      : { text: bytes.subarray(0, Number(length)).toString(), length: Number(length) };
  if (headers.get("transfer-encoding") === "chunked") return chunkedIn(bytes);
  return ended ? { text: bytes.toString(), length: bytes.length } : undefined;
}

function chunkedIn(bytes: Buffer) {
  const parts: Buffer[] = [];
  let at = 0;
  for (;;) {
    const line = bytes.indexOf("\r\n", at);
    if (line < 0) return undefined;
    const size = Number.parseInt(bytes.subarray(at, line).toString("latin1"), 16);
    const from = line + 2;
    if (bytes.length < from + size + 2) return undefined;
    parts.push(bytes.subarray(from, from + size));
    at = from + size + 2;
    if (size === 0) return { text: Buffer.concat(parts).toString(), length: at };
  }
}
