/** Questions to the runner that wait for an answer, each with a deadline (S6). */
import type { Frame } from "./runner-frames.ts";

interface Request {
  /** Runs while the frame is handled, before any frame after it. */
  readonly take: (frame: Frame) => void;
  readonly reject: (error: Error) => void;
  readonly timer: NodeJS.Timeout;
}

export class RunnerRequests {
  readonly #open = new Map<number, Request>();
  readonly #deadlineMs: number;
  readonly #missed: (what: string) => void;

  /** `missed` hears of a request that got no answer in time; it is to fail them all. */
  constructor(deadlineMs: number, missed: (what: string) => void) {
    this.#deadlineMs = deadlineMs;
    this.#missed = missed;
  }

  ask<T>(number: number, what: string, read: (frame: Frame) => T): Promise<T> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => this.#missed(what), this.#deadlineMs);
      this.#open.set(number, { take: (frame) => resolve(read(frame)), reject, timer });
    });
  }

  /** False when nobody asked. What `read` throws is thrown here. */
  answer(number: number, frame: Frame): boolean {
    const request = this.#open.get(number);
    if (request === undefined) return false;
    request.take(frame);
    this.#open.delete(number);
    clearTimeout(request.timer);
    return true;
  }

  fail(error: Error): void {
    for (const request of this.#open.values()) {
      clearTimeout(request.timer);
      request.reject(error);
    }
    this.#open.clear();
  }
}
