/**
 * What is known of each entry that was put into a sandbox, and where its content stands in the uploaded archive: one
 * line an entry. With it an export reads the contents of changed files alone.
 */
import { createHash } from "node:crypto";
import type { ArchiveEntry } from "../protocol/archive.ts";
import type { TarPart } from "./tar.ts";

/** An entry of the base. Of a file: where its content begins in the archive, and its SHA-256 in base64. */
export interface BaseEntry extends ArchiveEntry {
  readonly offset?: number;
  readonly digest?: string;
}

const LETTERS = { file: "f", directory: "d", symlink: "s", link: "l" } as const;
const TYPES = { f: "file", d: "directory", s: "symlink", l: "link" } as const;

type Line =
  | readonly [path: string, type: "f", mode: number, mtime: number, size: number, at: number, digest: string]
  | readonly [path: string, type: "s" | "l", mode: number, mtime: number, target: string]
  | readonly [path: string, type: "d", mode: number, mtime: number];

/** The entry as a line of an index. The same entry gives the same line. */
export function indexLine({ path, type, mode, mtime, size, target, offset, digest }: BaseEntry): string {
  const common = [path, LETTERS[type], mode, mtime];
  const own = type === "file" ? [size, offset, digest] : type === "directory" ? [] : [target];
  return `${JSON.stringify([...common, ...own])}\n`;
}

function entryOf(text: string): BaseEntry {
  // Our own words, read back from a blob that has its hash.
  const line = JSON.parse(text) as Line;
  const [path, letter, mode, mtime] = line;
  const common = { path, type: TYPES[letter], mode, mtime };
  if (letter === "d") return { ...common, size: 0 };
  if (letter === "f") return { ...common, size: line[4], offset: line[5], digest: line[6] };
  return { ...common, size: 0, target: line[4] };
}

/** The entries of an index, in the archive's order. */
export async function* readIndex(index: AsyncIterable<Uint8Array>): AsyncGenerator<BaseEntry> {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const bytes of index) {
    const lines = (rest + decoder.decode(bytes, { stream: true })).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) yield entryOf(line);
  }
}

/** SHA-256 of a content, as an index has it. */
export const digestOf = (content: Uint8Array): string =>
  createHash("sha256").update(content).digest("base64");

export interface EntryNotes {
  /** One more entry has gone by, with its content. */
  note(entry: BaseEntry): Promise<void> | undefined;
  /** There was no other. */
  whole?(): void;
}

/** The parts as they are, noted as they go by. */
export async function* indexing(parts: AsyncIterable<TarPart>, notes: EntryNotes): AsyncGenerator<TarPart> {
  for await (const part of parts) {
    const { entry, offset = 0 } = part;
    if (entry.type !== "file") {
      yield part;
      await notes.note(entry);
      continue;
    }
    const hash = createHash("sha256");
    yield { ...part, content: hashed(part.content, hash) };
    await notes.note({ ...entry, offset, digest: hash.digest("base64") });
  }
  notes.whole?.();
}

async function* hashed(
  content: TarPart["content"],
  hash: ReturnType<typeof createHash>,
): AsyncGenerator<Uint8Array> {
  for await (const chunk of content) {
    hash.update(chunk);
    yield chunk;
  }
}

/** The entries of an archive's parts, by reading it all: for what has no index. */
export async function* entriesOf(parts: AsyncIterable<TarPart>): AsyncGenerator<BaseEntry> {
  let noted: BaseEntry[] = [];
  const note = (entry: BaseEntry) => {
    noted.push(entry);
    return undefined;
  };
  for await (const { content } of indexing(parts, { note })) {
    yield* noted;
    noted = [];
    for await (const _ of content);
  }
  yield* noted;
}
