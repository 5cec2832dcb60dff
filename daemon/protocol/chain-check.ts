import { CHAIN_START, type ChainPosition, checkLine, LineSplitter } from "./chain.ts";
import type { JournalEvent } from "./events.ts";
import type { Sha256 } from "./ids.ts";
import { referencesIn } from "./text.ts";

/** What checking a whole journal found. `ok` only if nothing is damaged, torn or missing. */
export interface ChainReport {
  readonly ok: boolean;
  /** The newest event before any damage. */
  readonly position: ChainPosition;
  /** The first damaged event and what is wrong with it. */
  readonly damage?: { readonly seq: number; readonly reason: string };
  /** Bytes behind the last newline: a line whose writing was cut short; the daemon cuts them at its next start. */
  readonly tornBytes: number;
}

export interface ChainOptions {
  /** Hash that the newest event must have: with it a cut-off end is found too. */
  readonly head?: Sha256;
  /** Whether a blob exists and its content has this hash. Without it blobs are not checked. */
  readonly blobMatches?: (hash: Sha256) => Promise<boolean>;
}

/**
 * Checks a journal from its first byte: form, density, hashes, links (J2), and as `options` ask, blobs and the end.
 * Never throws for what is in the journal; errors of the stream and of `blobMatches` pass through.
 */
export async function checkChain(
  chunks: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  options: ChainOptions = {},
): Promise<ChainReport> {
  const check = new ChainCheck(options);
  for await (const chunk of chunks) {
    if (!(await check.push(chunk))) break;
  }
  return check.report();
}

class ChainCheck {
  readonly #options: ChainOptions;
  readonly #lines = new LineSplitter();
  readonly #matching = new Map<Sha256, boolean>();
  #position: ChainPosition = CHAIN_START;
  #damage: { seq: number; reason: string } | undefined;

  constructor(options: ChainOptions) {
    this.#options = options;
  }

  /** False once something is damaged: what follows says nothing. */
  async push(chunk: Uint8Array): Promise<boolean> {
    for (const line of this.#split(chunk)) {
      const reason = await this.#check(line);
      if (reason !== undefined) this.#damage = { seq: this.#position.seq + 1, reason };
      if (this.#damage) return false;
    }
    return this.#damage === undefined;
  }

  #split(chunk: Uint8Array): Uint8Array[] {
    try {
      return this.#lines.push(chunk);
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      this.#damage = { seq: this.#position.seq + 1, reason: error.message };
      return [];
    }
  }

  async #check(line: Uint8Array): Promise<string | undefined> {
    const checked = checkLine(line, this.#position);
    if (!checked.ok) return checked.reason;
    const blob = await this.#badBlob(checked.event);
    if (blob !== undefined) return `its blob ${blob} is missing or does not match its hash`;
    this.#position = { seq: checked.event.seq, head: checked.event.hash };
    return undefined;
  }

  async #badBlob(event: JournalEvent): Promise<Sha256 | undefined> {
    const { blobMatches } = this.#options;
    if (!blobMatches) return undefined;
    for (const { blob } of referencesIn(event.data)) {
      const matches = this.#matching.get(blob) ?? (await blobMatches(blob));
      this.#matching.set(blob, matches);
      if (!matches) return blob;
    }
    return undefined;
  }

  report(): ChainReport {
    const { head } = this.#options;
    const position = this.#position;
    const tornBytes = this.#damage ? 0 : this.#lines.heldBytes;
    const damage =
      this.#damage ??
      (head !== undefined && head !== position.head
        ? { seq: position.seq + 1, reason: `the journal ends at ${position.head}, not at ${head}` }
        : undefined);
    return {
      ok: damage === undefined && tornBytes === 0,
      position,
      tornBytes,
      ...(damage ? { damage } : {}),
    };
  }
}
