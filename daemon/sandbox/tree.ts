/** A sandbox's files as a whole, looked at by the runner's tree helper. */
import { randomBytes } from "node:crypto";
import { type Answered, ask } from "./ask.ts";
import { BUSYBOX, RUNNER } from "./container-options.ts";
import type { Starter } from "./put-tar.ts";

/** Milliseconds. 30,000 files take some 50, a million a few seconds. */
const WALK_MS = 60_000;
/** Copies up to 512 MiB. */
const RELINK_MS = 120_000;
const VOLATILE_MS = 10_000;
const ANSWER_BYTES = 256 * 1024;
const DIGEST = /^([0-9a-f]{32}) (\d+)\n$/;
/** Where everything is looked at, since places could not be told. */
const EVERYWHERE: readonly string[] = ["/"];
/** Images whose places are remembered. */
const KNOWN_MAX = 64;

/**
 * Where the sandbox's user can change anything, by the image that a sandbox was first made from: what belongs to
 * others stays as the image has it, in every container and checkpoint made from it.
 */
export class Places {
  readonly #known = new Map<string, readonly string[]>();

  /**
   * Looks once for each image. Only before anything of an agent's runs in the sandbox: a command could answer in
   * the helper's stead, and other runs rely on what is learned (S4).
   */
  async learn(base: string, sandbox: Starter): Promise<readonly string[]> {
    const known = this.#known.get(base);
    if (known !== undefined) return known;
    const places = await findPlaces(sandbox);
    const [oldest] = this.#known.keys();
    if (this.#known.size >= KNOWN_MAX && oldest !== undefined) this.#known.delete(oldest);
    this.#known.set(base, places);
    return places;
  }

  known(base: string): readonly string[] | undefined {
    return this.#known.get(base);
  }
}

/**
 * In a sandbox where commands have run: good for that one alone.
 * @param uid whose places, where that is not the one who asks
 */
export async function findPlaces(sandbox: Starter, uid?: number): Promise<readonly string[]> {
  const words = uid === undefined ? ["places"] : ["places", String(uid)];
  const { answer } = await tree(sandbox, words, WALK_MS);
  const places = (answer ?? "").split("\0").slice(0, -1);
  const told = places.length > 0 && places.every((path) => path.startsWith("/") && !path.includes("\uFFFD"));
  return told ? places : EVERYWHERE;
}

export interface Fingerprint {
  readonly digest: string;
  /** Names met of files that have several; of an image's own files, in folders where nothing changed, none are. */
  readonly linked: number;
}

/**
 * `digest` tells only what an image carries from one container to another.
 * @throws {Error} when the files could not be looked at as a whole
 */
export async function fingerprint(
  sandbox: Starter,
  places: readonly string[],
  kind: "fingerprint" | "digest" = "fingerprint",
): Promise<Fingerprint> {
  const { answer, complaint } = await tree(sandbox, [kind, ...places], WALK_MS);
  const [, digest, linked] = DIGEST.exec(answer ?? "") ?? [];
  if (digest !== undefined) return { digest, linked: Number(linked) };
  throw new Error(`the sandbox's files could not be looked at: ${complaint}`);
}

export interface Relinked {
  /** Names that are links again. */
  readonly names: number;
  /** Names that are not: too many, too large, or in somebody else's folder. */
  readonly left: number;
}

/** Makes hard links whole again in a container made from a checkpoint. @throws {Error} when it could not look */
export async function relink(sandbox: Starter, places: readonly string[]): Promise<Relinked> {
  const { answer, complaint } = await tree(sandbox, ["relink", ...places], RELINK_MS);
  const [, names, left] = /^(\d+) (\d+)\n$/.exec(answer ?? "") ?? [];
  if (names === undefined) throw new Error(`hard links could not be looked for: ${complaint}`);
  return { names: Number(names), left: Number(left) };
}

/** @throws {Error} when it could not look */
export async function volatileFiles(sandbox: Starter): Promise<readonly string[]> {
  const { answer, complaint } = await tree(sandbox, ["volatile"], VOLATILE_MS);
  if (answer === undefined) throw new Error(`files in memory could not be looked for: ${complaint}`);
  return answer.split("\0").slice(0, -1);
}

/** Bytes of the disk that the files in these places take now; undefined when it can't be told. */
export async function visibleBytes(sandbox: Starter, places: readonly string[]): Promise<number | undefined> {
  const id = `tree.${randomBytes(8).toString("hex")}`;
  const argv = [BUSYBOX, "du", "-s", "-x", "-k", ...places];
  const { answer } = await ask(sandbox, { id, argv, deadlineMs: WALK_MS, answerBytes: ANSWER_BYTES });
  const sizes = answer?.matchAll(/^(\d{1,12})\t/gm);
  return sizes && [...sizes].reduce((sum, [, kibibytes]) => sum + Number(kibibytes) * 1024, 0);
}

function tree(sandbox: Starter, words: readonly string[], deadlineMs: number): Promise<Answered> {
  const id = `tree.${randomBytes(8).toString("hex")}`;
  const argv = [RUNNER, "tree", ...words];
  return ask(sandbox, { id, argv, deadlineMs, answerBytes: ANSWER_BYTES });
}
