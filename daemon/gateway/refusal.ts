import type { IncomingMessage, ServerResponse } from "node:http";
import type { Duplex } from "node:stream";
import type { Violation } from "./port.ts";

/** Why a request has no answer of its host's, as the one who sent it reads it. */
export interface Refusal {
  readonly status: 400 | 403 | 502 | 504;
  /** Method and URL. */
  readonly what: string;
  readonly rule?: string;
  readonly reason: string;
  readonly next: string;
}

export const ASK_A_PERSON =
  "Don't try another way around. Do without it, or say in your answer what you need and why: a person can add a rule to the policy's `network` section.";
const TRY_AGAIN = "The gateway doesn't send it again by itself. Try again later, or do without it.";

/** What the other side may still send, and for how many milliseconds, while it reads why. */
const LINGER_BYTES = 1024 * 1024;
const LINGER_MS = 2_000;

function textOf({ status, what, rule, reason, next }: Refusal): string {
  const head =
    status === 403
      ? "Caisson's gateway refused this request. Nothing of it was sent on."
      : "Caisson's gateway has no answer to this request.";
  const by = rule === undefined ? "" : `rule:    ${rule}\n`;
  return `${head}\nrequest: ${what}\n${by}reason:  ${reason}\nnext:    ${next}\n`;
}

function headersOf({ status, rule }: Refusal, text: string): Record<string, string> {
  const verdict =
    status === 403 ? `deny; rule="${(rule ?? "gateway").replace(/[^\w.[\]:-]/g, "?")}"` : "none";
  return {
    "content-type": "text/plain; charset=utf-8",
    "content-length": String(Buffer.byteLength(text)),
    "x-caisson-verdict": verdict,
  };
}

/**
 * Answers with the refusal. Where the request's body has not come to its end, so much of it is read and dropped that
 * the answer is heard, and the connection ends.
 */
export async function refuse(response: ServerResponse, refusal: Refusal): Promise<void> {
  const { req: request } = response;
  const text = textOf(refusal);
  const open = request.complete ? {} : { connection: "close" };
  response.writeHead(refusal.status, { ...headersOf(refusal, text), ...open });
  response.write(request.method === "HEAD" ? "" : text);
  if (!request.complete) await drained(request);
  response.end();
}

function drained(request: IncomingMessage): Promise<void> {
  return new Promise((resolve) => {
    let dropped = 0;
    const linger = setTimeout(resolve, LINGER_MS);
    const done = () => {
      clearTimeout(linger);
      resolve();
    };
    request.on("data", (piece: Buffer) => {
      dropped += piece.length;
      if (dropped > LINGER_BYTES) done();
    });
    request.once("end", done);
    request.once("close", done);
    request.resume();
  });
}

const PHRASES = { 400: "Bad Request", 403: "Forbidden", 502: "Bad Gateway", 504: "Gateway Timeout" } as const;

/** The same to a CONNECT, or to what could not be read as a request; then the connection ends. */
export function refuseConnection(connection: Duplex, refusal: Refusal): void {
  if (!connection.writable) {
    connection.destroy();
    return;
  }
  const text = textOf(refusal);
  const lines = Object.entries(headersOf(refusal, text)).map(([name, value]) => `${name}: ${value}\r\n`);
  const head = `HTTP/1.1 ${refusal.status} ${PHRASES[refusal.status]}\r\n${lines.join("")}connection: close\r\n\r\n`;
  const linger = setTimeout(() => connection.destroy(), LINGER_MS);
  connection.once("close", () => clearTimeout(linger));
  connection.end(head + text);
  connection.resume();
}

/** Refused for a rule after it was judged: by where it leads, by its length, by what its body turned out to hold. */
export class RequestRefused extends Error {
  override readonly name = "RequestRefused";
  readonly rule: string;

  constructor({ rule, reason }: Violation) {
    super(reason);
    this.rule = rule;
  }
}

/** A deadline passed. */
export class TooLate extends Error {
  override readonly name = "TooLate";
}

/** What ended an attempt, as the one who made it reads it. */
export function refusalOf(error: Error, what: string): Refusal {
  if (error instanceof RequestRefused) {
    return { status: 403, what, rule: error.rule, reason: error.message, next: ASK_A_PERSON };
  }
  return { status: error instanceof TooLate ? 504 : 502, what, reason: error.message, next: TRY_AGAIN };
}
