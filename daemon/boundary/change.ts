/** What a run changed, before it is written down in any form. */

/** Empty folders that came and went, which git knows nothing of. */
export interface FolderChanges {
  readonly created: readonly string[];
  readonly removed: readonly string[];
}

/** A file or symlink. `executable` is all that git keeps of a mode. A symlink's content is its text. */
export interface FileState {
  readonly type: "file" | "symlink";
  readonly executable: boolean;
  readonly content: Uint8Array;
}

/** One path; at least one side is there. Paths are relative, POSIX, normalised. */
export interface Change {
  readonly path: string;
  readonly before?: FileState;
  readonly after?: FileState;
}
