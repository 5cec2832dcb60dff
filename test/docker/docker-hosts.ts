import { randomUUID } from "node:crypto";
import { OWNER_LABEL } from "../../daemon/sandbox/container-options.ts";
import { createDockerHost } from "../../daemon/sandbox/docker-host.ts";
import type { DockerHostConfig } from "../../daemon/sandbox/docker-host-options.ts";
import { Engine } from "../../daemon/sandbox/engine.ts";
import type { SandboxHost } from "../../daemon/sandbox/host.ts";
import { Images } from "../../daemon/sandbox/images.ts";
import { eventually } from "../e2e/eventually.ts";

/** Hosts on the real engine for one test file, and the removal of all that they leave. */
export interface DockerHosts {
  readonly engine: Engine;
  readonly images: Images;
  /** A host of the owner named so within this file; `over`: the engine as it is to reach it. */
  host(owner: string, config?: Partial<DockerHostConfig>, over?: Engine): SandboxHost;
  /** The full owner label of a name. */
  ownerOf(owner: string): string;
  /** What the engine says of a container. */
  inspect(id: string): Promise<{ State: { Paused: boolean; Running: boolean } }>;
  /** Removes every container and checkpoint image of this file's owners; resolves to their number. */
  cleanUp(): Promise<number>;
}

export async function dockerHosts(): Promise<DockerHosts> {
  const engine = await Engine.connect();
  const images = new Images(engine);
  const file = randomUUID().slice(0, 8);
  const owners = new Set<string>();
  const quiet = (): void => undefined;
  const ownerOf = (owner: string): string => `test-${file}-${owner}`;
  return {
    engine,
    images,
    ownerOf,
    host: (owner, config = {}, over = engine) => {
      owners.add(ownerOf(owner));
      const kitPath = (): Promise<string> => images.ensureKit(quiet);
      const log = { info: quiet, warn: quiet };
      return createDockerHost({ owner: ownerOf(owner), engine: over, images, kitPath, config, log });
    },
    inspect: (id) => engine.call("test: inspect", 10_000, (docker) => docker.getContainer(id).inspect()),
    cleanUp: async () => {
      let left = 0;
      for (const owner of owners) {
        const label = `${OWNER_LABEL}=${owner}`;
        left += (await removeAll(engine, label)) + (await removeImages(engine, label));
      }
      return left;
    },
  };
}

/** Untagged ones come to light when what was made from them is gone. */
async function removeImages(engine: Engine, label: string): Promise<number> {
  const filters = JSON.stringify({ label: [label] });
  const seen = new Set<string>();
  for (;;) {
    const left = await engine.call("test: list images", 30_000, (docker) => docker.listImages({ filters }));
    if (left.length === 0) return seen.size;
    for (const { Id, RepoTags } of left) {
      seen.add(Id);
      const names = (RepoTags ?? []).filter((name) => name !== "<none>:<none>");
      for (const name of names.length === 0 ? [Id] : names) {
        await engine.call("test: remove image", 60_000, (docker) =>
          docker.getImage(name).remove({ force: true }),
        );
      }
    }
  }
}

/** @returns how many there were. One that is being removed already is waited for. */
async function removeAll(engine: Engine, label: string): Promise<number> {
  const list = () =>
    engine.call("test: list", 10_000, (docker) =>
      docker.listContainers({ all: true, filters: { label: [label] } }),
    );
  let found = 0;
  await eventually("the containers are gone", async () => {
    const left = await list();
    found = Math.max(found, left.length);
    const removals = left.map(({ Id }) =>
      engine.call("test: remove", 30_000, (docker) =>
        docker.getContainer(Id).remove({ force: true, v: true }),
      ),
    );
    await Promise.allSettled(removals);
    return left.length === 0;
  });
  return found;
}
