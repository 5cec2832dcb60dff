/** What the engine has just not committed in time, it is not asked for at once again. Pure but for what it remembers. */

interface GivenUp {
  readonly sandbox: string;
  /** How long none is tried. */
  readonly pauseMs: number;
  readonly until: number;
}

/**
 * After a commit that was given up none is tried for as long again as it took, and for twice as long after each
 * further one: whoever waits for them loses half of the time at most, and the engine, which goes on with what was
 * given up, has time to end it. Another sandbox has other files. Times are milliseconds of one clock.
 */
export class Backoff {
  #givenUp: GivenUp | undefined;

  gaveUp(sandbox: string, tookMs: number, now: number): void {
    const before = this.#givenUp?.sandbox === sandbox ? this.#givenUp.pauseMs : 0;
    const pauseMs = Math.max(tookMs, 2 * before);
    this.#givenUp = { sandbox, pauseMs, until: now + pauseMs };
  }

  done(): void {
    this.#givenUp = undefined;
  }

  /** Milliseconds until a commit of `sandbox` should be tried; 0: now. */
  leftMs(sandbox: string, now: number): number {
    return this.#givenUp?.sandbox === sandbox ? Math.max(0, this.#givenUp.until - now) : 0;
  }
}
