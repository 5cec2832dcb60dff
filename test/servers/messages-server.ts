import { once } from "node:events";
import { createServer, type IncomingHttpHeaders, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { Readable } from "node:stream";
import { text as readText } from "node:stream/consumers";
import { pipeline } from "node:stream/promises";
import { eventsOf, type ServedBlock, type ServedEvent, type ServedUsage } from "./messages-events.ts";

export type { ServedBlock, ServedEvent, ServedUsage } from "./messages-events.ts";

/** A request as it came in. `body` is the parsed JSON. */
export interface ReceivedRequest {
  readonly number: number;
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
  readonly body: MessagesBody;
}

/** As much of the Messages API's request as tests look at. */
export interface MessagesBody {
  readonly model: string;
  readonly max_tokens: number;
  readonly stream: boolean;
  readonly system?: readonly { readonly text: string; readonly cache_control?: unknown }[];
  readonly tools?: readonly { readonly name: string; readonly cache_control?: unknown }[];
  readonly thinking?: unknown;
  readonly messages: readonly {
    readonly role: string;
    readonly content: readonly Readonly<Record<string, unknown>>[];
  }[];
}

/** What the server does with one request. */
export type Served =
  | {
      readonly content: readonly ServedBlock[];
      /** Default: `tool_use` if the content has one, else `end_turn`. */
      readonly stopReason?: string;
      readonly stopDetails?: unknown;
      readonly usage?: ServedUsage;
      /** Events that are sent before the end: then the stream ends, breaks or falls silent. */
      readonly cut?: { readonly after: number; readonly how: "end" | "drop" | "stall" };
      /** Falls silent after message_stop and leaves the connection open. */
      readonly holdOpen?: boolean;
    }
  | { readonly status: number; readonly headers?: Readonly<Record<string, string>>; readonly body?: unknown }
  /** Exactly these events, then the stream ends. */
  | { readonly events: readonly ServedEvent[] }
  /** Exactly these bytes as the stream, again and again until the client goes. */
  | { readonly endless: string }
  /** Takes the request and never answers. */
  | { readonly silent: true };

export type Responder = (request: ReceivedRequest) => Served | Promise<Served>;

export interface MessagesServer {
  /** For ANTHROPIC_BASE_URL. */
  readonly url: string;
  readonly requests: readonly ReceivedRequest[];
  /** Answers the next requests, one each, before the responder is asked. */
  enqueue(...served: readonly Served[]): void;
  /** Resolves when the server has fallen silent (`stall`, `silent`, `holdOpen`) for the nth time, from 1. */
  silence(nth: number): Promise<void>;
  /** Resolves when the nth request's connection has closed, or its response was sent, from 1. */
  finished(nth: number): Promise<void>;
  /** Connections that are open now. */
  connections(): Promise<number>;
  close(): Promise<void>;
}

/** Counts up; who waits for a number is told when it is reached. */
function createCounter() {
  let count = 0;
  const waiting: { readonly nth: number; readonly resolve: () => void }[] = [];
  return {
    up(): void {
      count += 1;
      for (const { nth, resolve } of waiting) if (nth <= count) resolve();
    },
    reach(nth: number): Promise<void> {
      return nth <= count ? Promise.resolve() : new Promise((resolve) => waiting.push({ nth, resolve }));
    },
  };
}

function errorBody(status: number): unknown {
  const type = status === 529 ? "overloaded_error" : status === 429 ? "rate_limit_error" : "api_error";
  return { type: "error", error: { type, message: `served status ${status}` } };
}

function line({ event, data }: ServedEvent): string {
  return `event: ${event}\ndata: ${typeof data === "string" ? data : JSON.stringify(data)}\n\n`;
}

function startStream(response: ServerResponse): void {
  response.writeHead(200, { "content-type": "text/event-stream; charset=utf-8", "request-id": "req_test" });
}

function* repeated(bytes: string): Generator<string> {
  for (;;) yield bytes;
}

/** Until the client goes, which is how it is meant to end. */
async function writeEndlessly(response: ServerResponse, bytes: string): Promise<void> {
  await pipeline(Readable.from(repeated(bytes)), response).catch(() => {});
}

function servedEvents(served: Extract<Served, { content: unknown }>, model: string): ServedEvent[] {
  const used = served.content.some((block) => block.type === "tool_use");
  const stop = { reason: served.stopReason ?? (used ? "tool_use" : "end_turn"), details: served.stopDetails };
  return eventsOf(model, served.content, stop, served.usage ?? { input_tokens: 10, output_tokens: 5 });
}

/** Serves one response; `silent` is called when the server says no more but leaves the connection open. */
async function serve(
  served: Served,
  response: ServerResponse,
  model: string,
  silent: () => void,
): Promise<void> {
  if ("silent" in served) return silent();
  if ("status" in served) {
    const body = served.body ?? errorBody(served.status);
    response.writeHead(served.status, { "content-type": "application/json", ...served.headers });
    response.end(typeof body === "string" ? body : JSON.stringify(body));
    return;
  }
  startStream(response);
  if ("endless" in served) return writeEndlessly(response, served.endless);
  if ("events" in served) {
    response.end(served.events.map(line).join(""));
    return;
  }
  const events = servedEvents(served, model);
  const { cut } = served;
  for (const event of cut ? events.slice(0, cut.after) : events) response.write(line(event));
  if (served.holdOpen || cut?.how === "stall") return silent();
  if (cut?.how === "drop") {
    // What was written is to arrive before the connection breaks.
    response.write(": \n", () => response.socket?.resetAndDestroy());
    return;
  }
  response.end();
}

const REFUSED: Served = {
  status: 400,
  body: { type: "error", error: { type: "invalid_request_error", message: "the test served no response" } },
};

/**
 * A local stand-in for the Messages API: speaks its HTTP and events, answers from a queue or a responder, and
 * can fail in the ways the service fails. Listens on a free port of the loopback.
 */
export async function startMessagesServer(responder: Responder = () => REFUSED): Promise<MessagesServer> {
  const requests: ReceivedRequest[] = [];
  const queue: Served[] = [];
  const silences = createCounter();
  const ends = new Map<number, ReturnType<typeof createCounter>>();
  const endOf = (number: number) => {
    const counter = ends.get(number) ?? createCounter();
    ends.set(number, counter);
    return counter;
  };

  async function answer(incoming: IncomingMessage, response: ServerResponse): Promise<void> {
    const body: MessagesBody = JSON.parse(await readText(incoming));
    const request = {
      number: requests.length + 1,
      path: incoming.url ?? "",
      headers: incoming.headers,
      body,
    };
    requests.push(request);
    response.once("close", () => endOf(request.number).up());
    await serve(queue.shift() ?? (await responder(request)), response, body.model, silences.up);
  }

  const server = createServer((incoming, response) => {
    answer(incoming, response).catch((error: unknown) => response.destroy(error as Error));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;

  return {
    url: `http://127.0.0.1:${port}`,
    requests,
    enqueue: (...served) => void queue.push(...served),
    silence: (nth) => silences.reach(nth),
    finished: (nth) => endOf(nth).reach(1),
    connections: () =>
      new Promise((resolve, reject) =>
        server.getConnections((error, count) => (error ? reject(error) : resolve(count))),
      ),
    async close() {
      const closed = once(server, "close");
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };
}
