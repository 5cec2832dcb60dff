/** Many layers of a checkpoint made one: in containers of their own, where nothing of an agent's runs. */
import { randomBytes } from "node:crypto";
import { addedBy } from "./checkpoint-images.ts";
import type { CommittedImage } from "./checkpoints.ts";
import { BASE_LABEL, LINKS_LABEL, RUNNER, SANDBOX_UID } from "./container-options.ts";
import { committable } from "./docker-sandbox.ts";
import { EngineError, type Sandbox, type SandboxLimits, type SandboxProcess } from "./host.ts";
import { type MakerOptions, makeSandbox } from "./maker.ts";
import { findPlaces, fingerprint } from "./tree.ts";

/** Milliseconds for telling, carrying and writing the difference. */
const WORK_MS = 10 * 60_000;
const COMPLAINT_BYTES = 1_024;
/** A list of a million files is held in memory; files may be as large as agents were allowed to make them. */
const LIMITS: SandboxLimits = { memoryBytes: 2 ** 30, cpus: 1, pids: 32, diskBytes: 2 ** 50 };

/** Squashing under way, and the containers that it takes. */
export class Squashes {
  readonly #options: MakerOptions;
  readonly #newName: () => string;
  readonly #names = new Set<string>();

  /** `newName` gives each container its name. */
  constructor(options: MakerOptions, newName: () => string) {
    this.#options = options;
    this.#newName = newName;
  }

  /** Whether a container of this name is at work. */
  has(name: string): boolean {
    return this.#names.has(name);
  }

  /** As {@link SandboxHost.squash}. */
  async squash(reference: string, onto: string): Promise<CommittedImage> {
    const names: string[] = [];
    const name = (): string => {
      const made = this.#newName();
      names.push(made);
      this.#names.add(made);
      return made;
    };
    try {
      return await squash(this.#options, name, reference, onto);
    } finally {
      for (const made of names) this.#names.delete(made);
    }
  }
}

/** A container from each image: the one tells how its files differ, the other is made the same and committed. */
async function squash(
  options: MakerOptions,
  name: () => string,
  reference: string,
  onto: string,
): Promise<CommittedImage> {
  const { checkpoints, places: known } = options;
  const [image, base] = await Promise.all([checkpoints.find(reference), checkpoints.inspect(onto)]);
  if (base === undefined) throw new EngineError("squash", `the engine has no image ${onto}`);
  if (!base.layers.every((layer, at) => image.layers[at] === layer))
    throw new EngineError("squash", `${reference} was not made from ${onto}`);
  if (image.layers.length <= base.layers.length + 1) return addedBy(image, base);
  const first = image.labels[BASE_LABEL];
  const committed = await between(options, name, [image.id, base.id], async (from, to) => {
    const places = (first && known.known(first)) || (await findPlaces(from, SANDBOX_UID));
    await carry(from, to, places);
    const [wanted, got] = await Promise.all([
      fingerprint(from, places, "digest"),
      fingerprint(to, places, "digest"),
    ]);
    if (wanted.digest !== got.digest)
      throw new EngineError("squash", `the files of ${reference} came out different`);
    const { [LINKS_LABEL]: links = "" } = image.labels;
    return checkpoints.commit(await committable(options.containers, to.id), reference, {
      pause: false,
      links,
    });
  });
  await checkpoints.removeNameless(image.id);
  return committed;
}

async function between<T>(
  options: MakerOptions,
  name: () => string,
  images: readonly [string, string],
  work: (from: Sandbox, to: Sandbox) => Promise<T>,
): Promise<T> {
  const made = await Promise.allSettled(
    images.map((image) => makeSandbox(options, name, { image, limits: LIMITS, kind: "maintenance" })),
  );
  const sandboxes = made.flatMap((one) => (one.status === "fulfilled" ? [one.value] : []));
  try {
    for (const one of made) if (one.status === "rejected") throw one.reason;
    const [from, to] = sandboxes;
    if (from === undefined || to === undefined) throw new Error("two containers were asked for");
    return await work(from, to);
  } finally {
    // One that can't be removed is tried again later, and stops nobody.
    await Promise.allSettled(sandboxes.map((sandbox) => sandbox.destroy()));
  }
}

/** What `to` has → how `from` differs → done in `to`; all at the same time, none of it kept in memory here. */
async function carry(from: Sandbox, to: Sandbox, places: readonly string[]): Promise<void> {
  const list = await tree(to, ["list", ...places], "none");
  const delta = await tree(from, ["delta", ...places], "pipe");
  const apply = await tree(to, ["apply"], "pipe");
  await Promise.all([
    pour("list", list, delta),
    pour("compare", delta, apply),
    pour("write", apply, undefined),
  ]);
}

function tree(sandbox: Sandbox, words: readonly string[], stdin: "none" | "pipe"): Promise<SandboxProcess> {
  const id = `tree.${randomBytes(8).toString("hex")}`;
  const argv = [RUNNER, "tree", ...words];
  return sandbox.start({ id, argv, cwd: "/", env: {}, stdin, deadlineMs: WORK_MS, killGraceMs: 0 });
}

/** @throws {EngineError} when `from` does not end well */
async function pour(what: string, from: SandboxProcess, into: SandboxProcess | undefined): Promise<void> {
  let complaint = "";
  for await (const { stream, offset, bytes } of from.output) {
    if (stream === "stderr") complaint = (complaint + bytes.toString("utf8")).slice(0, COMPLAINT_BYTES);
    else await into?.write(bytes);
    from.acknowledge(stream, offset + bytes.length);
  }
  const { exitCode, signal, startError, timedOut } = await from.outcome;
  into?.closeStdin();
  if (exitCode === 0) return;
  const ending = timedOut ? "took too long" : (startError ?? signal ?? `exit ${exitCode}`);
  throw new EngineError("squash", `${what}: ${complaint.trim() || ending}`);
}
