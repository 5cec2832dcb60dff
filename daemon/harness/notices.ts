import type { RunId } from "../protocol/ids.ts";
import type { Notice, NoticeBoard } from "../protocol/notices.ts";

/** The notices of one daemon: lost with it, and set anew by the next if they still hold. */
export class Notices implements NoticeBoard {
  readonly #notices = new Map<RunId, Notice>();
  readonly #listeners = new Set<(run: RunId, notice: Notice | undefined) => void>();

  of(run: RunId): Notice | undefined {
    return this.#notices.get(run);
  }

  set(run: RunId, notice: Notice): void {
    this.#notices.set(run, notice);
    this.#tell(run, notice);
  }

  clear(run: RunId): void {
    if (this.#notices.delete(run)) this.#tell(run, undefined);
  }

  subscribe(listener: (run: RunId, notice: Notice | undefined) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  #tell(run: RunId, notice: Notice | undefined): void {
    for (const listener of this.#listeners) listener(run, notice);
  }
}
