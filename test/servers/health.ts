import { setTimeout as pause } from "node:timers/promises";
import { RawHttp } from "./raw-http.ts";

const EVERY_MS = 10;

/** Asks a daemon for its health over and over, each time over a new connection, as a stranger would. */
export class HealthWatch {
  readonly #address: string;
  readonly #ms: number[] = [];
  #stopped = false;
  readonly #over: Promise<void>;

  constructor(address: string) {
    this.#address = address;
    this.#over = this.#ask();
  }

  /** Answer times so far, in milliseconds. @throws when the daemon did not answer once */
  async stop(): Promise<readonly number[]> {
    this.#stopped = true;
    await this.#over;
    return this.#ms;
  }

  async #ask(): Promise<void> {
    while (!this.#stopped) {
      const began = performance.now();
      const connection = await RawHttp.open(this.#address);
      connection.socket.write(`GET /healthz HTTP/1.1\r\nhost: ${this.#address}\r\nconnection: close\r\n\r\n`);
      const answer = await connection.answer();
      connection.socket.destroy();
      if (answer?.status !== 200) throw new Error(`health was answered with ${answer?.status}`);
      this.#ms.push(performance.now() - began);
      await pause(EVERY_MS);
    }
  }
}

/** The value that a share of all does not exceed. */
export function percentile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
}
