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
    const other = this.#other;
    // Who has gone reads nothing any more.
    if (!other || other.destroyed) {
      done();
      return;
    }
    this.#taken = done;
    other.push(chunk);
  }

  override _final(done: (error?: Error | null) => void): void {
    if (!this.#other?.destroyed) this.#other?.push(null);
    done();
  }

  /** After its end the other may read what there still is; before it, that is cut off. */
  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    if (this.writableFinished) this.#other?.goOn();
    else this.#other?.destroy();
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
