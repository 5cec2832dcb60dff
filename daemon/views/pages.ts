import { CaissonError } from "../protocol/errors.ts";
import { RunId } from "../protocol/ids.ts";

/** Run ids newest first, and the cursors that lead through them. */
export class RunOrder {
  /** Oldest first: new runs come at the end. */
  readonly #ids: RunId[] = [];

  add(run: RunId): void {
    const index = this.#indexOf(run);
    if (this.#ids[index] !== run) this.#ids.splice(index, 0, run);
  }

  delete(run: RunId): void {
    const index = this.#indexOf(run);
    if (this.#ids[index] === run) this.#ids.splice(index, 1);
  }

  /** Ids older than the cursor's, newest first. @throws CaissonError for a cursor that is none of ours */
  *after(cursor: string | undefined): Generator<RunId> {
    let index = cursor === undefined ? this.#ids.length : this.#indexOf(runOf(cursor));
    while (index > 0) {
      index--;
      const run = this.#ids[index];
      if (run !== undefined) yield run;
    }
  }

  /** Where the run stands or would stand. */
  #indexOf(run: RunId): number {
    let low = 0;
    let high = this.#ids.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#ids[middle] ?? "") < run) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

export function cursorOf(run: RunId): string {
  return Buffer.from(run).toString("base64url");
}

function runOf(cursor: string): RunId {
  const run = RunId.safeParse(Buffer.from(cursor, "base64url").toString("utf8"));
  if (run.success) return run.data;
  throw new CaissonError(
    "invalid_request",
    "The cursor is not one that a list gave as `next`; start over without a cursor.",
  );
}
