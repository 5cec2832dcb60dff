import { type FileHandle, open, stat } from "node:fs/promises";
import { setTimeout as pause } from "node:timers/promises";

const POLL_MS = 250;
const CHUNK = 64 * 1024;
/** Older files that are looked for, `path.1` being the newest of them. */
const OLDER = 9;
/** Characters after which a line that has no end is given in pieces. */
const LONGEST_LINE = 256 * 1024;

/** Stands between what the log has now and what comes. */
export const CAUGHT_UP = Symbol("caught up");

/**
 * Every line of a log and of the older files beside it, the oldest first; then {@link CAUGHT_UP}, once; then, with
 * `follow`, what is written from now on, also when the file is put away and begun anew, until `follow` aborts.
 */
export async function* readLog(
  path: string,
  follow?: AbortSignal,
): AsyncGenerator<string | typeof CAUGHT_UP> {
  let file: OpenFile | undefined;
  let told = false;
  try {
    for (;;) {
      if (file) yield* file.lines();
      const newer = await openNewer(path, file?.inode);
      if (newer) {
        // What was written between the last look and the file being put away.
        if (file) yield* file.rest();
        await file?.close();
        file = newer;
        continue;
      }
      if (file && !follow) yield* file.rest();
      if (!told) yield CAUGHT_UP;
      told = true;
      if (!follow || follow.aborted) return;
      await pause(POLL_MS, undefined, { signal: follow }).catch(() => undefined);
    }
  } finally {
    await file?.close();
  }
}

/** The oldest file that is newer than the one with this inode; without one, the oldest of all. */
async function openNewer(path: string, inode: number | undefined): Promise<OpenFile | undefined> {
  for (;;) {
    const names = [...Array.from({ length: OLDER }, (_, at) => `${path}.${OLDER - at}`), path];
    const found: { name: string; inode: number }[] = [];
    for (const name of names) {
      const known = await stat(name).catch(unlessMissing);
      if (known) found.push({ name, inode: known.ino });
    }
    const next = found[found.findIndex((one) => one.inode === inode) + 1];
    if (!next) return undefined;
    const handle = await open(next.name, "r").catch(unlessMissing);
    // Put away in between: the names are looked at again.
    if (handle && (await handle.stat()).ino === next.inode) return new OpenFile(handle, next.inode);
    await handle?.close();
  }
}

function unlessMissing(error: NodeJS.ErrnoException): undefined {
  if (error.code !== "ENOENT") throw error;
}

class OpenFile {
  readonly inode: number;
  readonly #handle: FileHandle;
  readonly #decoder = new TextDecoder();
  #offset = 0;
  #partial = "";

  constructor(handle: FileHandle, inode: number) {
    this.#handle = handle;
    this.inode = inode;
  }

  /** Whole lines up to the present end. */
  async *lines(): AsyncGenerator<string> {
    // Somebody emptied it: begin anew.
    if ((await this.#handle.stat()).size < this.#offset) this.#offset = 0;
    for (;;) {
      const { bytesRead, buffer } = await this.#handle.read(Buffer.alloc(CHUNK), 0, CHUNK, this.#offset);
      if (bytesRead === 0) return;
      this.#offset += bytesRead;
      const text = this.#partial + this.#decoder.decode(buffer.subarray(0, bytesRead), { stream: true });
      const lines = text.split("\n");
      this.#partial = lines.pop() ?? "";
      yield* lines;
      if (this.#partial.length > LONGEST_LINE) yield this.#taken();
    }
  }

  /** All that is left, a last line without its end too. */
  async *rest(): AsyncGenerator<string> {
    yield* this.lines();
    if (this.#partial !== "") yield this.#taken();
  }

  #taken(): string {
    const partial = this.#partial;
    this.#partial = "";
    return partial;
  }

  close(): Promise<void> {
    return this.#handle.close();
  }
}
