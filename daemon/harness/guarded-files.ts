/** Which files of a run were kept from its sandbox, and what they hold. */
import type { BaseEntry } from "../boundary/base-index.ts";
import { baseContents, indexBase } from "../boundary/export-base.ts";
import { isGuarded, type Labelled, workspaceLabels } from "../boundary/guards.ts";
import type { TarPart } from "../boundary/tar.ts";
import { labelOf } from "../policy/labels.ts";
import type { Policy } from "../policy/port.ts";
import { atMost, type Confidentiality } from "../protocol/labels.ts";
import { policiesOf, type Seen } from "./policies.ts";
import { WORKSPACE } from "./tools/tool.ts";
import { baseOf } from "./workspace-base.ts";

/** What the policies say of a path in the workspace. */
export function pathLabels(policies: readonly Policy[]): (path: string) => Labelled | undefined {
  return (path) => labelOf(policies, { path: `${WORKSPACE}/${path}` });
}

/** Whether the run's workspace has files that were put where nothing in its sandbox can read them. */
export function hasGuarded({ state }: Pick<Seen, "state">): boolean {
  return state.ingested?.data.labelled?.some(({ guarded }) => guarded) ?? false;
}

/** The files that were guarded when the workspace was ingested, by their paths in it. */
export async function guardedFiles(run: Seen): Promise<ReadonlyMap<string, Labelled>> {
  if (!hasGuarded(run)) return new Map();
  const base = await baseOf(run);
  const { files } = await workspaceLabels(base.entries(), pathLabels(await policiesOf(run)));
  return new Map([...files].filter(([, labelled]) => isGuarded(labelled)));
}

/** Whether a path was guarded, and is not the sandbox's user's by now. */
export async function stillGuarded(run: Seen): Promise<((path: string) => boolean) | undefined> {
  if (!hasGuarded(run)) return undefined;
  const files = await guardedFiles(run);
  const { released } = run.state.branch;
  return (path) => {
    const found = files.get(path);
    return found !== undefined && !isReleased(found, released);
  };
}

export function isReleased({ label }: Labelled, released: Confidentiality | undefined): boolean {
  return released !== undefined && atMost(label.confidentiality ?? "public", released);
}

/** Files as they were ingested, one content in memory at a time. */
export async function* ingestedParts(run: Seen, paths: ReadonlySet<string>): AsyncGenerator<TarPart> {
  const base = await baseOf(run);
  const { files } = await indexBase(base);
  const entries = new Map<string, BaseEntry>();
  for await (const entry of base.entries()) if (paths.has(entry.path)) entries.set(entry.path, entry);
  for (const [path, { mtime, mode }] of entries) {
    const file = files.get(path);
    const content = file && (await baseContents(base, [file])).get(file.at);
    if (file === undefined || content === undefined) continue;
    const bits = file.executable ? mode | 0o100 : mode;
    yield { entry: { path, type: "file", mode: bits, size: content.length, mtime }, content: [content] };
  }
}
