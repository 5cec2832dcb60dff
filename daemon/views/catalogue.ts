import { mkdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { type Adapter, Low } from "lowdb";
import type { Faults } from "../journal/port.ts";
import { sha256 } from "../protocol/chain.ts";
import type { RunId } from "../protocol/ids.ts";
import type { RunSummary } from "./projection.ts";

/** What the cache holds of one ended run: its summary, and how long its journal was then. */
export interface CatalogueEntry {
  readonly bytes: number;
  readonly summary: RunSummary;
}

/** Runs that have ended; those that go on are folded from their journals at every start. */
export type Catalogue = ReadonlyMap<RunId, CatalogueEntry>;

/** To be raised when a summary's shape or meaning changes: older files are then rebuilt. */
const FORMAT = 3;
/** Runs whose entry takes more characters than this are folded again instead: the file stays small. */
const ENTRY_CHARACTERS = 16 * 1024;

/**
 * lowdb's adapter for `$CAISSON_HOME/catalog.json`. Beside lowdb's own it is private to the user, knows a damaged
 * file by its digest, and keeps each entry's text, so that a write does not turn all runs to JSON again.
 */
class CatalogueFile implements Adapter<Catalogue> {
  readonly #path: string;
  readonly #texts = new WeakMap<CatalogueEntry, string>();

  readonly #faults: Faults | undefined;

  constructor(path: string, faults: Faults | undefined) {
    this.#path = path;
    this.#faults = faults;
  }

  /** Null when there is no file, or none that can be trusted: then everything is rebuilt (J5). */
  async read(): Promise<Catalogue | null> {
    const text = await readFile(this.#path, "utf8").catch(() => "");
    const parts = /^\{"format":(\d+),"digest":"([0-9a-f]{64})","runs":/.exec(text);
    if (!parts || Number(parts[1]) !== FORMAT) return null;
    const runs = text.slice(parts[0].length, -1);
    if (sha256(runs) !== parts[2]) return null;
    return new Map(Object.entries(JSON.parse(runs) as Record<RunId, CatalogueEntry>));
  }

  async write(catalogue: Catalogue): Promise<void> {
    const texts: string[] = [];
    for (const [run, entry] of catalogue) {
      const text = this.#textOf(entry);
      if (text.length <= ENTRY_CHARACTERS) texts.push(`"${run}":${text}`);
    }
    const runs = `{${texts.join(",")}}`;
    const folder = dirname(this.#path);
    const incoming = join(folder, `.${basename(this.#path)}.tmp`);
    await mkdir(folder, { recursive: true, mode: 0o700 });
    try {
      await this.#faults?.at("catalogue.before-write");
      const text = `{"format":${FORMAT},"digest":"${sha256(runs)}","runs":${runs}}`;
      await writeFile(incoming, text, { mode: 0o600 });
      await this.#faults?.at("catalogue.after-write");
      await rename(incoming, this.#path);
    } catch (error) {
      // What a full disk took of it is in the way of the journals.
      await rm(incoming, { force: true }).catch(() => undefined);
      throw error;
    }
  }

  #textOf(entry: CatalogueEntry): string {
    const known = this.#texts.get(entry);
    if (known !== undefined) return known;
    const text = JSON.stringify(entry);
    // What is too long is not kept either; one character more says that it is.
    this.#texts.set(entry, text.length <= ENTRY_CHARACTERS ? text : " ".repeat(ENTRY_CHARACTERS + 1));
    return text;
  }
}

/** Opens the cache; `data` is empty when there was none to trust. */
export async function openCatalogue(path: string, faults?: Faults): Promise<Low<Catalogue>> {
  const database = new Low<Catalogue>(new CatalogueFile(path, faults), new Map());
  await database.read();
  return database;
}
