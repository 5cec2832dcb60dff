import type { StreamLimits } from "./limits.ts";

/** What the outbox needs of a socket. */
export interface Wire {
  /** Bytes handed over and not yet taken by the system. */
  readonly bufferedAmount: number;
  /** Calls back when the system took the frame, or with an error when it never will. */
  send(frame: Uint8Array, sent: (error?: Error) => void): void;
}

/**
 * Everything that one socket sends. It never blocks a sender: who can wait (replay) asks for room, who can't
 * (live output) is dropped, and a peer that doesn't read is given up (W2).
 */
export class Outbox {
  readonly #wire: Wire;
  readonly #limits: StreamLimits;
  readonly #tooSlow: () => void;
  readonly #waiting = new Set<() => void>();
  #timer: NodeJS.Timeout | undefined;
  #closed = false;

  /** @param tooSlow called once when the peer does not keep up */
  constructor(wire: Wire, limits: StreamLimits, tooSlow: () => void) {
    this.#wire = wire;
    this.#limits = limits;
    this.#tooSlow = tooSlow;
  }

  /** Nothing more that can wait should be sent now. */
  get full(): boolean {
    return this.#wire.bufferedAmount > this.#limits.highBytes;
  }

  get closed(): boolean {
    return this.#closed;
  }

  send(frame: Uint8Array): void {
    if (this.#closed) return;
    if (this.#wire.bufferedAmount > this.#limits.hardBytes) {
      this.#giveUp();
      return;
    }
    this.#wire.send(frame, () => this.#drained());
    if (this.full) this.#timer ??= setTimeout(() => this.#giveUp(), this.#limits.graceMs);
  }

  /** Sends unless there is a queue already: for frames that may be lost. */
  offer(frame: Uint8Array): void {
    if (this.#wire.bufferedAmount <= this.#limits.liveBytes) this.send(frame);
  }

  /** Resolves when little waits to be sent, or when the outbox is closed. */
  room(): Promise<void> {
    if (this.#closed || !this.full) return Promise.resolve();
    return new Promise((resolve) => this.#waiting.add(resolve));
  }

  /** Drops what is sent from now on, and wakes who waits. */
  close(): void {
    this.#closed = true;
    this.#settle();
  }

  #drained(): void {
    if (this.#wire.bufferedAmount <= this.#limits.lowBytes) this.#settle();
  }

  #giveUp(): void {
    if (this.#closed) return;
    this.close();
    this.#tooSlow();
  }

  #settle(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    for (const resolve of this.#waiting) resolve();
    this.#waiting.clear();
  }
}
