import { type WorkspacePatch, type WorkspacePatchInput, workspacePatch } from "../boundary/export.ts";
import type { PathDenial } from "../boundary/globs.ts";
import { type RunInSandbox, WorkspaceUnreadable } from "../boundary/sandbox-listing.ts";
import { withoutSecrets } from "../boundary/secrets-in-patch.ts";
import { lookingUntouched } from "../boundary/touched.ts";
import { hydrate } from "../journal/hydrate.ts";
import { flowTo } from "../policy/labels.ts";
import { CaissonError } from "../protocol/errors.ts";
import type { AsIngested } from "../protocol/events.ts";
import { joined, ORDINARY } from "../protocol/labels.ts";
import type { RunState } from "../run/state.ts";
import { type GatedSandbox, KIT } from "../sandbox/gate.ts";
import type { Dependencies } from "./dependencies.ts";
import { pathLabels, stillGuarded } from "./guarded-files.ts";
import type { LiveRun } from "./live-run.ts";
import { type Governed, policiesOf, type Seen } from "./policies.ts";
import type { WorkspaceDiff } from "./port.ts";
import { WORKSPACE } from "./tools/tool.ts";
import { baseOf } from "./workspace-base.ts";

/** Milliseconds one listing or archive of a workspace may take. */
const DEADLINE_MS = 300_000;

/**
 * What a run that has its sandbox changed in the workspace so far, without what no policy lets out and what holds a
 * secret.
 * @param deny other globs of what is left out; then secrets are not
 */
export async function changesOf(run: LiveRun, deny?: readonly PathDenial[]): Promise<WorkspacePatch> {
  const { sandbox } = run;
  if (!sandbox || !run.state.ingested) return UNCHANGED;
  const { asIngested } = run.state;
  if (deny) return changesIn(run, sandbox, asIngested, deny);
  const changes = await changesIn(run, sandbox, asIngested, await exportDenials(run));
  return withoutSecrets(changes, run.deps.redactor);
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

/** What is changed in a sandbox of the run's, of whose files this is known. */
export async function changesIn(
  run: Seen,
  sandbox: GatedSandbox,
  known: AsIngested | undefined,
  deny: readonly PathDenial[],
): Promise<WorkspacePatch> {
  return workspacePatch({ ...(await comparison(run, sandbox, known)), deny });
}

/**
 * What a diff will want to know of the files in a sandbox that is made from what this one holds now. Undefined: it
 * would not be worth it.
 * @param before milliseconds since the epoch; nothing has touched the files of the other one before
 */
export async function knownFrom(
  run: Seen,
  sandbox: GatedSandbox,
  before: number,
): Promise<AsIngested | undefined> {
  const { asIngested } = run.state;
  const except = asIngested && (await lookingUntouched(await comparison(run, sandbox, asIngested)));
  return except && { before: new Date(before).toISOString(), except: JSON.stringify(except) };
}

async function comparison(
  run: Seen,
  sandbox: GatedSandbox,
  known: AsIngested | undefined,
): Promise<WorkspacePatchInput> {
  const except = known && new Set(JSON.parse(await hydrate(known.except, run.deps.blobs)) as string[]);
  const guarded = await stillGuarded(run);
  return {
    base: await baseOf(run),
    run: inSandbox(sandbox),
    root: WORKSPACE,
    ...(guarded ? { guarded } : {}),
    ...(known && except ? { unchangedBefore: Date.parse(known.before) / 1_000, except } : {}),
  };
}

/** What no policy lets out: by `files.export`, and by what `data.flow` says of data of a path's labels, or of the run's. */
export async function exportDenials(run: Governed): Promise<PathDenial[]> {
  const policies = await policiesOf(run);
  const { held: labels } = run.state.branch;
  const labelled = pathLabels(policies);
  const flow = (path: string) => {
    const own = labelled(path)?.label ?? {};
    const found = [labels, joined(ORDINARY, own)]
      .map((one) => flowTo(policies, one, { to: "export" }))
      .find((one) => one?.decision === "deny");
    return found?.rule;
  };
  const flows = policies.some(({ rules }) => (rules.flow?.length ?? 0) > 0);
  return [...policies.flatMap((policy) => policy.exportRules.deny), ...(flows ? [flow] : [])];
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
