/** What stands compressed in some bytes, at any place: gzip, zlib (as in git's packs), entries of a zip. */
import { constants, inflateRawSync } from "node:zlib";

/** Bytes of one compressed part, unpacked; and of all in one body together. */
const PART = 8 * 2 ** 20;
const ALL = 32 * 2 ** 20;
/** Places that are tried in one body. */
const TRIES = 5_000;
/** Bytes that show whether compressed data begins. */
const LEAST = 16;
/** Packed within packed. */
const LEVELS = 2;

/** A body holds more than is unpacked. */
export class TooMuchPacked extends Error {
  override readonly name = "TooMuchPacked";
}

/** Milliseconds that one body may take. */
const TIME = 1_000;

interface Budget {
  bytes: number;
  tries: number;
  readonly until: number;
}

/**
 * Everything that stands compressed in the bytes, unpacked. What breaks off or is damaged, as far as it goes.
 * @throws TooMuchPacked
 */
export function unpacked(bytes: Buffer): Buffer[] {
  return within(bytes, { bytes: ALL, tries: TRIES, until: performance.now() + TIME }, LEVELS);
}

function within(bytes: Buffer, budget: Budget, levels: number): Buffer[] {
  if (levels === 0) return [];
  const found: Buffer[] = [];
  for (let at = 0; at + 4 < bytes.length; at += 1) {
    const from = startsAt(bytes, at);
    if (from === undefined) continue;
    budget.tries -= 1;
    if (budget.tries < 0 || performance.now() > budget.until) throw new TooMuchPacked();
    const part = inflated(bytes.subarray(from));
    if (part === undefined || part.length === 0) continue;
    budget.bytes -= part.length;
    if (budget.bytes < 0) throw new TooMuchPacked();
    found.push(part, ...within(part, budget, levels - 1));
  }
  return found;
}

/** Where compressed data begins whose header stands here: of RFC 1952, RFC 1950 (a multiple of 31), or a zip's. */
function startsAt(bytes: Buffer, at: number): number | undefined {
  const [first = 0, second = 0] = [bytes[at], bytes[at + 1]];
  if (first === 0x1f) return second === 0x8b && bytes[at + 2] === 8 ? afterGzipHeader(bytes, at) : undefined;
  if (first === 0x50) return second === 0x4b ? afterZipHeader(bytes, at) : undefined;
  const zlib = (first & 0x0f) === 8 && first >= 0x48 && first <= 0x78 && ((first << 8) | second) % 31 === 0;
  return zlib && (second & 0x20) === 0 ? at + 2 : undefined;
}

function afterGzipHeader(bytes: Buffer, start: number): number | undefined {
  const flags = bytes[start + 3] ?? 0;
  let at = start + 10;
  if ((flags & 4) !== 0) at += 2 + (bytes[at] ?? 0) + 256 * (bytes[at + 1] ?? 0);
  for (const text of [8, 16]) if ((flags & text) !== 0) at = bytes.indexOf(0, at) + 1 || bytes.length;
  if ((flags & 2) !== 0) at += 2;
  return at < bytes.length ? at : undefined;
}

function afterZipHeader(bytes: Buffer, start: number): number | undefined {
  if (bytes[start + 2] !== 3 || bytes[start + 3] !== 4 || start + 30 > bytes.length) return undefined;
  const at = start + 30 + bytes.readUInt16LE(start + 26) + bytes.readUInt16LE(start + 28);
  return bytes.readUInt16LE(start + 8) === 8 && at < bytes.length ? at : undefined;
}

/** Without the check sums, and whatever follows: a receiver may take it all the same. */
function inflated(bytes: Buffer): Buffer | undefined {
  // Where it is damaged the library gives nothing at all, so less of it is asked for.
  for (let length = bytes.length; length > LEAST; length = Math.floor(length / 2)) {
    try {
      const options = { finishFlush: constants.Z_SYNC_FLUSH, maxOutputLength: PART };
      return inflateRawSync(bytes.subarray(0, length), options);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ERR_BUFFER_TOO_LARGE") throw new TooMuchPacked();
      if (!begins(bytes)) return undefined;
    }
  }
  return undefined;
}

function begins(bytes: Buffer): boolean {
  try {
    return inflateRawSync(bytes.subarray(0, LEAST), { finishFlush: constants.Z_SYNC_FLUSH }).length > 0;
  } catch {
    return false;
  }
}
