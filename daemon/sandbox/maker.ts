/** Makes sandboxes: container, kit, attached stream, start, greeting. What fails half-way is removed again. */
import { setTimeout as delay } from "node:timers/promises";
import type { LimitFunction } from "p-limit";
import { attachment } from "./attached-stream.ts";
import type { CheckpointImages } from "./checkpoint-images.ts";
import { CHECKPOINT_REPOSITORY } from "./checkpoints.ts";
import {
  BASE_LABEL,
  CHECKPOINT_KIND,
  checkLimits,
  KIND_LABEL,
  KIT_LABEL,
  LINKS_LABEL,
  NO_LINKS,
  OWNER_LABEL,
  runOfName,
} from "./container-options.ts";
import type { Containers } from "./containers.ts";
import { environmentOf, openSandbox } from "./docker-sandbox.ts";
import { statusOf } from "./engine.ts";
import { EngineError, type HostFacts, type Sandbox, type SandboxLimits, SandboxLost } from "./host.ts";
import { namesKit } from "./image-folder.ts";
import type { KitArchive } from "./kit-archive.ts";
import { seccompProfile } from "./seccomp.ts";
import { type Places, relink } from "./tree.ts";

/** What a container is made of. */
export interface Make {
  readonly image: string;
  readonly limits: SandboxLimits;
  readonly runtime?: string;
  /** Absent: a sandbox. */
  readonly kind?: "maintenance";
}

/** Keys in a fixed order, so that equal wishes have equal text. */
export function makeOf(image: string, limits: SandboxLimits, runtime: string | undefined): Make {
  checkLimits(limits);
  const { memoryBytes, cpus, pids, diskBytes } = limits;
  return { image, limits: { memoryBytes, cpus, pids, diskBytes }, ...(runtime !== undefined && { runtime }) };
}

export interface MakerOptions {
  readonly owner: string;
  readonly architecture: string;
  readonly containers: Containers;
  readonly checkpoints: CheckpointImages;
  readonly places: Places;
  facts(): Promise<HostFacts>;
  kit(): Promise<KitArchive>;
  readonly log: { warn(fields: Readonly<Record<string, unknown>>, message: string): void };
  /** Bounds how many containers are made at the same time; who comes first is first. */
  readonly turns: LimitFunction;
  readonly heartbeatMs: number;
  readonly answerMs: number;
}

type Labels = Readonly<Record<string, string>>;

/** Containers tried before an engine's refusal is the answer. */
const TRIES = 3;
const FIRST_PAUSE_MS = 100;
const SERVER_ERROR = 500;

/**
 * A started sandbox. An engine that answers with an error of its own is asked again, with another container.
 * @param name gives each container its name
 * @throws {EngineError} the last refusal; with status 404 at once when the image is not there
 */
export async function makeSandbox(options: MakerOptions, name: () => string, wanted: Make): Promise<Sandbox> {
  for (let tries = 1; ; tries += 1) {
    const named = name();
    try {
      return await options.turns(() => makeOnce(options, named, wanted));
    } catch (error) {
      if (!mayPass(error)) throw error;
      if (tries === TRIES) throw afterTries(error);
      const fields = { run: runOfName(named), error: String(error) };
      options.log.warn(fields, "a sandbox could not be started; it is tried again");
      await delay(FIRST_PAUSE_MS * 2 ** tries);
    }
  }
}

/** An error of the engine's own, or a container that was taken away while it started. */
function mayPass(error: unknown): boolean {
  const status = statusOf(error) ?? 0;
  return status >= SERVER_ERROR || (status === 404 && !lacksImage(error)) || error instanceof SandboxLost;
}

function afterTries(error: unknown): unknown {
  if (!(error instanceof EngineError)) return error;
  const said = error.message.slice(error.call.length + 2);
  return new EngineError(error.call, `${said} (tried ${TRIES} times)`, { cause: error });
}

/** Whether the engine says that the image is not there, rather than a container. */
export function lacksImage(error: unknown): boolean {
  return statusOf(error) === 404 && error instanceof Error && /no such image/i.test(error.message);
}

async function makeOnce(options: MakerOptions, name: string, wanted: Make): Promise<Sandbox> {
  const { containers, checkpoints, places, owner, architecture, heartbeatMs, answerMs } = options;
  const [{ unenforced }, kit, image] = await Promise.all([
    options.facts(),
    options.kit(),
    containers.inspectImage(wanted.image),
  ]);
  const seccomp = seccompProfile(architecture);
  const labels = isOurs(image, owner) ? image.labels : {};
  const restored = labels[KIND_LABEL] === CHECKPOINT_KIND;
  const base = (restored && labels[BASE_LABEL]) || image.id;
  // Should the engine's answer not arrive, the name is what the container can be found and removed by.
  let id = name;
  try {
    id = await containers.create({ ...wanted, name, owner, kit: kit.id, base, seccomp, unenforced });
    const hasKit = labels[KIT_LABEL] === kit.id;
    await containers.upload(id, hasKit ? kit.names : restored ? kit.programs : kit.tar);
    // Before the start: what PID 1 says while nobody is attached is lost.
    const attached = attachment(await containers.attach(id));
    try {
      await containers.start(id);
    } catch (error) {
      attached.stream.destroy();
      throw error;
    }
    const parts = {
      id,
      env: environmentOf(image.env),
      containers,
      checkpoints,
      base,
      places,
      heartbeatMs,
      answerMs,
    };
    const sandbox = await openSandbox(parts, attached);
    if (wanted.kind !== undefined) return sandbox;
    const found = await places.learn(base, sandbox);
    const linked = labels[LINKS_LABEL] !== NO_LINKS;
    if (restored && linked) await relinkFiles(options, sandbox, found, name);
    return sandbox;
  } catch (error) {
    // A name that is taken is not ours to remove.
    const taken = statusOf(error) === 409 && id === name;
    if (!lacksImage(error) && !taken) await removeFailed(options, id);
    throw error;
  }
}

/**
 * Whether what an image's labels tell of it holds: one of our making, or a checkpoint of this owner's, its name lost
 * or not. Anybody can put any label on an image of theirs, and one made from a checkpoint inherits them.
 */
function isOurs({ names, labels }: { names: readonly string[]; labels: Labels }, owner: string): boolean {
  if (names.some(namesKit)) return true;
  const checkpoint = names.length === 0 || names.some((name) => name.startsWith(`${CHECKPOINT_REPOSITORY}:`));
  return checkpoint && labels[OWNER_LABEL] === owner;
}

/** What can't be linked again is told: the files are all there, only no longer one. */
async function relinkFiles(
  { log }: MakerOptions,
  sandbox: Sandbox,
  places: readonly string[],
  name: string,
): Promise<void> {
  const warn = (fields: Readonly<Record<string, unknown>>): void =>
    log.warn({ run: runOfName(name), sandbox: sandbox.id, ...fields }, "hard links became copies");
  try {
    const { left } = await relink(sandbox, places);
    if (left > 0) warn({ names: left });
  } catch (error) {
    if (error instanceof SandboxLost) throw error;
    warn({ error: String(error) });
  }
}

async function removeFailed({ containers, log }: MakerOptions, id: string): Promise<void> {
  await containers
    .remove(id)
    .catch((error: unknown) => log.warn({ sandbox: id, error: String(error) }, "it could not be removed"));
}
