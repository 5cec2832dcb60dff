import type { Clock } from "./clock.ts";
import { ModelFailure } from "./port.ts";

/** Bytes of an error's body that are read; the rest is dropped. */
const ERROR_BODY_BYTES = 64 * 1024;

export interface WatchLimits {
  /** Milliseconds without a byte from the service, before its answer and during it. */
  readonly idleTimeoutMs: number;
  /** Milliseconds for the whole request. */
  readonly deadlineMs: number;
  /** Bytes of a whole response, as it comes over the wire. */
  readonly maximumBytes: number;
}

/** Owns one request's deadlines and bounds: aborts the request and remembers why. */
export interface ResponseWatch {
  readonly signal: AbortSignal;
  /** Why the watch aborted; undefined if it didn't, also when the caller's own signal did. */
  readonly failure: ModelFailure | undefined;
  /** `fetch` with this watch on its response. */
  readonly fetch: typeof globalThis.fetch;
  /** The response is whole: gives the service `milliseconds` to end its stream, so that the connection can be used again. */
  expectEnd(milliseconds: number): void;
  /** Stops every timer. */
  close(): void;
}

function seconds(milliseconds: number): string {
  return `${milliseconds / 1_000} s`;
}

function hasEvents(response: Response): boolean {
  return /^text\/event-stream\b/i.test(response.headers.get("content-type") ?? "");
}

function notAStream(response: Response): ModelFailure {
  const type = response.headers.get("content-type") ?? "no type";
  return new ModelFailure(
    "invalid",
    `the service answered with ${type.slice(0, 100)} where a stream of events was asked for; check that ANTHROPIC_BASE_URL is the address of a Messages API`,
    { retryable: false, status: response.status },
  );
}

export function createResponseWatch(limits: WatchLimits, clock: Clock, caller: AbortSignal): ResponseWatch {
  const controller = new AbortController();
  let failure: ModelFailure | undefined;
  let complete = false;
  let received = 0;
  let cancelIdle = () => {};

  function fail(reason: ModelFailure): void {
    if (!complete) failure ??= reason;
    controller.abort();
  }
  function stalled(): void {
    fail(
      new ModelFailure("stalled", `the service sent nothing for ${seconds(limits.idleTimeoutMs)}`, {
        retryable: true,
      }),
    );
  }
  function touch(): void {
    if (complete) return;
    cancelIdle();
    cancelIdle = clock.after(limits.idleTimeoutMs, stalled);
  }
  function tooLarge(): void {
    fail(
      new ModelFailure("other", `the response is longer than ${limits.maximumBytes} bytes; it was cut off`, {
        retryable: false,
      }),
    );
  }
  const cancelDeadline = clock.after(limits.deadlineMs, () =>
    fail(
      new ModelFailure("stalled", `the response was not whole after ${seconds(limits.deadlineMs)}`, {
        retryable: true,
      }),
    ),
  );
  const onAbort = () => controller.abort();
  if (caller.aborted) onAbort();
  else caller.addEventListener("abort", onAbort, { once: true });
  touch();

  function bounded(response: Response): TransformStream<Uint8Array, Uint8Array> {
    return new TransformStream({
      transform(chunk, stream) {
        touch();
        received += chunk.byteLength;
        if (response.ok && received > limits.maximumBytes) tooLarge();
        else if (!response.ok && received > ERROR_BODY_BYTES) stream.terminate();
        else stream.enqueue(chunk);
      },
    });
  }

  return {
    signal: controller.signal,
    get failure() {
      return failure;
    },
    async fetch(input, init) {
      // A redirect would carry the conversation to a host that nobody named.
      const response = await globalThis.fetch(input, { ...init, redirect: "manual" });
      touch();
      if (response.ok && !hasEvents(response)) fail(notAStream(response));
      if (!response.body) return response;
      const { status, statusText, headers } = response;
      return new Response(response.body.pipeThrough(bounded(response)), { status, statusText, headers });
    },
    expectEnd(milliseconds) {
      complete = true;
      cancelIdle();
      cancelIdle = clock.after(milliseconds, () => controller.abort());
    },
    close() {
      cancelIdle();
      cancelDeadline();
      caller.removeEventListener("abort", onAbort);
    },
  };
}
