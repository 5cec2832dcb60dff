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

/** Of a queued run, when as many have a sandbox as may. */
export function heldUp(sandboxes: number): Notice {
  const detail = `As many runs have a sandbox as may at a time (daemon.sandboxes: ${sandboxes}), those that wait for a person included. This one begins when one of them ends: answer them (\`caisson approvals\`) or cancel some.`;
  return { kind: "waiting", waitingFor: "sandbox", detail };
}
