import { createHash, randomUUID } from "node:crypto";
import { createReadStream } from "node:fs";
import { type FileHandle, open, readdir, rename, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { Sha256 } from "../protocol/ids.ts";
import type { BlobReference } from "../protocol/text.ts";
import { blobOf, type PendingBlob } from "./externalise.ts";
import { hasCode, makeFolder, syncFolder } from "./folders.ts";
import {
  BlobDamaged,
  BlobMissing,
  type Blobs,
  BodyTooLarge,
  type DiskRoom,
  type Faults,
  requireRoom,
} from "./port.ts";

const INCOMING = ".incoming-";
/** Bytes of a stream between two looks at the room that is left. */
const CHECK_EVERY_BYTES = 4 * 2 ** 20;

/** Blobs that know which references they gave out, so that no other object passes for one. */
export interface BlobStore extends Blobs {
  /** Stores a string that `externalise` took out of an event; on disk when it resolves. */
  store(blob: PendingBlob): Promise<void>;
  /** Whether this very object was given out by `putText` or was adopted. */
  issued(reference: object): boolean;
  /** Accepts a reference that came out of a journal: a journal holds none that we did not make. */
  adopt(reference: BlobReference): void;
}

export interface FileBlobsOptions {
  /** The daemon's folder, `$CAISSON_HOME`. */
  readonly home: string;
  readonly faults?: Faults;
  /** Asked before and while a stream is stored, so that none takes the room that journals need. */
  readonly room?: Pick<DiskRoom, "shortage">;
}

/** Opens the blob folder, making it if need be, and clears what a crash left half-written. */
export async function openFileBlobs(options: FileBlobsOptions): Promise<BlobStore> {
  const folder = join(options.home, "blobs");
  await makeFolder(folder);
  for (const name of await readdir(folder)) {
    if (name.startsWith(INCOMING)) await rm(join(folder, name), { force: true });
  }
  return new FileBlobs(folder, options.faults, options.room);
}

class FileBlobs implements BlobStore {
  readonly #folder: string;
  readonly #faults: Faults | undefined;
  readonly #room: Pick<DiskRoom, "shortage"> | undefined;
  readonly #issued = new WeakSet<object>();

  constructor(folder: string, faults: Faults | undefined, room: Pick<DiskRoom, "shortage"> | undefined) {
    this.#room = room;
    this.#folder = folder;
    this.#faults = faults;
  }

  issued(reference: object): boolean {
    return this.#issued.has(reference);
  }

  adopt(reference: BlobReference): void {
    this.#issued.add(reference);
  }

  async putText(text: string): Promise<BlobReference> {
    const blob = blobOf(text);
    await this.store(blob);
    this.adopt(blob.reference);
    return blob.reference;
  }

  async store({ reference, content }: PendingBlob): Promise<void> {
    if ((await this.size(reference.blob)) === content.length) {
      // Another writer may have renamed it and not yet synced the folder.
      await syncFolder(this.#shelf(reference.blob));
      return;
    }
    await this.#receive(async (file) => {
      await file.writeFile(content);
      return reference.blob;
    });
  }

  async put(
    content: AsyncIterable<Uint8Array>,
    maximumBytes: number,
  ): Promise<{ hash: Sha256; bytes: number }> {
    const digest = createHash("sha256");
    let bytes = 0;
    let checkedAt = 0;
    if (this.#room) await requireRoom(this.#room, "kept");
    const hash = await this.#receive(async (file) => {
      for await (const chunk of content) {
        bytes += chunk.length;
        if (this.#room && bytes - checkedAt >= CHECK_EVERY_BYTES) {
          checkedAt = bytes;
          await requireRoom(this.#room, "kept");
        }
        if (bytes > maximumBytes)
          throw new BodyTooLarge(`the content is over ${maximumBytes} bytes; nothing was kept`);
        digest.update(chunk);
        await file.writeFile(chunk);
      }
      return digest.digest("hex");
    });
    return { hash, bytes };
  }

  async has(hash: Sha256): Promise<boolean> {
    return (await this.size(hash)) !== undefined;
  }

  async size(hash: Sha256): Promise<number | undefined> {
    if (!Sha256.safeParse(hash).success) return undefined;
    try {
      return (await stat(this.#path(hash))).size;
    } catch (error) {
      if (hasCode(error, "ENOENT")) return undefined;
      throw error;
    }
  }

  async *read(hash: Sha256): AsyncGenerator<Uint8Array> {
    if (!(await this.has(hash))) throw missing(hash);
    const digest = createHash("sha256");
    try {
      for await (const chunk of createReadStream(this.#path(hash))) {
        digest.update(chunk);
        yield chunk;
      }
    } catch (error) {
      throw hasCode(error, "ENOENT") ? missing(hash) : error;
    }
    if (digest.digest("hex") !== hash) throw damaged(hash);
  }

  async *readParts(
    hash: Sha256,
    parts: Iterable<{ readonly offset: number; readonly length: number }>,
  ): AsyncGenerator<Uint8Array> {
    if (!(await this.has(hash))) throw missing(hash);
    const file = await open(this.#path(hash)).catch((error: unknown) => {
      throw hasCode(error, "ENOENT") ? missing(hash) : error;
    });
    try {
      for (const { offset, length } of parts) {
        const part = Buffer.alloc(length);
        if ((await filledFrom(file, part, offset)) < length) throw damaged(hash);
        yield part;
      }
    } finally {
      await file.close();
    }
  }

  async text(hash: Sha256): Promise<string> {
    const parts: Uint8Array[] = [];
    for await (const chunk of this.read(hash)) parts.push(chunk);
    return Buffer.concat(parts).toString("utf8");
  }

  #shelf(hash: Sha256): string {
    return join(this.#folder, hash.slice(0, 2));
  }

  #path(hash: Sha256): string {
    return join(this.#shelf(hash), hash);
  }

  /** Writes beside, syncs, renames into place, syncs the folder: a blob is there whole or not at all. */
  async #receive(write: (file: FileHandle) => Promise<Sha256>): Promise<Sha256> {
    const incoming = join(this.#folder, `${INCOMING}${randomUUID()}`);
    try {
      await this.#faults?.at("blob.before-write");
      await makeFolder(this.#folder);
      const hash = await filled(incoming, write);
      await this.#faults?.at("blob.after-write");
      await makeFolder(this.#shelf(hash));
      await rename(incoming, this.#path(hash));
      await Promise.all([syncFolder(this.#shelf(hash)), syncFolder(this.#folder)]);
      await this.#faults?.at("blob.after-sync");
      return hash;
    } catch (error) {
      await rm(incoming, { force: true }).catch(() => undefined);
      throw error;
    }
  }
}

/** Bytes read, fewer than there is room for only at the file's end. */
async function filledFrom(file: FileHandle, part: Uint8Array, offset: number): Promise<number> {
  let had = 0;
  while (had < part.length) {
    const { bytesRead } = await file.read(part, had, part.length - had, offset + had);
    if (bytesRead === 0) break;
    had += bytesRead;
  }
  return had;
}

async function filled(path: string, write: (file: FileHandle) => Promise<Sha256>): Promise<Sha256> {
  const file = await open(path, "wx", 0o600);
  try {
    const hash = await write(file);
    await file.datasync();
    return hash;
  } finally {
    await file.close();
  }
}

function missing(hash: string): BlobMissing {
  return new BlobMissing(`there is no blob ${hash}`);
}

function damaged(hash: string): BlobDamaged {
  return new BlobDamaged(`blob ${hash} does not match its hash: its file was changed; it was left as it is`);
}

/** Whether a blob exists and its content has its hash. */
export async function blobMatches(blobs: Pick<Blobs, "read">, hash: Sha256): Promise<boolean> {
  const parts = createHash("sha256");
  try {
    for await (const chunk of blobs.read(hash)) parts.update(chunk);
  } catch (error) {
    if (error instanceof BlobMissing || error instanceof BlobDamaged) return false;
    throw error;
  }
  return parts.digest("hex") === hash;
}
