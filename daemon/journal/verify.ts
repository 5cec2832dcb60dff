import { type ChainReport, checkChain } from "../protocol/chain-check.ts";
import type { Sha256 } from "../protocol/ids.ts";
import { blobMatches } from "./blobs.ts";
import type { Blobs } from "./port.ts";

/**
 * Checks a journal's bytes: hash chain, sequence, its blobs when `blobs` is given, and with `head` its end too.
 * Damage is reported, not thrown; a read error is thrown.
 */
export function verifyJournal(
  chunks: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  options: { readonly head?: Sha256; readonly blobs?: Pick<Blobs, "read"> } = {},
): Promise<ChainReport> {
  const { head, blobs } = options;
  return checkChain(chunks, {
    ...(head !== undefined ? { head } : {}),
    ...(blobs ? { blobMatches: (hash) => blobMatches(blobs, hash) } : {}),
  });
}
