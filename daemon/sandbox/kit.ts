/**
 * The kit: the static programs put into every sandbox at creation (`/.caisson/runner`, `bash`, `busybox`),
 * as a tar file ready for the engine's archive upload.
 */
import { createWriteStream } from "node:fs";
import { mkdir, rename, rm } from "node:fs/promises";
import { dirname } from "node:path";
import { pipeline } from "node:stream/promises";
import { type Engine, statusOf } from "./engine.ts";

const CREATE_MS = 30_000;
const COPY_MS = 120_000;

/** Copies `/.caisson` out of the kit's image into `path`, which appears whole or not at all. */
export async function writeKit(engine: Engine, image: string, path: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  const partial = `${path}.${process.pid}.partial`;
  // Never started: a container is merely the engine's way to a file in an image.
  const container = await engine.call("create kit container", CREATE_MS, (docker, abortSignal) =>
    docker.createContainer({
      Image: image,
      Cmd: ["/.caisson/runner"],
      Labels: { "caisson.owner": "set-up" },
      abortSignal,
    }),
  );
  try {
    await engine.call("copy kit", COPY_MS, async (_docker, signal) => {
      const archive = await container.getArchive({ path: "/.caisson", abortSignal: signal });
      await pipeline(archive, createWriteStream(partial), { signal });
    });
    await rename(partial, path);
  } finally {
    await rm(partial, { force: true });
    await engine
      .call("remove kit container", CREATE_MS, (_docker, abortSignal) =>
        container.remove({ force: true, abortSignal }),
      )
      .catch((error: unknown) => {
        if (statusOf(error) !== 404) throw error;
      });
  }
}
