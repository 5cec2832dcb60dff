/** The ingest filter: what of a person's workspace may enter a sandbox. What is not there can't leak. */
import { ARCHIVE_BYTES, ARCHIVE_ENTRIES, ARCHIVE_NAMES } from "../protocol/archive.ts";
import { type EntryNotes, indexing } from "./base-index.ts";
import { pathRules } from "./globs.ts";
import {
  type Refusal,
  readTar,
  refuseWorkspace,
  shown,
  type TarItem,
  type TarPart,
  writeTar,
} from "./tar.ts";

export interface IngestRules {
  /** The policy's `files.ingest.deny`. */
  readonly deny: readonly string[];
  /** `full` keeps `.git`; `fresh` and `none` leave every `.git` out, also those of repositories within. */
  readonly git: "fresh" | "full" | "none";
  /** Most bytes of content, as many as an archive may have by default. */
  readonly maxBytes?: number;
  /** Most entries, 1,000,000 by default. */
  readonly maxEntries?: number;
}

/** What was let in and what was not. `withheld` holds the first hundred paths, `withheldCount` counts all. */
export interface IngestSummary {
  readonly files: number;
  readonly bytes: number;
  readonly withheld: readonly { readonly path: string; readonly rule: string }[];
  readonly withheldCount: number;
}

export interface FilteredWorkspace {
  /**
   * The archive to put into the sandbox. The same input and rules give the same bytes. Iterating throws
   * CaissonError `workspace_refused`, naming the entry, for anything that could leave the workspace.
   */
  readonly tar: AsyncIterable<Uint8Array>;
  /** What was seen until now; complete once `tar` has ended. */
  summary(): IngestSummary;
}

const WITHHELD_SHOWN = 100;

type Kind = "file" | "directory" | "symlink" | "withheld";

/** Remembers every path of an archive and refuses one that contradicts an earlier one. */
class SeenPaths {
  readonly #kinds = new Map<string, Kind>();
  readonly #refuse: Refusal;
  #characters = 0;

  constructor(refuse: Refusal) {
    this.#refuse = refuse;
  }

  kind(path: string): Kind | undefined {
    return this.#kinds.get(path);
  }

  /** False for a folder that came before; throws when a path came twice, or stands below something that is no folder. */
  add(path: string, kind: Kind): boolean {
    this.#addAbove(path, path);
    const before = this.#kinds.get(path);
    if (before === "directory" && kind === "directory") return false;
    if (before !== undefined) throw this.#refuse(`the entry ${shown(path)} comes twice`);
    this.#set(path, kind);
    return true;
  }

  #addAbove(path: string, entry: string): void {
    const slash = path.lastIndexOf("/");
    if (slash === -1) return;
    const folder = path.slice(0, slash);
    const kind = this.#kinds.get(folder);
    if (kind === "directory" || kind === "withheld") return;
    if (kind !== undefined) {
      throw this.#refuse(`the entry ${shown(entry)} stands below ${shown(folder)}, which is a ${kind}`);
    }
    this.#addAbove(folder, entry);
    this.#set(folder, "directory");
  }

  #set(path: string, kind: Kind): void {
    this.#characters += path.length;
    if (this.#characters > ARCHIVE_NAMES)
      throw this.#refuse("its names are too long to remember, all together");
    this.#kinds.set(path, kind);
  }
}

/** A link's target must be a file that came before it; a link to something withheld is withheld too. */
function linkTarget(item: TarItem, seen: SeenPaths, refuse: Refusal): "kept" | "withheld" {
  const kind = seen.kind(item.target ?? "");
  if (kind === "withheld") return "withheld";
  if (kind !== "file") {
    throw refuse(
      `the hard link ${shown(item.path)} leads to ${shown(item.target ?? "")}, which is no file before it`,
    );
  }
  return "kept";
}

const isGit = (path: string): boolean => /(^|\/)\.git(\/|$)/.test(path);

class Filter {
  readonly #rules: IngestRules;
  readonly #ruleOf: (path: string) => string | undefined;
  readonly #withheld: { path: string; rule: string }[] = [];
  #withheldCount = 0;
  #files = 0;
  #bytes = 0;

