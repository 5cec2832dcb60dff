import { Duplex } from "node:stream";

/** One end of a connection within the process: what is written here is read at the other. */
class End extends Duplex {
  #other: End | undefined;
  /** Called when the other end has been read: what was written may be taken for sent. */
  #taken: (() => void) | undefined;

  join(other: End): void {
    this.#other = other;
  }

  override _read(): void {
    this.#other?.goOn();
  }

  goOn(): void {
    const taken = this.#taken;
    this.#taken = undefined;
    taken?.();
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    this.#taken = done;
    if (!this.#other?.destroyed) this.#other?.push(chunk);
  }

  override _final(done: (error?: Error | null) => void): void {
    if (!this.#other?.destroyed) this.#other?.push(null);
    done();
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#other?.destroy();
    done(error);
  }
}

/** A connection within the process, both ends: what one writes the other reads, no faster than it is read. */
export function pair(): readonly [Duplex, Duplex] {
  const one = new End();
  const other = new End();
  one.join(other);
  other.join(one);
  return [one, other];
}
