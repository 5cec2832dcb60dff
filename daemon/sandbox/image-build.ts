/** Building, importing and looking up images through the engine, each step within a deadline (S6). */
import { createReadStream } from "node:fs";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { Readable } from "node:stream";
import { stripVTControlCharacters } from "node:util";
import { type Headers, pack } from "tar-fs";
import { type Engine, type EngineWork, statusOf } from "./engine.ts";
import { EngineError } from "./host.ts";
import type { ContextFile } from "./image-folder.ts";

/** Hears one plain line a step. */
export type OnProgress = (line: string) => void;

const LOOKUP_MS = 10_000;
const REMOVE_MS = 60_000;
const BUILD_MS = 20 * 60_000;
const IMPORT_MS = 5 * 60_000;
/** How much of a failed build's output the error shows. */
const SHOWN_LINES = 20;
/** Variables that Docker passes to build steps without keeping them in the image. */
const PROXY_VARIABLES = ["http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"];

export interface ImageBuild {
  readonly tag: string;
  readonly dockerfile: string;
  readonly files: readonly ContextFile[];
  readonly labels: Readonly<Record<string, string>>;
  /** Whether build steps get a network; what needs none is built also where the engine has none to give. */
  readonly network: boolean;
}

/** What the engine knows of an image; undefined when it has none of that name. */
export async function inspectImage(
  engine: Engine,
  reference: string,
): Promise<{ id: string; bytes: number } | undefined> {
  try {
    const found = await engine.call(
      "inspect image",
      LOOKUP_MS,
      (docker) => docker.getImage(reference).inspect(),
      reference,
    );
    return { id: found.Id, bytes: found.Size };
  } catch (error) {
    if (statusOf(error) === 404) return undefined;
    throw error;
  }
}

/**
 * Builds an image; `onProgress` hears the name of every step.
 * @throws {EngineError} with the last lines of output when a step fails
 */
export async function buildImage(engine: Engine, build: ImageBuild, onProgress: OnProgress): Promise<void> {
  const name = `build image ${build.tag}`;
  const options = {
    t: build.tag,
    dockerfile: "Dockerfile",
    labels: { ...build.labels },
    buildargs: proxyArguments(process.env),
    rm: true,
    forcerm: true,
    ...(build.network ? {} : { networkmode: "none" }),
  };
  await withContext(build, (archive) =>
    engine.call(
      "build image",
      BUILD_MS,
      async (docker, abortSignal) => {
        const output = await docker.buildImage(archive, { ...options, abortSignal });
        await follow(name, output, (line) => {
          if (/^Step \d/.test(line)) onProgress(`${build.tag}: ${shorten(line)}`);
        });
      },
      build.tag,
    ),
  );
}

/**
 * Removes what earlier stages of multi-stage builds left behind: unnamed images with one of our stage labels.
 * One that is in use stays.
 */
export async function removeStages(engine: Engine, label: string): Promise<void> {
  const filters = JSON.stringify({ dangling: ["true"], label: [label] });
  const found = await engine.call("list build stages", LOOKUP_MS, (docker, abortSignal) =>
    docker.listImages({ filters, abortSignal }),
  );
  for (const image of found) {
    await engine
      .call("remove build stage", REMOVE_MS, (docker, abortSignal) =>
        docker.getImage(image.Id).remove({ abortSignal }),
      )
      .catch((error: unknown) => {
        if (statusOf(error) === undefined) throw error;
      });
  }
}

/** Imports a root file system, a tar file on disk, as an image of one layer. */
export async function importImage(
  engine: Engine,
  tarFile: string,
  repository: string,
  tag: string,
): Promise<void> {
  const subject = `${repository}:${tag}`;
  const work: EngineWork<void> = async (docker) => {
    const output = await docker.importImage(createReadStream(tarFile), { repo: repository, tag });
    await follow(`import image ${subject}`, output as Readable, () => undefined);
  };
  await engine.call("import image", IMPORT_MS, work, subject);
}

