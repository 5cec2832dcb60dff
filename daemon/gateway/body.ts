import { createHash } from "node:crypto";
import type { IncomingMessage } from "node:http";
import { Transform } from "node:stream";
import type { Gatekeeper, OutgoingRequest, OutgoingScanner, Violation } from "./port.ts";
import { RequestRefused } from "./refusal.ts";
import { type Watch, watch } from "./watch.ts";

/** Characters of a body that a person is shown. */
const PREVIEW = 2_000;

export type Body =
  | { readonly kind: "none" }
  | { readonly kind: "held"; readonly bytes: Buffer }
  | { readonly kind: "streamed"; readonly framing: Framing };

/** How the host is told where a body ends. */
export type Framing = Readonly<Record<"content-length", string> | Record<"transfer-encoding", "chunked">>;

/** A streamed body's own: the length that it came with, or chunks. */
export function framingOf({ headers }: IncomingMessage): Framing {
  const length = headers["content-length"];
  // The parser has cut the body by this number; zeros in front of it are one reading the fewer for the host.
  return length === undefined
    ? { "transfer-encoding": "chunked" }
    : { "content-length": length.replace(/^0+(?=\d)/, "") };
}

export function hasBody({ headers }: IncomingMessage): boolean {
  return headers["transfer-encoding"] !== undefined || !["0", undefined].includes(headers["content-length"]);
}

/**
 * The whole body, held. Undefined: it has more than `most` bytes.
 * @throws {Error} when the sandbox breaks it off, or sends nothing for `idleMs`
 */
export function heldBody(
  request: IncomingMessage,
  { most, idleMs }: { readonly most: number; readonly idleMs: number },
): Promise<Buffer | undefined> {
  return new Promise((resolve, reject) => {
    const pieces: Buffer[] = [];
    let bytes = 0;
    const idle = watch(idleMs, () => ended(() => reject(new Error("the request's body has stood still"))));
    const take = (piece: Buffer) => {
      idle.moved();
      bytes += piece.length;
      if (bytes > most) ended(() => resolve(undefined));
      else pieces.push(piece);
    };
    const ended = (settle: () => void) => {
      idle.stop();
      request.off("data", take);
      request.pause();
      settle();
    };
    request.on("data", take);
    request.once("end", () => ended(() => resolve(Buffer.concat(pieces))));
    request.once("close", () => ended(() => reject(new Error("the request's body broke off"))));
  });
}

/** What a body adds to the request that is judged. */
export function judgedBody(body: Body): Pick<OutgoingRequest, "bodyBytes" | "bodyHash" | "bodyPreview"> {
  if (body.kind === "streamed") return {};
  if (body.kind === "none") return { bodyBytes: 0 };
  const preview = previewOf(body.bytes);
  return {
    bodyBytes: body.bytes.length,
    bodyHash: createHash("sha256").update(body.bytes).digest("hex"),
    ...(preview === undefined ? {} : { bodyPreview: preview }),
  };
}

function previewOf(bytes: Buffer): string | undefined {
  // In streaming mode a character that is cut off by the slice is left out instead of refused.
  const text = new TextDecoder("utf-8", { fatal: true });
  try {
    const shown = text.decode(bytes.subarray(0, PREVIEW), { stream: true });
    return shown.includes("\0") ? undefined : shown;
  } catch {
    return undefined;
  }
}

/** Counts what leaves for one request, and refuses what goes beyond its rule's or the run's bound. */
export class Meter {
  readonly #keeper: Gatekeeper;
  readonly #request: string;
  readonly #most: number;
  bytes = 0;

  constructor(keeper: Gatekeeper, request: string, most: number | undefined) {
    this.#keeper = keeper;
    this.#request = request;
    this.#most = most ?? Number.POSITIVE_INFINITY;
  }

  /** @throws {RequestRefused} these bytes must not leave */
  take(bytes: number): void {
    if (this.bytes + bytes > this.#most) {
      throw new RequestRefused({
        rule: "maxBytesOut",
        reason: `the request is larger than the ${this.#most} bytes that its rule allows`,
      });
    }
    const spent = this.#keeper.spend(this.#request, bytes);
    if (typeof spent === "object") throw new RequestRefused(spent);
    if (spent === "beyond") {
      throw new RequestRefused({
        rule: "limits.bytesOut",
        reason: "the run has sent as many bytes as its limits allow",
      });
    }
    this.bytes += bytes;
  }
}

/** Passes a body's pieces on once they are looked at and counted; what is found ends it before its piece leaves. */
export function outgoingPieces(meter: Meter, scanner: OutgoingScanner, idle: Watch): Transform {
  const refused = ([first]: readonly Violation[]) => (first === undefined ? null : new RequestRefused(first));
  return new Transform({
    transform(piece: Buffer, _encoding, done) {
      idle.moved();
      const found = refused(scanner.push(piece));
      if (found) return done(found);
      try {
        meter.take(piece.length);
      } catch (error) {
        return done(error as Error);
      }
      done(null, piece);
    },
    flush: (done) => done(refused(scanner.end())),
  });
}
