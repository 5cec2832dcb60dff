import type { IncomingMessage, ServerResponse } from "node:http";
import { Transform } from "node:stream";
import { pipeline } from "node:stream/promises";
import { createBrotliDecompress, createGunzip, createInflate } from "node:zlib";
import type { IncomingFilter, Inspection } from "./port.ts";
import { endToEnd, pairsOf } from "./request.ts";
import type { Watch } from "./watch.ts";

/** What leads a client around the gateway: other ways to the same host. */
const LEADS_AROUND = new Set(["alt-svc", "proxy-authentication-info", "content-length", "x-caisson-verdict"]);

export interface Relaying {
  readonly inspection: Inspection;
  /** Bytes, of the body as it is looked through. */
  readonly most: number;
  readonly idle: Watch;
  /** Counts bytes that came over the wire. */
  readonly came: (bytes: number) => void;
}

/**
 * Passes an answer on, looked through where the run has something to hide.
 * @throws {Error} when it can't be looked through, is too long or breaks off; its head may be on its way by then
 */
export async function relay(
  answer: IncomingMessage,
  response: ServerResponse,
  { inspection, most, idle, came }: Relaying,
): Promise<void> {
  const { "transfer-encoding": encoding = "chunked" } = answer.headers;
  // Dropped with the hop it is for, it would leave a body that is encoded and doesn't say so.
  if (encoding.trim().toLowerCase() !== "chunked")
    throw new Error("the answer's transfer-encoding is not `chunked`");
  const bodiless = response.req.method === "HEAD" || answer.statusCode === 204 || answer.statusCode === 304;
  const filter = inspection.incoming();
  const opened = filter === undefined || bodiless ? [] : decompressors(answer);
  came(answer.rawHeaders.reduce((sum, text) => sum + text.length + 2, 0));
  response.writeHead(
    answer.statusCode ?? 502,
    headersFor(answer, inspection, { bodiless, opened: opened.length > 0 }),
  );
  // A reader learns of an answer that is silent at first; otherwise its head goes with its first piece.
  const flush = setImmediate(() => response.flushHeaders());
  const seen = (bytes: number) => {
    clearImmediate(flush);
    idle.moved();
    came(bytes);
  };
  try {
    const last = filtering(filter, most, opened.length > 0 ? () => {} : seen);
    await pipeline(
      opened.length > 0 ? [answer, counting(seen), ...opened, last, response] : [answer, last, response],
    );
  } finally {
    clearImmediate(flush);
  }
}

function headersFor(
  { rawHeaders, headers, statusCode }: IncomingMessage,
  inspection: Inspection,
  { bodiless, opened }: { readonly bodiless: boolean; readonly opened: boolean },
): string[] {
  const looked = inspection.incoming() !== undefined;
  const kept = endToEnd(pairsOf(rawHeaders)).filter(([name]) => {
    const lower = name.toLowerCase();
    return !LEADS_AROUND.has(lower) && !(opened && lower === "content-encoding");
  });
  const length = headers["content-length"];
  // What is replaced in a body changes its length.
  // And a 204 has none: RFC 9110, 8.6.
  const unsaid = length === undefined || statusCode === 204 || (looked && !bodiless);
  const pairs = unsaid ? kept : [...kept, ["Content-Length", length]];
  return pairs.flatMap(([name = "", value = ""]) => [name, filtered(value, inspection.incoming())]);
}

function filtered(value: string, filter: IncomingFilter | undefined): string {
  if (filter === undefined) return value;
  return Buffer.concat([filter.push(Buffer.from(value, "latin1")), filter.end()]).toString("latin1");
}

/** A body can only be looked through once it is plain. Asked for plain ones, few hosts answer otherwise. */
function decompressors({ headers }: IncomingMessage): Transform[] {
  const names = (headers["content-encoding"] ?? "").toLowerCase().split(",");
  return names
    .map((name) => name.trim())
    .filter((name) => name !== "" && name !== "identity")
    .reverse()
    .map((name, index) => {
      if (index > 1) throw new Error("the answer is compressed three times over");
      if (name === "gzip" || name === "x-gzip") return createGunzip();
      if (name === "deflate") return createInflate();
      if (name === "br") return createBrotliDecompress();
      throw new Error(`the answer is compressed (${name.slice(0, 40)}) and can't be looked through`);
    });
}

function counting(seen: (bytes: number) => void): Transform {
  return new Transform({
    transform(piece: Buffer, _encoding, done) {
      seen(piece.length);
      done(null, piece);
    },
  });
}

function filtering(
  filter: IncomingFilter | undefined,
  most: number,
  seen: (bytes: number) => void,
): Transform {
  let bytes = 0;
  return new Transform({
    transform(piece: Buffer, _encoding, done) {
      seen(piece.length);
      bytes += piece.length;
      if (bytes > most) return done(new Error(`the answer has over ${most} bytes`));
      done(null, filter === undefined ? piece : filter.push(piece));
    },
    flush: (done) => done(null, filter?.end()),
  });
}
