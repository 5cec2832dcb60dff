/** What a run's sandbox was given: noted as it goes in, and read again when the changes are wanted. */
import { PassThrough } from "node:stream";
import { type BaseEntry, type EntryNotes, entriesOf, indexLine, readIndex } from "../boundary/base-index.ts";
import type { Base } from "../boundary/export-base.ts";
import { workspaceParts } from "../boundary/ingest.ts";
import type { Blobs } from "../journal/port.ts";
import type { BlobReference } from "../protocol/text.ts";
import { ingestRules, type Seen } from "./policies.ts";

/** Bytes an index may have: some 150 an entry, and the longest names. */
const INDEX_BYTES = 512 * 2 ** 20;
/** Characters of lines that are gathered before they are stored. */
const GATHERED = 64 * 1024;

/** Stores an index of a workspace while it is put into its sandbox. A disk that refuses it costs the index only. */
export class IndexWriter implements EntryNotes {
  readonly #lines = new PassThrough();
  readonly #stored: Promise<BlobReference | undefined>;
  #held = "";
  #whole = false;

  constructor(blobs: Pick<Blobs, "put">) {
    this.#lines.on("error", () => undefined);
    this.#stored = blobs.put(this.#lines, INDEX_BYTES).then(
      ({ hash, bytes }) => ({ blob: hash, bytes, preview: "" }),
      () => {
        this.#lines.destroy();
        return undefined;
      },
    );
  }

  /** Resolves when more can be taken. */
  note(entry: BaseEntry): Promise<void> | undefined {
    this.#held += indexLine(entry);
    return this.#held.length < GATHERED ? undefined : this.#flush();
  }

  whole(): void {
    this.#whole = true;
  }

  async #flush(): Promise<void> {
    const lines = this.#held;
    this.#held = "";
    if (this.#lines.destroyed || this.#lines.write(lines)) return;
    const drained = new Promise((resolve) => this.#lines.once("drain", resolve));
    await Promise.race([drained, this.#stored]);
  }

  /** The index's reference; undefined when it could not be stored, or is not whole. */
  async end(): Promise<BlobReference | undefined> {
    if (!this.#whole) return undefined;
    if (!this.#lines.destroyed) this.#lines.end(this.#held);
    return this.#stored;
  }

  /** Keeps nothing of it. Does nothing after {@link end}. */
  async close(): Promise<void> {
    this.#lines.destroy();
    await this.#stored;
  }
}

/** What went into the sandbox: from its index, or from what was uploaded by the same rules. */
export async function baseOf(run: Seen): Promise<Base> {
  const { blobs, settings } = run.deps;
  const workspace = run.state.submitted?.data.workspace;
  if (workspace === undefined) return NOTHING;
  const contents: Base["contents"] = (places) => blobs.readParts(workspace, places);
  const index = run.state.ingested?.data.index;
  if (index && (await blobs.has(index.blob)))
    return { entries: () => readIndex(blobs.read(index.blob)), contents };
  const { deny, git } = await ingestRules(run);
  const rules = { deny, git, maxBytes: settings.maximumWorkspaceBytes };
  return { entries: () => entriesOf(workspaceParts(blobs.read(workspace), rules)), contents };
}

const NOTHING: Base = {
  async *entries() {},
  async *contents() {},
};
