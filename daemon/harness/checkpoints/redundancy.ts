/** When a run should go on from its newest checkpoint, told from what its checkpoints cost. Pure but for its own count. */

/** A commit that took longer than this many milliseconds copies too much. */
const SLOW_MS = 150;
/** How often over a change may be kept: each commit holds all that changed since the sandbox was made. */
const TIMES = 2.5;
/** Bytes kept twice that nobody minds. */
const IDLE_BYTES = 16 * 1024;

/** The checkpoints of one sandbox, from the image that it was made from. */
export class Redundancy {
  #sum = 0;
  #newest = 0;
  #changed = 0;

  /**
   * Counts a checkpoint of `bytes` that took `ms` milliseconds. True: the next ones would hold too much that this
   * one holds already. What one holds beyond the one before has changed for certain; the rest may have.
   */
  grows(bytes: number, ms: number): boolean {
    this.#sum += bytes;
    this.#changed += Math.max(0, bytes - this.#newest);
    this.#newest = bytes;
    const twice = this.#sum - this.#changed;
    return ms > SLOW_MS || (twice > IDLE_BYTES && this.#sum >= TIMES * this.#changed);
  }
}
