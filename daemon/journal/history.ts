/** Histories: the events that a fork starts from, one a line in one blob, so that its own journal suffices. */
import { LineSplitter } from "../protocol/chain.ts";
import type { JournalEvent } from "../protocol/events.ts";
import type { RunId, Seq, Sha256 } from "../protocol/ids.ts";
import { type BlobReference, PREVIEW_CHARACTERS, referencesIn } from "../protocol/text.ts";
import type { Blobs, Journal } from "./port.ts";

/** Most bytes of a history: a hundred times a run of 10,000 events. */
const HISTORY_BYTES = 2 ** 30;

/**
 * Stores what a fork of a run at `until` starts from: what the run itself started from, then its own events up to
 * that one. Forks from one place share the blob.
 * @throws JournalDamaged, BlobMissing, BodyTooLarge
 */
export async function storeHistory(
  stores: { readonly journal: Pick<Journal, "read" | "lineOf">; readonly blobs: Pick<Blobs, "put" | "read"> },
  run: RunId,
  before: BlobReference | undefined,
  until: Seq,
): Promise<BlobReference> {
  let head = "";
  const lines = async function* () {
    for await (const bytes of linesOf(stores, run, before, until)) {
      if (head.length < PREVIEW_CHARACTERS) head += Buffer.from(bytes).toString("utf8");
      yield bytes;
    }
  };
  const { hash, bytes } = await stores.blobs.put(lines(), HISTORY_BYTES);
  // Journal lines are JSON; a cut within one of its characters is left out.
  const preview = head.slice(0, PREVIEW_CHARACTERS).replace(/[\uD800-\uDFFF\uFFFD]+$/, "");
  return { blob: hash, bytes, preview };
}

async function* linesOf(
  { journal, blobs }: Parameters<typeof storeHistory>[0],
  run: RunId,
  before: BlobReference | undefined,
  until: Seq,
): AsyncGenerator<Uint8Array> {
  if (before) yield* blobs.read(before.blob);
  for await (const events of journal.read(run, 0)) {
    const wanted = events.filter(({ seq }) => seq <= until);
    if (wanted.length > 0) yield Buffer.from(wanted.map((event) => `${journal.lineOf(event)}\n`).join(""));
    if (wanted.length < events.length) return;
  }
}

/**
 * The events of a history in order, as they stood in the journals they are from: after each `run.submitted` the
 * seqs begin anew. @throws BlobMissing, BlobDamaged
 */
export async function* readHistory(
  blobs: Pick<Blobs, "read">,
  history: Pick<BlobReference, "blob">,
): AsyncGenerator<readonly JournalEvent[]> {
  const lines = new LineSplitter();
  for await (const bytes of blobs.read(history.blob))
    yield lines.push(bytes).map((line) => JSON.parse(Buffer.from(line).toString("utf8")) as JournalEvent);
}

/** Every blob that an event names: of a fork's first one, those of its history too. @throws BlobMissing, BlobDamaged */
export async function* blobsNamed(event: JournalEvent, blobs: Pick<Blobs, "read">): AsyncGenerator<Sha256> {
  for (const { blob } of referencesIn(event.data)) yield blob;
  if (event.type !== "run.submitted") return;
  const { workspace, history } = event.data;
  if (workspace) yield workspace;
  if (!history) return;
  for await (const events of readHistory(blobs, history))
    for (const inherited of events) {
      // Its history stands in this one.
      for (const { blob } of referencesIn(inherited.data)) yield blob;
      if (inherited.type === "run.submitted" && inherited.data.workspace) yield inherited.data.workspace;
    }
}