/** Pulls a public image within `deadlineMs`. @throws {EngineError} when it can't be had */
export async function pullImage(engine: Engine, reference: string, deadlineMs: number): Promise<void> {
  const work: EngineWork<void> = async (docker, abortSignal) => {
    const output = await docker.pull(reference, { abortSignal });
    abortSignal.addEventListener("abort", () => dispose(output));
    await follow(`pull image ${reference}`, output as Readable, () => undefined);
  };
  await engine.call("pull image", deadlineMs, work, reference);
}

function dispose(stream: NodeJS.ReadableStream): void {
  if ("destroy" in stream && typeof stream.destroy === "function") stream.destroy();
}

export async function tagImage(
  engine: Engine,
  reference: string,
  repository: string,
  tag: string,
): Promise<void> {
  const work: EngineWork<void> = (docker, abortSignal) =>
    docker.getImage(reference).tag({ repo: repository, tag, abortSignal });
  await engine.call("tag image", LOOKUP_MS, work, reference);
}

/** Takes a name away from an image and keeps what is built upon it. */
export async function untagImage(engine: Engine, reference: string): Promise<void> {
  const work: EngineWork<void> = (docker, abortSignal) =>
    docker.getImage(reference).remove({ noprune: true, abortSignal });
  await engine.call("untag image", LOOKUP_MS, work, reference);
}

/** A step's text on one line of a usual terminal. */
function shorten(line: string): string {
  const text = line.replace(/\s+/g, " ");
  return text.length > 80 ? `${text.slice(0, 79)}…` : text;
}

/** Lays the context out in a folder of its own, hands its archive to `use`, and removes the folder. */
async function withContext<T>(build: ImageBuild, use: (archive: Readable) => Promise<T>): Promise<T> {
  const folder = await mkdtemp(join(tmpdir(), "caisson-context-"));
  try {
    await writeFile(join(folder, "Dockerfile"), build.dockerfile);
    for (const file of build.files) {
      await mkdir(dirname(join(folder, file.path)), { recursive: true });
      await writeFile(join(folder, file.path), file.bytes, { mode: file.executable ? 0o755 : 0o644 });
    }
    return await use(Readable.from(pack(folder, { map: settled }), { objectMode: false }));
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** Fixed times, owners and modes: the engine's own build cache then sees the same content as we do. */
function settled(header: Headers): Headers {
  const mode = header.type === "directory" || ((header.mode ?? 0) & 0o100) !== 0 ? 0o755 : 0o644;
  return { ...header, mode, mtime: new Date(0), uid: 0, gid: 0 };
}

function proxyArguments(env: NodeJS.ProcessEnv): Record<string, string> {
  const given = PROXY_VARIABLES.map((name) => [name, env[name]] as const);
  return Object.fromEntries(given.filter((pair): pair is [string, string] => Boolean(pair[1])));
}

/** Reads the engine's progress, one JSON object a line, to its end; an `error` object is a failure. */
async function follow(name: string, output: NodeJS.ReadableStream, onLine: OnProgress): Promise<void> {
  const shown: string[] = [];
  for await (const line of lines(output)) {
    const { stream, error } = parseProgress(line);
    if (error !== undefined) throw new EngineError(name, [error, ...shown].join("\n    "));
    for (const text of stripVTControlCharacters(stream ?? "").split(/[\r\n]+/)) {
      if (text.trim() === "") continue;
      shown.push(text);
      if (shown.length > SHOWN_LINES) shown.shift();
      onLine(text);
    }
  }
}

async function* lines(output: NodeJS.ReadableStream): AsyncGenerator<string> {
  let rest = "";
  for await (const chunk of output) {
    const parts = (rest + chunk.toString()).split("\n");
    rest = parts.pop() ?? "";
    yield* parts;
  }
  yield rest;
}

function parseProgress(line: string): { stream?: string; error?: string } {
  if (line.trim() === "") return {};
  try {
    const value: unknown = JSON.parse(line);
    if (typeof value !== "object" || value === null) return {};
    const text = (key: string): Record<string, string> => {
      const field: unknown = Reflect.get(value, key);
      return typeof field === "string" ? { [key]: field } : {};
    };
    return { ...text("stream"), ...text("error") };
  } catch {
    return {};
  }
}
