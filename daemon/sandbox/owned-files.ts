/** Files written and read by the engine, as root, with the owners they have: never where an agent can lead it astray. */
import { posix } from "node:path";
import { Readable } from "node:stream";
import type { Containers } from "./containers.ts";
import { OwnedFilesRefused, type ProcessStatus } from "./host.ts";

/** The daemon's own processes in a sandbox. */
const OWN_PROCESS = /^(house|tar|disk|tree)\./;

/** Ids of processes of actions, those of people too, that are alive or have left others alive. */
export function agentsProcesses(all: readonly ProcessStatus[]): readonly string[] {
  const alive = all.filter((one) => one.state === "running" || one.alive > 0);
  return alive.map(({ id }) => id).filter((id) => !OWN_PROCESS.test(id));
}

interface Target {
  readonly containers: Pick<Containers, "putArchive" | "isSymlink">;
  readonly id: string;
  processes(): Promise<readonly ProcessStatus[]>;
}

/**
 * As {@link Sandbox.putOwned}.
 * @throws {OwnedFilesRefused} @throws {EngineError} @throws what `tar` throws; what was written by then stays
 */
export async function putOwned(
  { containers, id, processes }: Target,
  folder: string,
  tar: AsyncIterable<Uint8Array>,
): Promise<void> {
  const running = agentsProcesses(await processes());
  if (running.length > 0)
    throw new OwnedFilesRefused(
      `files are not put below ${folder} as root while processes run: ${running.join(", ")}`,
    );
  await refuseSymlinks(containers, id, folder);
  const source = Readable.from(tar, { objectMode: false });
  let broken: unknown;
  source.once("error", (error) => {
    broken = error;
  });
  try {
    await containers.putArchive(id, folder, source);
  } catch (error) {
    // What ends the request is only the engine's word for it.
    throw broken ?? error;
  } finally {
    source.destroy();
  }
}

/** @throws {OwnedFilesRefused} when a part of the path is a symlink, or not there */
async function refuseSymlinks(
  containers: Pick<Containers, "isSymlink">,
  id: string,
  path: string,
): Promise<void> {
  if (!path.startsWith("/") || posix.normalize(path) !== path)
    throw new OwnedFilesRefused(`not an absolute path in its plain form: ${path}`);
  const parts = path.split("/").filter((part) => part !== "");
  for (let depth = 1; depth <= parts.length; depth += 1) {
    const place = `/${parts.slice(0, depth).join("/")}`;
    const symlink = await containers.isSymlink(id, place);
    if (symlink === undefined) throw new OwnedFilesRefused(`nothing is at ${place}`);
    if (symlink) throw new OwnedFilesRefused(`${place} is a symlink`);
  }
}
