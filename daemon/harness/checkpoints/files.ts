/** A run's files as they were at its checkpoints: read in a sandbox that is there for the reading only. */
import pLimit from "p-limit";
import { patchBetween } from "../../boundary/between.ts";
import type { WorkspacePatch } from "../../boundary/export.ts";
import { filterExport } from "../../boundary/export-rules.ts";
import type { PathDenial } from "../../boundary/globs.ts";
import { filterWorkspace } from "../../boundary/ingest.ts";
import { withoutSecrets } from "../../boundary/secrets-in-patch.ts";
import { CaissonError } from "../../protocol/errors.ts";
import type { CheckpointId, Seq } from "../../protocol/ids.ts";
import type { CheckpointView } from "../../protocol/views.ts";
import { INGESTED } from "../../run/branches.ts";
import { checkpointAt, goneCheckpoint } from "../../run/decide.ts";
import { CheckpointGone, type GatedSandbox } from "../../sandbox/gate.ts";
import type { Dependencies } from "../dependencies.ts";
import { ingestRules, type Seen } from "../policies.ts";
import type { Compared, WorkspaceArchive, WorkspaceDiff } from "../port.ts";
import { sandboxSpec } from "../steps/set-up.ts";
import { changesIn, exportDenials, UNCHANGED } from "../workspace.ts";
import { archiveOf, isAt, nothing } from "../workspace-files.ts";

/** Sandboxes for reading, at once; they come on top of those of runs. */
const AT_ONCE = 2;
/** Readers that wait for one; the next is refused. */
const WAITING = 16;
/** Milliseconds that one may be read. */
const DEADLINE_MS = 300_000;

type Place = CheckpointId | Seq;

type Given = Pick<Dependencies, "sandboxes" | "removals" | "blobs" | "settings">;

export class CheckpointFiles {
  readonly #deps: Given;
  readonly #turns = pLimit(AT_ONCE);

  constructor(deps: Given) {
    this.#deps = deps;
  }

  /**
   * @param present what the run's files are now
   * @throws CaissonError `unknown_checkpoint`, `checkpoint_gone`, `too_many_requests`
   */
  async diff(
    run: Seen,
    { at, from }: Compared,
    present: () => Promise<WorkspacePatch>,
  ): Promise<WorkspaceDiff> {
    const [to, was] = await Promise.all([
      at === undefined ? present() : this.#changesAt(run, at),
      from === undefined ? undefined : this.#changesAt(run, from),
    ]);
    return was === undefined ? to : patchBetween(was, to);
  }

  /** @throws CaissonError as {@link diff} */
  async workspace(run: Seen, at: Place, path?: string): Promise<WorkspaceArchive> {
    const found = checkpointIn(run, at);
    const deny = await exportDenials(run);
    if (found) {
      const tar = this.#reading(run, found, (sandbox) => archiveOf(run, sandbox, path));
      return { tar: filterExport(tar, { deny }), files: "all", leftOut: 0 };
    }
    const among = path === undefined ? {} : { among: (one: string) => isAt(one, path) };
    return { tar: filterExport(await this.#ingested(run), { deny, ...among }), files: "all", leftOut: 0 };
  }

  async #changesAt(run: Seen, at: Place): Promise<WorkspacePatch> {
    const found = checkpointIn(run, at);
    if (!found) return UNCHANGED;
    return withoutSecrets(await this.#changes(run, found, await exportDenials(run)), run.deps.redactor);
  }

  /** All that differed at a checkpoint from what was ingested, what the policy lets nobody bring back included. */
  changes(run: Seen, checkpoint: CheckpointView): Promise<WorkspacePatch> {
    return this.#changes(run, checkpoint, []);
  }

  async #changes(
    run: Seen,
    checkpoint: CheckpointView,
    deny: readonly PathDenial[],
  ): Promise<WorkspacePatch> {
    const known = run.state.asIngestedAt.get(checkpoint.id);
    for await (const changes of this.#reading(run, checkpoint, async function* (sandbox) {
      yield await changesIn(run, sandbox, known, deny);
    }))
      return changes;
    throw new Error("a reading gives something");
  }

  /** What went into the run's first sandbox, `.git` left out. */
  async #ingested(run: Seen): Promise<AsyncIterable<Uint8Array>> {
    const { blobs, settings } = this.#deps;
    const workspace = run.state.submitted?.data.workspace;
    if (workspace === undefined) return nothing();
    const { deny } = await ingestRules(run);
    const rules = { deny, git: "none" as const, maxBytes: settings.maximumWorkspaceBytes };
    return filterWorkspace(blobs.read(workspace), rules).tar;
  }

  /** Has its turn while it is iterated; the sandbox goes with the end of that. */
  async *#reading<T>(
    run: Seen,
    checkpoint: CheckpointView,
    read: (sandbox: GatedSandbox) => AsyncIterable<T>,
  ): AsyncGenerator<T> {
    const leave = await this.#turn();
    try {
      const sandbox = await this.#restored(run, checkpoint);
      const deadline = setTimeout(() => sandbox.detach(), DEADLINE_MS);
      try {
        yield* read(sandbox);
      } finally {
        clearTimeout(deadline);
        this.#deps.removals.begin(sandbox.id, undefined, sandbox);
      }
    } finally {
      leave();
    }
  }

  /** Resolves when fewer than {@link AT_ONCE} read, with the function that makes room for the next. */
  #turn(): Promise<() => void> {
    if (this.#turns.pendingCount >= WAITING)
      throw new CaissonError(
        "too_many_requests",
        `${WAITING} others wait to read files of checkpoints already; nothing was read. Try again later.`,
      );
    return new Promise((begin) => {
      void this.#turns(() => new Promise<void>((leave) => begin(leave)));
    });
  }

  async #restored(run: Seen, checkpoint: CheckpointView): Promise<GatedSandbox> {
    try {
      return await this.#deps.sandboxes.acquire(await sandboxSpec(run, checkpoint));
    } catch (error) {
      if (error instanceof CheckpointGone) throw goneCheckpoint(run.state, checkpoint);
      throw error;
    }
  }
}

/** The checkpoint meant; undefined: what was ingested. @throws CaissonError `unknown_checkpoint`, `checkpoint_gone` */
function checkpointIn({ state }: Seen, at: Place): CheckpointView | undefined {
  const { id } = checkpointAt(state, at);
  if (id === INGESTED) return undefined;
  return state.checkpoints.find((one) => one.id === id);
}
