/** Which of a workspace's files a policy labels, and which of them are kept from what runs in the sandbox. */
import { both, type Label } from "../protocol/labels.ts";
import type { BaseEntry } from "./base-index.ts";
import { inGit } from "./export-base.ts";
import { type IngestRules, workspaceParts } from "./ingest.ts";
import { type TarPart, writeTar } from "./tar.ts";

/** Owns guarded files. Nothing in a sandbox runs as this user, so the kernel lets nothing there read them. */
export const GUARD_OWNER = 10_002;

/** What a policy says of a file, and the rule. */
export interface Labelled {
  readonly label: Label;
  readonly rule: string;
}

export interface WorkspaceLabels {
  /** Labelled files by their paths; names of one file have all that is said of any of them. */
  readonly files: ReadonlyMap<string, Labelled>;
  /** There is a repository, which may hold any file's content. */
  readonly git: boolean;
}

/** Whether files of this label are kept from commands. */
export function isGuarded({ label: { confidentiality } }: Labelled): boolean {
  return confidentiality === "confidential" || confidentiality === "secret";
}

/** @param labelOf what the policy says of a path in the workspace */
export async function workspaceLabels(
  entries: AsyncIterable<Pick<BaseEntry, "path" | "type" | "target">>,
  labelOf: (path: string) => Labelled | undefined,
): Promise<WorkspaceLabels> {
  const said = new Map<string, Labelled>();
  /** The first name of what has several, by each other one. */
  const firstNames = new Map<string, string>();
  let git = false;
  for await (const { path, type, target = "" } of entries) {
    git ||= inGit(path);
    if (type === "directory" || type === "symlink") continue;
    const first = type === "link" ? (firstNames.get(target) ?? target) : path;
    if (type === "link") firstNames.set(path, first);
    const labelled = labelOf(path);
    if (labelled) said.set(first, joinedLabels(said.get(first), labelled));
  }
  const others = [...firstNames].flatMap(([path, first]) => {
    const labelled = said.get(first);
    return labelled ? [[path, labelled] as const] : [];
  });
  return { files: new Map([...said, ...others]), git };
}

function joinedLabels(one: Labelled | undefined, other: Labelled): Labelled {
  return one ? { ...one, label: both(one.label, other.label) } : other;
}

/** Headers only: contents are passed over. */
export async function* entriesAmong(
  tar: AsyncIterable<Uint8Array>,
  rules: IngestRules,
): AsyncGenerator<TarPart["entry"]> {
  for await (const { entry } of workspaceParts(tar, rules)) yield entry;
}

/** An archive of the guarded files alone, owned by {@link GUARD_OWNER}; their folders are the sandbox's user's. */
export function guardedWorkspace(
  tar: AsyncIterable<Uint8Array>,
  rules: IngestRules,
  isGuardedPath: (path: string) => boolean,
): AsyncIterable<Uint8Array> {
  return writeTar(guardedParts(workspaceParts(tar, rules), isGuardedPath));
}

async function* guardedParts(
  parts: AsyncIterable<TarPart>,
  isGuardedPath: (path: string) => boolean,
): AsyncGenerator<TarPart> {
  const folders = new Set<string>();
  for await (const part of parts) {
    const { path, type, mode, mtime } = part.entry;
    if (type === "directory") folders.add(path);
    if (type === "directory" || type === "symlink" || !isGuardedPath(path)) continue;
    for (const folder of foldersAbove(path)) {
      if (folders.has(folder)) continue;
      folders.add(folder);
      yield { entry: { path: folder, type: "directory", mode: 0o755, size: 0, mtime }, content: [] };
    }
    yield { ...part, entry: { ...part.entry, mode: 0o600 | (mode & 0o100), owner: GUARD_OWNER } };
  }
}

function foldersAbove(path: string): string[] {
  const names = path.split("/").slice(0, -1);
  return names.map((_, index) => names.slice(0, index + 1).join("/"));
}

/** Lines for a repository's exclude file: git can't read these files, and stops at the first that it can't read. */
export function excludeLines(paths: Iterable<string>): string {
  let lines = "";
  for (const path of paths) if (!path.includes("\n")) lines += `/${path.replace(/[\\*?[\]!# ]/g, "\\$&")}\n`;
  return lines;
}
