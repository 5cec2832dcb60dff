import type { z } from "zod";
import { anySignal } from "../../daemon/protocol/any-signal.ts";
import { DaemonUnreachable, errorOf, jsonOf, reasonOf, UnexpectedAnswer } from "./errors.ts";

export interface ClientSettings {
  /** Where the daemon listens, such as `127.0.0.1:7433`. */
  readonly address: string;
  readonly token: string;
  /** How long an ordinary request may take, in milliseconds. Default: a minute. */
  readonly deadlineMs?: number;
  /** How long an upload, a download or a diff may take, in milliseconds. Default: ten minutes. */
  readonly transferMs?: number;
  /** Ends every request of this client. */
  readonly signal?: AbortSignal;
}

export interface RequestParts {
  readonly query?: Readonly<Record<string, string | number | undefined>>;
  readonly json?: unknown;
  readonly stream?: { readonly contentType: string; readonly content: AsyncIterable<Uint8Array> };
  /** A transfer has the longer deadline. */
  readonly transfer?: boolean;
}

type Method = "GET" | "POST" | "PUT" | "DELETE";

const DEADLINE_MS = 60_000;
const TRANSFER_MS = 600_000;

/** HTTP to the daemon: token, deadline, and errors that say which of them it was. */
export class Transport {
  readonly #settings: ClientSettings;

  constructor(settings: ClientSettings) {
    this.#settings = settings;
  }

  /** @throws CaissonError, DaemonUnreachable, UnexpectedAnswer */
  async json<T>(schema: z.ZodType<T>, method: Method, path: string, parts: RequestParts = {}): Promise<T> {
    const text = await this.text(method, path, parts);
    const result = schema.safeParse(jsonOf(text));
    if (result.success) return result.data;
    throw new UnexpectedAnswer(
      `${method} ${path} was answered in a form this client doesn't know (${result.error.issues[0]?.message ?? "?"}). Daemon and client may be of different versions.`,
    );
  }

  async text(method: Method, path: string, parts: RequestParts = {}): Promise<string> {
    return await this.textOf(await this.send(method, path, parts));
  }

  textOf(response: Response): Promise<string> {
    return this.#guarded(() => response.text());
  }

  /** The answer's bytes as they come; leaving the iteration early ends the download. */
  async *bytes(path: string): AsyncGenerator<Uint8Array> {
    yield* this.bytesOf(await this.send("GET", path, { transfer: true }));
  }

  /** A response's bytes as they come. */
  async *bytesOf({ body }: Response): AsyncGenerator<Uint8Array> {
    if (body === null) return;
    const reader = body.getReader();
    try {
      for (;;) {
        const { done, value } = await this.#guarded(() => reader.read());
        if (done) return;
        yield value;
      }
    } finally {
      await reader.cancel().catch(() => undefined);
    }
  }

  /** The response, when it is one of success. */
  async send(method: Method, path: string, parts: RequestParts = {}): Promise<Response> {
    const { address } = this.#settings;
    const url = new URL(path, `http://${address}`);
    for (const [name, value] of Object.entries(parts.query ?? {}))
      if (value !== undefined) url.searchParams.set(name, String(value));
    const source = parts.stream === undefined ? undefined : new Upload(parts.stream.content);
    const init = this.#init(method, parts, source);
    const response = await this.#guarded(
      () => fetch(url, init),
      () => source?.throwIfFailed(),
    );
    if (response.ok) return response;
    throw errorOf(response.status, await this.textOf(response), address);
  }

  #init(method: Method, parts: RequestParts, source: Upload | undefined): RequestInit {
    const { token, deadlineMs = DEADLINE_MS, transferMs = TRANSFER_MS, signal } = this.#settings;
    const deadline = AbortSignal.timeout(parts.transfer === true ? transferMs : deadlineMs);
    const init: RequestInit = {
      method,
      redirect: "error",
      headers: { authorization: `Bearer ${token}`, ...typeOf(parts) },
      signal: signal === undefined ? deadline : anySignal([deadline, signal]),
    };
    if (parts.json !== undefined) return { ...init, body: JSON.stringify(parts.json) };
    return source === undefined ? init : { ...init, body: source.body(), duplex: "half" };
  }

  /** What Node throws, as what it means here; the caller's own abort, or `own` failure, stays itself. */
  async #guarded<T>(work: () => Promise<T>, own?: () => void): Promise<T> {
    try {
      return await work();
    } catch (error) {
      this.#settings.signal?.throwIfAborted();
      own?.();
      const { address } = this.#settings;
      if (error instanceof DOMException && error.name === "TimeoutError")
        throw new DaemonUnreachable(`The daemon at ${address} did not answer in time.`, { cause: error });
      throw new DaemonUnreachable(
        `No daemon answers at ${address} (${reasonOf(error)}). Start one with \`caisson run\`, or set CAISSON_ADDRESS.`,
        { cause: error },
      );
    }
  }
}

function typeOf(parts: RequestParts): Record<string, string> {
  if (parts.json !== undefined) return { "content-type": "application/json" };
  return parts.stream === undefined ? {} : { "content-type": parts.stream.contentType };
}

/** A body on its way out. Not Readable.toWeb: in Node 20 it crashes the process when an upload is refused half way. */
class Upload {
  readonly #source: AsyncIterator<Uint8Array>;
  #cancelled = false;
  #failure: { readonly error: unknown } | undefined;

  constructor(content: AsyncIterable<Uint8Array>) {
    this.#source = content[Symbol.asyncIterator]();
  }

  /** @throws what the content itself threw, such as a file that can't be read */
  throwIfFailed(): void {
    if (this.#failure !== undefined) throw this.#failure.error;
  }

  body(): ReadableStream<Uint8Array> {
    return new ReadableStream({
      pull: (controller) => this.#pull(controller),
      cancel: async () => {
        this.#cancelled = true;
        await this.#source.return?.();
      },
    });
  }

  async #pull(controller: ReadableStreamDefaultController<Uint8Array>): Promise<void> {
    try {
      const { done, value } = await this.#source.next();
      if (this.#cancelled) return;
      if (done === true) controller.close();
      else controller.enqueue(value);
    } catch (error) {
      this.#failure = { error };
      throw error;
    }
  }
}
