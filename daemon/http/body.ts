import type { IncomingMessage } from "node:http";
import { CaissonError } from "../protocol/errors.ts";
import type { Admission } from "./admission.ts";

/** Largest JSON body, in bytes. */
const JSON_BYTES = 2 * 1024 * 1024;
/** Deepest nesting of a JSON body; recursive readers behind us must not overflow. */
const JSON_DEPTH = 64;
/** A JSON body comes from this machine; what takes longer is not a client of ours. In milliseconds. */
const JSON_DEADLINE_MS = 30_000;
/** An upload brings so many bytes within so much waiting for it, in milliseconds, or it is given up. */
const UPLOAD_PACE = { bytes: 64 * 1024, ms: 30_000 };

/**
 * The request's JSON body; `{}` when it has none.
 * @throws CaissonError `unsupported_media_type`, `body_too_large`, `invalid_json`, `request_timeout`, `too_many_requests`
 */
export async function readJson(
  request: IncomingMessage,
  admission: Pick<Admission, "buffered" | "freed">,
  deadlineMs = JSON_DEADLINE_MS,
): Promise<unknown> {
  const bytes = await collect(request, admission, deadlineMs);
  if (bytes.length === 0) return {};
  requireType(request, "application/json");
  if (depthOf(bytes) > JSON_DEPTH)
    throw new CaissonError("invalid_json", `The JSON body is nested deeper than ${JSON_DEPTH} levels.`);
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch (error) {
    throw new CaissonError("invalid_json", "The body is not JSON in UTF-8. Nothing was changed.", {
      cause: error,
    });
  }
}

/** @throws CaissonError `unsupported_media_type` unless the body is of this type and not compressed */
function requireType(request: IncomingMessage, type: string): void {
  const given = (request.headers["content-type"] ?? "").split(";")[0]?.trim().toLowerCase();
  requireUncompressed(request, type);
  if (given !== type)
    throw new CaissonError("unsupported_media_type", `Send the body as ${type}, not compressed.`);
}

/**
 * @param wanted what the body should be
 * @throws CaissonError `unsupported_media_type` when the body is compressed
 */
export function requireUncompressed(request: IncomingMessage, wanted: string): void {
  if ((request.headers["content-encoding"] ?? "identity") !== "identity")
    throw new CaissonError("unsupported_media_type", `Send the body as ${wanted}, not compressed.`);
}

/** Whether a body follows the headers. */
export function hasBody(request: IncomingMessage): boolean {
  const length = request.headers["content-length"];
  return request.headers["transfer-encoding"] !== undefined || (length !== undefined && length !== "0");
}

/** @throws CaissonError `body_too_large` when the announced length is beyond `maximumBytes` */
export function requireLength(request: IncomingMessage, maximumBytes: number): void {
  if (Number(request.headers["content-length"] ?? 0) > maximumBytes)
    throw new CaissonError(
      "body_too_large",
      `The body may have at most ${maximumBytes} bytes; nothing was kept.`,
    );
}

/** The body's bytes; unlike the request itself, it may be left half read and the answer still goes out. */
function bytesOf(request: IncomingMessage): AsyncIterable<Uint8Array> {
  return { [Symbol.asyncIterator]: () => request.iterator({ destroyOnReturn: false }) };
}

/**
 * An upload's bytes. Only waiting for its sender counts against its pace, not what becomes of the bytes.
 * @throws CaissonError `request_timeout` when it comes too slowly, `invalid_request` when it breaks off
 */
export async function* pacedBytesOf(
  request: IncomingMessage,
  pace = UPLOAD_PACE,
): AsyncGenerator<Uint8Array> {
  const source = bytesOf(request)[Symbol.asyncIterator]();
  let waitedMs = 0;
  let bytes = 0;
  try {
    for (;;) {
      const began = performance.now();
      const item = await within(pace.ms - waitedMs, source.next().catch(brokenOff));
      if (item.done === true) return;
      waitedMs += performance.now() - began;
      bytes += item.value.length;
      if (bytes >= pace.bytes) waitedMs = bytes = 0;
      yield item.value;
    }
  } finally {
    // Not waited for: it settles only after the read before it.
    void source.return?.().catch(() => undefined);
  }
}

function brokenOff(cause: unknown): never {
  throw new CaissonError("invalid_request", "The body broke off before its end.", { cause });
}

function within<T>(ms: number, work: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const late = () =>
      reject(new CaissonError("request_timeout", "The upload came too slowly; nothing was kept."));
    const timer = setTimeout(late, Math.max(0, ms));
    work.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}

function collect(
  request: IncomingMessage,
  admission: Pick<Admission, "buffered" | "freed">,
  deadlineMs: number,
): Promise<Buffer> {
  requireLength(request, JSON_BYTES);
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let bytes = 0;
    let held = 0;
    const finish = (error?: Error) => {
      clearTimeout(deadline);
      admission.freed(held);
      request.off("data", take).off("end", end).off("error", gone).off("close", gone);
      if (error === undefined) resolve(Buffer.concat(chunks));
      else reject(error);
    };
    const take = (chunk: Buffer) => {
      bytes += chunk.length;
      if (bytes > JSON_BYTES)
        return finish(new CaissonError("body_too_large", `The body may have at most ${JSON_BYTES} bytes.`));
      try {
        admission.buffered(chunk.length);
      } catch (error) {
        return finish(error as CaissonError);
      }
      held += chunk.length;
      chunks.push(chunk);
    };
    const end = () => finish();
    const gone = (cause?: Error) =>
      finish(new CaissonError("invalid_request", "The body broke off before its end.", { cause }));
    const late = () =>
      finish(new CaissonError("request_timeout", `The body took longer than ${deadlineMs} ms to arrive.`));
    const deadline = setTimeout(late, deadlineMs);
    request.on("data", take).on("end", end).on("error", gone).on("close", gone);
  });
}

/** Deepest nesting of brackets outside strings, in one pass over the bytes, before anything recursive sees them. */
export function depthOf(bytes: Uint8Array): number {
  let depth = 0;
  let deepest = 0;
  let inString = false;
  for (let at = 0; at < bytes.length; at++) {
    const byte = bytes[at];
    if (inString) {
      if (byte === 0x5c) at++;
      else if (byte === 0x22) inString = false;
    } else if (byte === 0x22) inString = true;
    else if (byte === 0x5b || byte === 0x7b) deepest = Math.max(deepest, ++depth);
    else if (byte === 0x5d || byte === 0x7d) depth--;
  }
  return deepest;
}
