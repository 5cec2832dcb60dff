import { freshRepositoryScript } from "../../boundary/git.ts";
import { filterWorkspace } from "../../boundary/ingest.ts";
import { imageProblem } from "../../policy/layers.ts";
import { narrowLimits } from "../../policy/limits.ts";
import type { Policy } from "../../policy/port.ts";
import { CaissonError } from "../../protocol/errors.ts";
import type { EventData } from "../../protocol/events.ts";
import type { BlobReference } from "../../protocol/text.ts";
import type { CheckpointView } from "../../protocol/views.ts";
import type { RunState } from "../../run/state.ts";
import { CheckpointGone, type GatedSandbox, type SandboxSpec } from "../../sandbox/gate.ts";
import { missingEvent } from "../checkpoints/storage.ts";
import { digestOf } from "../digest.ts";
import { EngineWait, isEngineAway, stopped } from "../engine-wait.ts";
import { releaseAgain } from "../guarding.ts";
import { hold } from "../hold.ts";
import { type Guards, guardsOf, putGuarded } from "../ingesting.ts";
import type { LiveRun } from "../live-run.ts";
import { ingestRules, policiesOf, type Seen } from "../policies.ts";
import { WORKSPACE } from "../tools/tool.ts";
import { IndexWriter } from "../workspace-base.ts";

/** Milliseconds the one commit of a `git: fresh` workspace may take. */
const FRESH_REPOSITORY_MS = 300_000;

export async function bindPolicy(run: LiveRun): Promise<void> {
  const submitted = run.state.submitted?.data;
  if (!submitted) throw new Error("a run without a submission has no policy");
  const bound = boundTo(await policiesOf(run), submitted);
  await run.commit("written", () => [{ type: "policy.bound", data: bound }]);
}

/** What a submission is bound to. @throws CaissonError as {@link imageOf} */
export function boundTo(
  policies: readonly Policy[],
  submitted: Pick<EventData<"run.submitted">, "limits" | "image">,
  layers: EventData<"policy.bound">["layers"] = policies.map(({ layer, name, hash, text }) => {
    return { layer, name, hash, text };
  }),
): EventData<"policy.bound"> {
  const own = policies.at(-1);
  if (!own) throw new Error("a run has its own policy");
  return {
    name: own.name,
    hash: digestOf(layers.map(({ layer, hash }) => [layer, hash])),
    layers,
    limits: narrowLimits(policies, submitted.limits),
    image: imageOf(policies, submitted.image),
  };
}

/**
 * The image that was asked for, else the one of the run's own policy.
 * @throws CaissonError `invalid_request` when a layer does not allow it
 */
export function imageOf(policies: readonly Policy[], asked: string | undefined): string {
  const image = asked ?? policies.at(-1)?.sandbox.image ?? "base";
  const problem = imageProblem(policies, image);
  if (problem !== undefined) throw new CaissonError("invalid_request", problem);
  return image;
}

/** The run's first sandbox, or another one: from a checkpoint, or afresh, to ingest the workspace again. */
export async function startSandbox(run: LiveRun, from: CheckpointView | undefined): Promise<void> {
  const { deps } = run;
  const began = deps.now();
  const spec = await sandboxSpec(run, from);
  try {
    const sandbox = await acquired(run, spec);
    if (sandbox === undefined) return;
    const started = startedEvent(spec, sandbox, from, deps.now() - began, becauseOf(run.state));
    run.sandbox = sandbox;
    await run.egress.install(sandbox);
    await run.commit("written", () => [started]);
    // One that dies before the journal has it is lost as well: only then is there something to lose.
    hold(run, sandbox);
    await releaseAgain(run);
  } catch (error) {
    if (!(error instanceof CheckpointGone) || !from) throw error;
    await noteGone(run, from);
  }
}

/** What the engine is asked for: the least of what any layer gives. */
export async function sandboxSpec(run: Seen, from: CheckpointView | undefined): Promise<SandboxSpec> {
  const limits = narrowSandbox(await policiesOf(run));
  const image = run.state.policy?.image ?? "base";
  return { run: run.run, image, limits, ...(from?.image === undefined ? {} : { checkpoint: from.image }) };
}

type Started = EventData<"sandbox.started">;

export function startedEvent(
  { image, limits }: SandboxSpec,
  { id, facts }: GatedSandbox,
  from: CheckpointView | undefined,
  durationMs: number,
  because: Started["because"],
  asIngested?: Started["asIngested"],
): { readonly type: "sandbox.started"; readonly data: Started } {
  const { landlock } = facts;
  return {
    type: "sandbox.started",
    data: {
      sandbox: id,
      image,
      ...limits,
      landlock,
      durationMs,
      ...(from ? { checkpoint: from.id } : {}),
      ...(because ? { because } : {}),
      ...(asIngested ? { asIngested } : {}),
      ...(from?.processesLost ? { processesLost: from.processesLost } : {}),
    },
  };
}

