import { type WorkspacePatch, workspacePatch } from "../boundary/export.ts";
import { type RunInSandbox, WorkspaceUnreadable } from "../boundary/sandbox-listing.ts";
import { hydrate } from "../journal/hydrate.ts";
import { CaissonError } from "../protocol/errors.ts";
import type { RunState } from "../run/state.ts";
import { type GatedSandbox, KIT } from "../sandbox/gate.ts";
import type { Dependencies } from "./dependencies.ts";
import type { LiveRun } from "./live-run.ts";
import { type Governed, policiesOf, type Seen } from "./policies.ts";
import type { WorkspaceDiff } from "./port.ts";
import { WORKSPACE } from "./tools/tool.ts";
import { baseOf } from "./workspace-base.ts";

/** Milliseconds one listing or archive of a workspace may take. */
const DEADLINE_MS = 300_000;

/** What a run that has its sandbox changed in the workspace so far, without what no policy lets out. */
export async function changesOf(run: LiveRun): Promise<WorkspacePatch> {
  const { sandbox } = run;
  return sandbox && run.state.ingested ? changesIn(run, sandbox) : UNCHANGED;
}

/** A workspace as it was ingested. */
export const UNCHANGED: WorkspacePatch = {
  patch: "",
  ignored: 0,
  omitted: [],
  changes: [],
  folders: { created: [], removed: [] },
  beyond: 0,
  left: [],
};

/** What is changed in a sandbox of the run's. */
export async function changesIn(run: Seen, sandbox: GatedSandbox): Promise<WorkspacePatch> {
  return workspacePatch({
    base: await baseOf(run),
    run: inSandbox(sandbox),
    root: WORKSPACE,
    deny: await exportDenials(run),
    unchangedBefore: Math.floor(Date.parse(run.state.ingested?.at ?? "") / 1_000),
  });
}

export async function exportDenials(run: Governed): Promise<string[]> {
  return (await policiesOf(run)).flatMap((policy) => policy.exportRules.deny);
}

/** Runs programs of the kit in a sandbox, for the readers of its workspace. */
export function inSandbox(sandbox: GatedSandbox): RunInSandbox {
  return (argv, stdin) => running(sandbox, argv, stdin);
}

async function* running(
  sandbox: GatedSandbox,
  argv: readonly string[],
  stdin?: Uint8Array,
): AsyncIterable<Uint8Array> {
  const [program, ...words] = argv;
  if (program !== KIT.busybox) throw new Error(`${program} is not a program of the kit`);
  const { output, outcome } = await sandbox.housekeep({
    program: "busybox",
    arguments: words,
    deadlineMs: DEADLINE_MS,
    ...(stdin === undefined ? {} : { stdin: once(stdin) }),
  });
  yield* output;
  const { exitCode, signal, startError } = await outcome;
  if (exitCode === undefined)
    throw new WorkspaceUnreadable(`reading the workspace was cut short: ${signal ?? startError}`);
}

async function* once(bytes: Uint8Array): AsyncIterable<Uint8Array> {
  yield bytes;
}

/** What an ended run left, as its journal has it. */
export async function patchOfEnded(deps: Dependencies, state: RunState): Promise<WorkspaceDiff> {
  const { stopped } = state;
  if (stopped?.diffError !== undefined) {
    throw new CaissonError(
      "internal",
      `The run's changes could not be taken when it ended: ${stopped.diffError}`,
    );
  }
  const patch = await hydrate(stopped?.diff ?? "", deps.blobs);
  return { patch, ignored: stopped?.ignored ?? 0, omitted: stopped?.omitted ?? [] };
}
