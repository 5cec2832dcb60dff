/** When a run should go on from its newest checkpoint, told from what its checkpoints cost. Pure but for its own count. */

/** A commit that takes longer than this many milliseconds is one to be spared. */
const SLOW_MS = 150;
/** Much to copy, whatever the machine is busy with besides. */
const MUCH_BYTES = 1024 * 1024;
/** How many times the run's quickest commit one may take, until it is what there is to copy that makes it slow. */
const SLOWER = 4;
/** How often over a change may be kept: each commit holds all that changed since the sandbox was made. */
const TIMES = 2.25;
/** Bytes kept twice that nobody minds. */
const IDLE_BYTES = 16 * 1024;

export class Redundancy {
  #sum = 0;
  #newest = 0;
  #changed = 0;
  #quickestMs = Number.POSITIVE_INFINITY;

  /** The run has another sandbox: what the next checkpoints hold begins anew. */
  restart(): void {
    this.#sum = 0;
    this.#newest = 0;
    this.#changed = 0;
  }

  /**
   * Counts a checkpoint of `bytes` whose commit took `ms` milliseconds. True: the next ones would hold too much that
   * this one holds already. What one holds beyond the one before has changed for certain; the rest may have.
   */
  grows(bytes: number, ms: number): boolean {
    this.#sum += bytes;
    this.#changed += Math.max(0, bytes - this.#newest);
    this.#newest = bytes;
    this.#quickestMs = Math.min(this.#quickestMs, ms);
    const twice = this.#sum - this.#changed;
    const kept = twice > IDLE_BYTES && this.#sum >= TIMES * this.#changed;
    return kept || (ms > SLOW_MS && (bytes > MUCH_BYTES || ms > SLOWER * this.#quickestMs));
  }
}
