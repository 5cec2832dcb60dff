import { closeSync, fstatSync, openSync, renameSync, writeSync } from "node:fs";

export interface RotatingFileOptions {
  readonly path: string;
  /** Bytes after which the next line begins a new file. */
  readonly maximumBytes: number;
  /** Older files that are kept, as `path.1` (the newest) to `path.N`. */
  readonly kept: number;
}

/**
 * A log file that never grows beyond its bound. Lines are with the system when `write` returns, so that the last
 * ones before a crash are there. What the disk refuses is lost and counted: a log never holds up what it tells of.
 */
export class RotatingFile {
  readonly #options: RotatingFileOptions;
  #descriptor: number | undefined;
  #bytes = 0;
  #lost = 0;

  constructor(options: RotatingFileOptions) {
    this.#options = options;
  }

  /** @param line ends in a line feed */
  write(line: string): void {
    const lost = this.#lost;
    try {
      const text = lost === 0 ? line : `${lostLine(lost)}${line}`;
      this.#append(Buffer.from(text));
      this.#lost = 0;
    } catch {
      this.#lost = lost + 1;
      this.close();
    }
  }

  /** The next write opens the file again. */
  close(): void {
    const descriptor = this.#descriptor;
    this.#descriptor = undefined;
    if (descriptor !== undefined) closeSync(descriptor);
  }

  #append(bytes: Buffer): void {
    let descriptor = this.#opened();
    if (this.#bytes > 0 && this.#bytes + bytes.length > this.#options.maximumBytes) {
      this.#rotate();
      descriptor = this.#opened();
    }
    let written = 0;
    while (written < bytes.length) written += writeSync(descriptor, bytes, written);
    this.#bytes += bytes.length;
  }

  #opened(): number {
    if (this.#descriptor !== undefined) return this.#descriptor;
    const descriptor = openSync(this.#options.path, "a", 0o600);
    this.#descriptor = descriptor;
    this.#bytes = fstatSync(descriptor).size;
    return descriptor;
  }

  #rotate(): void {
    this.close();
    const { path, kept } = this.#options;
    for (let number = kept; number > 0; number -= 1) {
      try {
        renameSync(number === 1 ? path : `${path}.${number - 1}`, `${path}.${number}`);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
      }
    }
  }
}

function lostLine(count: number): string {
  const at = new Date().toISOString();
  return `${JSON.stringify({ level: "warn", time: at, lines: count, msg: "lines of this log were lost: the disk refused them" })}\n`;
}
