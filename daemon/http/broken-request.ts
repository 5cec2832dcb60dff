import type { ServerResponse } from "node:http";
import type { Duplex } from "node:stream";
import { CaissonError, problemOf } from "../protocol/errors.ts";

/** How long who was refused may take to read why before the connection is cut, in milliseconds. */
export const LINGER_MS = 2_000;

/**
 * Answers what Node's parser gave up on before it was a request: a broken one, headers without end, or too slow.
 * @param response the newest on this connection: one half out is not to be followed by another
 */
export function answerBroken(error: Error, socket: Duplex, response: ServerResponse | undefined): void {
  const halfOut = response?.headersSent === true && !response.writableFinished;
  if (!socket.writable || halfOut || codeOf(error) === "ECONNRESET") socket.destroy();
  else refuseRaw(socket, problemFor(codeOf(error)));
}

/** Writes a problem to a connection that no response object has, and closes it. */
export function refuseRaw(socket: Duplex, error: CaissonError, headers: readonly string[] = []): void {
  const problem = problemOf(error);
  const body = JSON.stringify(problem);
  const head = [
    `HTTP/1.1 ${problem.status} ${problem.title}`,
    "content-type: application/problem+json",
    `content-length: ${Buffer.byteLength(body)}`,
    "connection: close",
    ...headers,
  ];
  // What still comes is dropped: closing over unread bytes would reset the connection and lose the answer.
  socket.removeAllListeners("data").resume();
  socket.on("error", () => socket.destroy());
  socket.end(`${head.join("\r\n")}\r\n\r\n${body}`);
  const timer = setTimeout(() => socket.destroy(), LINGER_MS);
  socket.once("close", () => clearTimeout(timer));
}

function problemFor(code: string | undefined): CaissonError {
  switch (code) {
    case "HPE_HEADER_OVERFLOW":
      return new CaissonError("headers_too_large", "The request's path and headers may have 16 KiB in all.");
    case "ERR_HTTP_REQUEST_TIMEOUT":
      return new CaissonError("request_timeout", "The request took too long to arrive; nothing was changed.");
    default:
      return new CaissonError("invalid_request", "That is not HTTP/1.1; nothing was changed.");
  }
}

function codeOf(error: Error): string | undefined {
  return "code" in error && typeof error.code === "string" ? error.code : undefined;
}
