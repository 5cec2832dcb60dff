/** Writing an archive of a run's files, which is untrusted, into a new folder. */
import {
  closeSync,
  constants,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  symlinkSync,
  writeSync,
} from "node:fs";
import { extract, type Header } from "tar-stream";
import { ARCHIVE_ENTRIES } from "../../daemon/protocol/archive.ts";
import { pathBytes, pathText } from "../../daemon/protocol/path-text.ts";
import { Ground, isMissing, NotBelow, parentOf } from "./ground.ts";

/** The archive is damaged, or holds what no run's archive holds. What was written of it is to be removed. */
export class ArchiveRefused extends Error {
  override readonly name = "ArchiveRefused";
}

export interface Unpacked {
  /** Paths in the archive, folders aside. */
  readonly files: readonly string[];
  readonly bytes: number;
  /** Symlinks that lead out of what was copied, and where to. They were not made. */
  readonly leading: readonly { readonly path: string; readonly target: string }[];
}

const NEW_FILE = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;

/** Whether a symlink stays below the root for certain: only its beginning goes up, and no further than that. */
function staysWithin(path: string, target: string): boolean {
  if (target.startsWith("/")) return false;
  const parts = target.split("/");
  const ups = parts.findIndex((part) => part !== "..");
  const leading = ups === -1 ? parts.length : ups;
  return leading < path.split("/").length && !parts.slice(leading).includes("..");
}

function textOf(name: string): string {
  return pathText(Buffer.from(name, "latin1")).replace(/\/+$/, "");
}

class Unpacker {
  readonly files: string[] = [];
  readonly leading: { path: string; target: string }[] = [];
  bytes = 0;
  readonly #ground: Ground;
  readonly #root: string;
  readonly #wanted: string;
  readonly #links: { path: string; place: string; target: string }[] = [];
  #entries = 0;

  constructor(folder: string, root: string, wanted: string) {
    this.#ground = new Ground(folder);
    this.#root = root;
    this.#wanted = wanted;
  }

  /** Where an entry is to stand, below the folder. @throws ArchiveRefused unless it is one of the wanted */
  #placeOf(path: string): string {
    const odd = path.split("/").some((part) => part === "" || part === "." || part === "..");
    const rest = this.#wanted === "" ? `/${path}` : path.slice(this.#wanted.length);
    const wanted = path.startsWith(this.#wanted) && (rest === "" || rest.startsWith("/"));
    if (odd || path.includes("\0") || !wanted)
      throw new ArchiveRefused(`the archive names ${JSON.stringify(path)}, which was not asked for`);
    return `${this.#root}${rest}`;
  }

  entry({ name, type, mode, linkname }: Header): ((chunk: Uint8Array) => void) | undefined {
    this.#entries += 1;
    if (this.#entries > ARCHIVE_ENTRIES)
      throw new ArchiveRefused(`the archive has over ${ARCHIVE_ENTRIES} entries`);
    const path = textOf(name);
    const place = this.#placeOf(path);
    if (type === "directory") {
      this.#folder(place);
      return undefined;
    }
    this.#folder(parentOf(place));
    this.files.push(path);
    if (type === "file") return this.#file(place, mode ?? 0o644);
    const target = textOf(linkname ?? "");
    if (type === "symlink") this.#links.push({ path, place, target });
    else if (type === "link") this.#hardLink(place, this.#placeOf(target));
    else
      throw new ArchiveRefused(
        `${JSON.stringify(path)} in the archive is a ${type ?? "thing without a kind"}`,
      );
    return undefined;
  }

  #folder(place: string): void {
    if (place === "") return;
    try {
      if (this.#ground.at(place, (at) => lstatSync(at).isDirectory())) return;
      throw new ArchiveRefused(`${JSON.stringify(place)} comes twice in the archive, as folder and as file`);
    } catch (error) {
      if (!isMissing(error)) throw error;
    }
    this.#folder(parentOf(place));
    this.#ground.at(place, (at) => mkdirSync(at));
  }

  #file(place: string, mode: number): (chunk: Uint8Array) => void {
    const file = this.#ground.at(place, (at) => openSync(at, NEW_FILE, mode & 0o777));
    this.#open = file;
    return (chunk) => {
      this.bytes += chunk.length;
      for (let done = 0; done < chunk.length; ) done += writeSync(file, chunk, done);
    };
  }

  #open: number | undefined;
  /** Closes the file that is being written, if there is one. */
  close(): void {
    if (this.#open !== undefined) closeSync(this.#open);
    this.#open = undefined;
  }

  #hardLink(place: string, target: string): void {
    this.#ground.at(target, (from) => {
      if (!lstatSync(from).isFile()) throw new ArchiveRefused("a hard link in the archive leads to no file");
      this.#ground.at(place, (to) => linkSync(from, to));
    });
  }

  /** Last, so that nothing of the archive is ever written through one. */
  makeLinks(): void {
    for (const { path, place, target } of this.#links) {
      const inside = place.slice(this.#root.length + 1);
      if (inside === "" || !staysWithin(inside, target)) this.leading.push({ path, target });
      else this.#ground.at(place, (at) => symlinkSync(Buffer.from(pathBytes(target)), at));
    }
  }
}

/**
 * Writes what stands at `wanted` in an archive (the whole of it when empty) to `folder`/`root`. `folder` must be new
 * and nobody else's. Modes without set-id bits; symlinks only where they stay within.
 * @throws ArchiveRefused, and what writing throws; the caller removes the folder then
 */
export async function unpack(
  archive: AsyncIterable<Uint8Array>,
  folder: string,
  root: string,
  wanted: string,
): Promise<Unpacked> {
  const unpacker = new Unpacker(folder, root, wanted);
  const parser = extract({ filenameEncoding: "latin1" } as Parameters<typeof extract>[0]);
  const fed = feed(parser, archive);
  try {
    for await (const entry of parser) {
      const write = unpacker.entry(entry.header);
      for await (const chunk of entry as AsyncIterable<Uint8Array>) write?.(chunk);
      unpacker.close();
    }
    await fed;
    unpacker.makeLinks();
  } catch (error) {
    const failure = await fed.then(
      () => undefined,
      (reason: unknown) => reason,
    );
    throw failure ?? refusalOf(error);
  } finally {
    unpacker.close();
    parser.destroy();
  }
  const { files, bytes, leading } = unpacker;
  return { files, bytes, leading };
}

function refusalOf(error: unknown): unknown {
  const { code } = error as NodeJS.ErrnoException;
  if (error instanceof NotBelow || code === "EEXIST")
    return new ArchiveRefused(`an entry of the archive stands on another (${(error as Error).message})`);
  return error;
}

/** Rejects with what the source throws, such as a daemon that has gone; ends quietly when the parser has. */
async function feed(parser: ReturnType<typeof extract>, archive: AsyncIterable<Uint8Array>): Promise<void> {
  try {
    for await (const chunk of archive) {
      if (parser.destroyed) return;
      if (!parser.write(chunk)) await drained(parser);
    }
    parser.end(null);
  } catch (error) {
    parser.destroy(error instanceof Error ? error : new Error(String(error)));
    throw error;
  }
}

function drained(parser: ReturnType<typeof extract>): Promise<void> {
  return new Promise((resolve) => {
    parser.once("drain", resolve);
    parser.once("close", resolve);
  });
}