  constructor(rules: IngestRules) {
    this.#rules = rules;
    this.#ruleOf = pathRules(rules.deny, "files.ingest.deny");
  }

  summary(): IngestSummary {
    return {
      files: this.#files,
      bytes: this.#bytes,
      withheld: this.#withheld.map((one) => ({ ...one })),
      withheldCount: this.#withheldCount,
    };
  }

  async *parts(tar: AsyncIterable<Uint8Array>): AsyncGenerator<TarPart> {
    const refuse = refuseWorkspace;
    const seen = new SeenPaths(refuse);
    const maxEntries = this.#rules.maxEntries ?? ARCHIVE_ENTRIES;
    const maxBytes = this.#rules.maxBytes ?? ARCHIVE_BYTES;
    let entries = 0;
    let offered = 0;
    for await (const item of readTar(tar, refuse)) {
      entries += 1;
      offered += item.size;
      if (entries > maxEntries) throw refuse(`it has more than ${maxEntries} entries`);
      if (offered > maxBytes) throw refuse(`it is over ${maxBytes} bytes, at the entry ${shown(item.path)}`);
      if (item.path === "") {
        if (item.type !== "directory") throw refuse("its root is no folder");
        continue;
      }
      const part = this.#judge(item, seen, refuse);
      if (part) yield part;
    }
  }

  #judge(item: TarItem, seen: SeenPaths, refuse: Refusal): TarPart | undefined {
    if (this.#rules.git !== "full" && isGit(item.path)) {
      seen.add(item.path, "withheld");
      return undefined;
    }
    const rule = this.#ruleOf(item.path) ?? this.#ruleOfLink(item, seen, refuse);
    if (rule !== undefined) {
      seen.add(item.path, item.type === "directory" ? "directory" : "withheld");
      this.#withhold(item.path, rule);
      return undefined;
    }
    const kind = item.type === "link" ? "file" : item.type;
    if (!seen.add(item.path, kind)) return undefined;
    if (item.type !== "directory") this.#files += 1;
    this.#bytes += item.size;
    return { entry: entryOf(item), content: item.content, offset: item.offset };
  }

  #ruleOfLink(item: TarItem, seen: SeenPaths, refuse: Refusal): string | undefined {
    if (item.type !== "link") return undefined;
    if (linkTarget(item, seen, refuse) === "kept") return undefined;
    return this.#ruleOf(item.target ?? "") ?? "files.ingest.git";
  }

  #withhold(path: string, rule: string): void {
    this.#withheldCount += 1;
    if (this.#withheld.length < WITHHELD_SHOWN) this.#withheld.push({ path, rule });
  }
}

function entryOf(item: TarItem): TarPart["entry"] {
  const { path, type, mode, size, mtime, target } = item;
  return { path, type, mode, size, mtime, ...(target === undefined ? {} : { target }) };
}

/** The parts of an archive that the rules let in, headers and contents. Throws as {@link filterWorkspace} says. */
export function workspaceParts(tar: AsyncIterable<Uint8Array>, rules: IngestRules): AsyncGenerator<TarPart> {
  return new Filter(rules).parts(tar);
}

/**
 * Validates and filters an archive as it flows: memory grows with the number of names only. `notes` is told of
 * each entry that is let in. Files that `apart` names are told and counted, and left out of the archive: they go in by
 * another way.
 */
export function filterWorkspace(
  tar: AsyncIterable<Uint8Array>,
  rules: IngestRules,
  notes?: EntryNotes,
  apart?: (path: string) => boolean,
): FilteredWorkspace {
  const filter = new Filter(rules);
  const parts = filter.parts(tar);
  const noted = notes ? indexing(parts, notes) : parts;
  return { tar: writeTar(apart ? without(noted, apart) : noted), summary: () => filter.summary() };
}

async function* without(
  parts: AsyncIterable<TarPart>,
  apart: (path: string) => boolean,
): AsyncGenerator<TarPart> {
  for await (const part of parts) {
    const { path, type } = part.entry;
    if (type === "directory" || type === "symlink" || !apart(path)) yield part;
    // Read all the same, for its digest.
    else for await (const _ of part.content);
  }
}
