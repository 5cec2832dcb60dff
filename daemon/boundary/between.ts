/** What changed between two states of one workspace, each known by what differs from what was ingested. */
import type { Change, FileState, FolderChanges } from "./change.ts";
import type { WorkspacePatch } from "./export.ts";
import { equalStates } from "./export-present.ts";
import { writePatch } from "./patch.ts";
import { WorkspaceUnreadable } from "./sandbox-listing.ts";

type State = Pick<WorkspacePatch, "changes" | "folders" | "omitted" | "beyond" | "left">;

/**
 * The patch from one state to the other. A path that could not stand in the patch of either is left out of this
 * one. @throws WorkspaceUnreadable when more was changed in one of them than a diff takes
 */
export function patchBetween(from: State, to: State): Pick<WorkspacePatch, "patch" | "ignored" | "omitted"> {
  if (from.beyond + to.beyond > 0)
    throw new WorkspaceUnreadable("more files were changed than can be compared with each other");
  const omitted = new Map([...from.omitted, ...to.omitted].map((one) => [one.path, one]));
  const ignored = new Set([...ignoredIn(from), ...ignoredIn(to)]);
  const changes = changesBetween(from.changes, to.changes).filter(
    ({ path }) => !omitted.has(path) && !ignored.has(path),
  );
  return {
    patch: writePatch(changes, foldersBetween(from.folders, to.folders, to.changes)),
    ignored: ignored.size,
    omitted: [...omitted.values()],
  };
}

function ignoredIn({ left }: State): string[] {
  return left.filter(({ ignored }) => ignored).map(({ path }) => path);
}

/** A path that only one of them changed is, in the other, what was ingested. */
export function changesBetween(from: readonly Change[], to: readonly Change[]): Change[] {
  const was = new Map(from.map((change) => [change.path, change]));
  const is = new Map(to.map((change) => [change.path, change]));
  const paths = [...new Set([...was.keys(), ...is.keys()])];
  return paths.flatMap((path) => {
    const earlier = was.get(path);
    const later = is.get(path);
    const before = earlier ? earlier.after : later?.before;
    const after = later ? later.after : earlier?.before;
    return same(before, after) ? [] : [{ path, ...(before ? { before } : {}), ...(after ? { after } : {}) }];
  });
}

function same(one: FileState | undefined, other: FileState | undefined): boolean {
  return one && other ? equalStates(one, other) : one === other;
}

function foldersBetween(from: FolderChanges, to: FolderChanges, later: readonly Change[]): FolderChanges {
  const without = (some: readonly string[], others: readonly string[]) => {
    const known = new Set(others);
    return some.filter((folder) => !known.has(folder));
  };
  const filled = (folder: string) =>
    later.some(({ path, after }) => after && path.startsWith(`${folder}/`)) ||
    to.created.some((path) => path.startsWith(`${folder}/`));
  return {
    created: [...without(to.created, from.created), ...without(from.removed, to.removed)],
    removed: [
      ...without(to.removed, from.removed),
      ...without(from.created, to.created).filter((folder) => !filled(folder)),
    ],
  };
}