function becauseOf({ lost, rewinds, submitted }: RunState): Started["because"] {
  if (lost) return "lost";
  if (rewinds.length > 0) return "rewound";
  return submitted?.data.history ? "forked" : undefined;
}

/** Somebody removed a checkpoint's image: that is journalled, and an earlier one serves. */
export async function noteGone(run: LiveRun, gone: CheckpointView): Promise<void> {
  const { id } = gone;
  run.deps.log.warn({ run: run.run, checkpoint: id }, "the image of a checkpoint is gone");
  await run.commit("synced", (state) =>
    state.checkpoints.some((one) => one.id === id && !one.reclaimed) ? [missingEvent(gone)] : [],
  );
}

/** A sandbox, as soon as the engine answers; undefined when the step is to stop before. */
function acquired(run: LiveRun, spec: SandboxSpec): Promise<GatedSandbox | undefined> {
  return onceTheEngineIsThere(run, () => acquiredUnlessStopped(run, spec));
}

/** What is asked of the engine, again and again while it is away; undefined when the step is to stop before. */
async function onceTheEngineIsThere<T>(run: LiveRun, ask: () => Promise<T>): Promise<T | undefined> {
  const wait = new EngineWait(run, (ms) => stopped(run, ms));
  try {
    while (!run.signal.aborted) {
      try {
        return await ask();
      } catch (error) {
        if (!isEngineAway(error)) throw error;
        await wait.again(error);
      }
    }
    return undefined;
  } finally {
    await wait.over();
  }
}

/** Nobody waits for an engine that hangs: what it gives after all is removed. */
async function acquiredUnlessStopped(run: LiveRun, spec: SandboxSpec): Promise<GatedSandbox | undefined> {
  const acquiring = run.deps.sandboxes.acquire(spec);
  const sandbox = await Promise.race([acquiring, stopped(run).then(() => undefined)]);
  if (sandbox === undefined) acquiring.then((late) => late.destroy()).catch(() => undefined);
  return sandbox;
}

/** The least of what any layer gives. */
function narrowSandbox(policies: readonly Policy[]) {
  const least = (of: (sandbox: Policy["sandbox"]) => number) =>
    Math.min(...policies.map(({ sandbox }) => of(sandbox)));
  return {
    memoryBytes: least((sandbox) => sandbox.memoryBytes),
    cpus: least((sandbox) => sandbox.cpus),
    pids: least((sandbox) => sandbox.pids),
    diskBytes: least((sandbox) => sandbox.diskBytes),
  };
}

export async function ingestWorkspace(run: LiveRun): Promise<void> {
  const { deps, sandbox } = run;
  if (!sandbox) throw new Error("no sandbox to ingest into");
  const began = deps.now();
  const workspace = run.state.submitted?.data.workspace;
  const { deny, git } = await ingestRules(run);
  let summary: ReturnType<ReturnType<typeof filterWorkspace>["summary"]> = {
    files: 0,
    bytes: 0,
    withheld: [],
    withheldCount: 0,
  };
  let index: BlobReference | undefined;
  let labelled: Guards["labelled"];
  if (workspace !== undefined) {
    const rules = { deny, git, maxBytes: deps.settings.maximumWorkspaceBytes };
    const read = () => deps.blobs.read(workspace);
    const guards = await guardsOf(await policiesOf(run), read, rules);
    const writer = new IndexWriter(deps.blobs);
    try {
      const filtered = filterWorkspace(read(), rules, writer, (path) => guards.paths.has(path));
      await sandbox.putTar(WORKSPACE, filtered.tar);
      summary = filtered.summary();
      index = await writer.end();
    } finally {
      await writer.close();
    }
    if (git === "fresh") await makeFreshRepository(run, summary.bytes);
    await onceTheEngineIsThere(run, () => putGuarded(sandbox, guards, read(), rules));
    if (run.signal.aborted) return;
    labelled = guards.labelled;
  }
  await run.commit("written", () => [
    {
      type: "workspace.ingested",
      data: {
        sandbox: sandbox.id,
        ...(workspace === undefined ? {} : { workspace }),
        ...summary,
        withheld: [...summary.withheld],
        git,
        ...(index ? { index } : {}),
        ...(labelled ? { labelled } : {}),
        durationMs: deps.now() - began,
      },
    },
  ]);
  await releaseAgain(run);
}

async function makeFreshRepository(run: LiveRun, bytes: number): Promise<void> {
  const { sandbox, deps } = run;
  const made = await sandbox?.housekeep({
    program: "bash",
    arguments: ["-c", freshRepositoryScript(bytes)],
    cwd: WORKSPACE,
    deadlineMs: FRESH_REPOSITORY_MS,
  });
  if (!made) return;
  for await (const _ of made.output);
  const outcome = await made.outcome;
  if (outcome.exitCode !== 0)
    deps.log.warn({ run: run.run, error: made.errors() }, "the workspace has no repository of its own");
}
