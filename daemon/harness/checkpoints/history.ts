import { storeHistory } from "../../journal/history.ts";
import type { RunId, Seq } from "../../protocol/ids.ts";
import type { BlobReference } from "../../protocol/text.ts";
import type { RunState } from "../../run/state.ts";
import type { Dependencies } from "../dependencies.ts";
import { inheritedState } from "../fold.ts";

/** What a fork begins with: the blob for its journal, and the state that it is folded to. */
export interface History {
  readonly reference: BlobReference;
  readonly state: RunState;
}

/** Histories that are being made now: many forks from one place share one. */
export class Histories {
  readonly #deps: Pick<Dependencies, "journal" | "blobs">;
  readonly #underway = new Map<string, Promise<History>>();

  constructor(deps: Pick<Dependencies, "journal" | "blobs">) {
    this.#deps = deps;
  }

  /** @throws JournalDamaged, BlobMissing, BlobDamaged */
  of(run: RunId, before: BlobReference | undefined, until: Seq): Promise<History> {
    const key = `${run} ${until}`;
    const underway = this.#underway.get(key);
    if (underway) return underway;
    const made = this.#make(run, before, until).finally(() => this.#underway.delete(key));
    this.#underway.set(key, made);
    return made;
  }

  async #make(run: RunId, before: BlobReference | undefined, until: Seq): Promise<History> {
    const reference = await storeHistory(this.#deps, run, before, until);
    return { reference, state: await inheritedState(reference, this.#deps.blobs) };
  }
}
