import { createReadStream } from "node:fs";
import { type FileHandle, open, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { makeFolder, writeWhole } from "./folders.ts";
import type { OutputStore, OutputStream, StoredOutput, StoredPiece } from "./output-store.ts";
import { type Faults, JournalUnwritable } from "./port.ts";

/** Before each piece: one byte that names the stream, four with the length, big-endian. */
const HEADER_BYTES = 5;
const STREAMS: readonly OutputStream[] = ["stdout", "stderr"];

/** Keeps each action's output in `<home>/runs/<run>/output/<action>`. */
export function createFileOutputStore(home: string, faults?: Faults): OutputStore {
  const pathOf = (run: string, action: string) => join(home, "runs", run, "output", action);
  return {
    create: (run, action) => new FileOutput(pathOf(run, action), faults),
    open: (run, action) => FileOutput.open(pathOf(run, action), faults),
  };
}

class FileOutput implements StoredOutput {
  readonly stored = { stdout: 0, stderr: 0 };
  readonly #path: string;
  #file: FileHandle | undefined;
  #onDisk = false;
  #length = 0;
  readonly #faults: Faults | undefined;

  constructor(path: string, faults: Faults | undefined) {
    this.#path = path;
    this.#faults = faults;
  }

  static async open(path: string, faults: Faults | undefined): Promise<FileOutput> {
    const output = new FileOutput(path, faults);
    for await (const piece of output.#pieces()) {
      output.#onDisk = true;
      output.stored[piece.stream] += piece.bytes.length;
      output.#length += HEADER_BYTES + piece.bytes.length;
    }
    return output;
  }

  async append(pieces: readonly StoredPiece[]): Promise<void> {
    const parts = pieces.flatMap(({ stream, bytes }) => {
      const header = Buffer.alloc(HEADER_BYTES);
      header.writeUInt8(STREAMS.indexOf(stream), 0);
      header.writeUInt32BE(bytes.length, 1);
      return [header, bytes];
    });
    try {
      const file = await this.#opened();
      const block = Buffer.concat(parts);
      await this.#faults?.at("output.before-write");
      await writeWhole(file, block, this.#length);
      await this.#faults?.at("output.after-write");
      this.#length += block.length;
    } catch (error) {
      const said = error instanceof Error ? error.message : String(error);
      throw new JournalUnwritable(`the action's output could not be stored: ${said}`, { cause: error });
    }
    for (const { stream, bytes } of pieces) this.stored[stream] += bytes.length;
  }

  /** The file is made by the first append only: most actions end before they need one. */
  async #opened(): Promise<FileHandle> {
    if (this.#file) return this.#file;
    await makeFolder(dirname(this.#path));
    this.#file = await open(this.#path, this.#length === 0 ? "w+" : "r+", 0o600);
    this.#onDisk = true;
    return this.#file;
  }

  /** A torn last piece (the daemon died while it wrote) is left out: the runner has it still. */
  async *read(): AsyncIterable<StoredPiece> {
    if (this.#length === 0) return;
    yield* this.#pieces();
  }

  async *#pieces(): AsyncIterable<StoredPiece> {
    let rest: Buffer = Buffer.alloc(0);
    try {
      for await (const block of createReadStream(this.#path)) {
        rest = Buffer.concat([rest, block as Buffer]);
        while (rest.length >= HEADER_BYTES) {
          const length = rest.readUInt32BE(1);
          if (rest.length < HEADER_BYTES + length) break;
          const stream = STREAMS[rest.readUInt8(0)] ?? "stdout";
          yield { stream, bytes: rest.subarray(HEADER_BYTES, HEADER_BYTES + length) };
          rest = rest.subarray(HEADER_BYTES + length);
        }
      }
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    }
  }

  async close(): Promise<void> {
    const file = this.#file;
    this.#file = undefined;
    await file?.close();
  }

  async remove(): Promise<void> {
    await this.close();
    if (this.#onDisk) await rm(this.#path, { force: true });
    this.#onDisk = false;
  }
}
