/** A path of the workspace as it is now, against what it was. */
import { Buffer } from "node:buffer";
import { pathBytes } from "../protocol/path-text.ts";
import type { FileState } from "./change.ts";
import type { BaseFile } from "./export-base.ts";
import { GUARD_OWNER } from "./guards.ts";
import { type ListedPath, WorkspaceUnreadable } from "./sandbox-listing.ts";

/** What a path is now: with its content, or with the place in the base where the same content stands. */
export interface Present {
  readonly type: FileState["type"];
  readonly executable: boolean;
  readonly content?: Uint8Array;
  readonly at?: string;
  /** The file of the base that has it. */
  readonly base?: BaseFile;
}

/** Whether size, kind, mode and times say that a file is as it was; `before` in seconds since 1970. */
export function untouched(base: BaseFile, listed: ListedPath, before: number | undefined): boolean {
  if (base.type !== listed.type || base.size !== listed.size) return false;
  if (base.type === "file" && base.executable !== ((listed.mode & 0o100) !== 0)) return false;
  if (listed.mtime !== base.mtime) return false;
  // Nothing in the sandbox can change such a file, nor give it another time.
  if (listed.owner === GUARD_OWNER) return true;
  return before !== undefined && listed.ctime < before;
}

/** Why a path can't stand in a patch, whatever it was before; undefined: it can. */
export function whyLeftOut({ type, owner }: ListedPath): string | undefined {
  if (type === "other") return "it is neither file nor symlink";
  return owner === GUARD_OWNER ? "it is kept from the sandbox, and was moved" : undefined;
}

export function sameAs(base: BaseFile | undefined, present: Present | undefined): boolean {
  if (!base || base.type !== present?.type || base.executable !== present.executable) return false;
  if (base.type === "file") return present.at === base.at;
  return Buffer.compare(pathBytes(base.text ?? ""), present.content ?? new Uint8Array(0)) === 0;
}

export function equalStates(one: FileState, two: FileState): boolean {
  const same = one.type === two.type && one.executable === two.executable;
  return same && Buffer.compare(one.content, two.content) === 0;
}

export function stateOf(
  { type, executable, ...rest }: Pick<FileState, "type" | "executable"> & Partial<BaseFile & Present>,
  contents: ReadonlyMap<string, Uint8Array>,
): FileState {
  const own = rest.content ?? (rest.text === undefined ? undefined : pathBytes(rest.text));
  const content = own ?? contents.get(rest.at ?? "");
  if (!content) throw new WorkspaceUnreadable("the ingested workspace is damaged: a content is missing");
  return { type, executable, content };
}
