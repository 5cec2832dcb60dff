/** A run's files as an archive: the whole workspace while it has its sandbox, then what it made or changed. */
import type { LeftFile } from "../boundary/export.ts";
import { filterExport } from "../boundary/export-rules.ts";
import { GUARD_OWNER } from "../boundary/guards.ts";
import { KEPT_BYTES, keptArchive, selectKept } from "../boundary/kept.ts";
import {
  archiveCommand,
  fetchCommand,
  fetchInput,
  type ListedPath,
  listWorkspace,
  unreadableAs,
} from "../boundary/sandbox-listing.ts";
import { foundIn } from "../boundary/secrets-in-patch.ts";
import { readTar, type TarPart, writeTar } from "../boundary/tar.ts";
import { CaissonError } from "../protocol/errors.ts";
import type { EventData } from "../protocol/events.ts";
import type { RunState } from "../run/state.ts";
import type { GatedSandbox } from "../sandbox/gate.ts";
import type { Dependencies } from "./dependencies.ts";
import { guardedFiles, hasGuarded, ingestedParts } from "./guarded-files.ts";
import type { LiveRun } from "./live-run.ts";
import type { Seen } from "./policies.ts";
import type { WorkspaceArchive } from "./port.ts";
import { WORKSPACE } from "./tools/tool.ts";
import { exportDenials, inSandbox } from "./workspace.ts";

/** Bytes that tar's headers add to what is kept, at most. */
const HEADERS_BYTES = 256 * 2 ** 20;

type Kept = NonNullable<EventData<"sandbox.stopped">["kept"]>;

export const isAt = (path: string, place: string): boolean => path === place || path.startsWith(`${place}/`);

/** Keeps files that the run made or changed, before its sandbox goes. Undefined when there is none. */
export async function keepFiles(run: LiveRun, left: readonly LeftFile[]): Promise<Kept | undefined> {
  const { sandbox, deps } = run;
  if (!sandbox || left.length === 0) return undefined;
  const { paths, leftOut } = selectKept(left);
  const source = inSandbox(sandbox)(fetchCommand(WORKSPACE), fetchInput(paths));
  const { tar, counts } = keptArchive(source, (content) => holdsNoSecret(deps, content));
  const { hash, bytes } = await deps.blobs.put(tar, KEPT_BYTES + HEADERS_BYTES);
  const { files } = counts();
  return { archive: { blob: hash, bytes, preview: "" }, files, leftOut: leftOut + paths.length - files };
}

function holdsNoSecret({ redactor }: Dependencies, content: Uint8Array): boolean {
  return foundIn(redactor, content).length === 0;
}

/** The workspace of a run that has its sandbox, or what stands at `path` in it, without what the policy holds back. */
export async function workspaceOf(
  run: Seen,
  sandbox: GatedSandbox,
  path?: string,
): Promise<WorkspaceArchive> {
  return {
    tar: filterExport(archiveOf(run, sandbox, path), { deny: await exportDenials(run) }),
    files: "all",
    leftOut: 0,
  };
}

/** The whole of a sandbox's workspace, or what stands at `path` in it; nothing is judged yet. */
export function archiveOf(run: Seen, sandbox: GatedSandbox, path?: string): AsyncIterable<Uint8Array> {
  const archive = path === undefined ? inSandbox(sandbox)(archiveCommand(WORKSPACE)) : at(sandbox, path);
  return hasGuarded(run) ? withGuarded(run, sandbox, archive, path) : archive;
}

/** What nothing in the sandbox can read, an archive's maker included, is there as it was ingested. */
async function* withGuarded(
  run: Seen,
  sandbox: GatedSandbox,
  archive: AsyncIterable<Uint8Array>,
  path: string | undefined,
): AsyncGenerator<Uint8Array> {
  const guarded = await guardedFiles(run);
  const wanted = ({ path: one, owner }: ListedPath) =>
    owner === GUARD_OWNER && guarded.has(one) && (path === undefined || isAt(one, path));
  const listing = await listWorkspace(inSandbox(sandbox), WORKSPACE, undefined, (listed) => !wanted(listed));
  async function* parts(): AsyncGenerator<TarPart> {
    for await (const { offset: _, content, ...entry } of readTar(archive, unreadable)) {
      if (entry.path !== "" && !listing.has(entry.path)) yield { entry, content };
    }
    yield* ingestedParts(run, new Set(listing.keys()));
  }
  yield* writeTar(parts());
}

const unreadable = unreadableAs("the archive of the workspace");

async function* at(sandbox: GatedSandbox, path: string): AsyncIterable<Uint8Array> {
  const listing = await listWorkspace(inSandbox(sandbox), WORKSPACE);
  const listed = [...listing.values()].filter((one) => one.type !== "other" && isAt(one.path, path));
  const paths = listed.map((one) => one.path);
  // xargs starts tar once at least: without names it would give no archive at all.
  if (paths.length === 0) yield new Uint8Array(1024);
  else yield* inSandbox(sandbox)(fetchCommand(WORKSPACE), fetchInput(paths));
}

/** What was kept of an ended run's files. @throws CaissonError `run_ended` when nothing could be kept */
export function workspaceOfEnded(deps: Dependencies, state: RunState, path?: string): WorkspaceArchive {
  const { stopped } = state;
  if (!stopped || stopped.diffError !== undefined || stopped.keptError !== undefined) {
    const reason = stopped?.diffError ?? stopped?.keptError ?? "It never had a sandbox.";
    throw new CaissonError("run_ended", `The run has ended, and no files of it were kept. ${reason}`);
  }
  const { kept } = stopped;
  const source = kept ? deps.blobs.read(kept.archive.blob) : nothing();
  const among = path === undefined ? () => true : (one: string) => isAt(one, path);
  return { tar: filterExport(source, { deny: [], among }), files: "changed", leftOut: kept?.leftOut ?? 0 };
}

/** An archive of nothing: two blocks of zeros. */
export async function* nothing(): AsyncIterable<Uint8Array> {
  yield new Uint8Array(1024);
}
