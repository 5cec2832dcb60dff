import { performance } from "node:perf_hooks";
import { Authorities } from "./authorities.ts";
import { createGateway } from "./gateway/gateway.ts";
import { readRegistries, registryAddresses, registryAt, registryUrls } from "./gateway/registries.ts";
import type { Log } from "./harness/dependencies.ts";
import type { KnownRegistries, Outside } from "./harness/egress/outside.ts";

/** A client that failed may just have been slow: a run that comes later asks it again. */
const ASK_AGAIN_MS = 60_000;

export interface OutsideOptions {
  readonly home: string;
  readonly env: NodeJS.ProcessEnv;
  readonly log: Log;
}

/** The daemon's gateway, its runs' authorities, and the registries of this machine's clients. */
export function createOutside({ home, env, log }: OutsideOptions): Outside & { close(): void } {
  const gateway = createGateway();
  const authorities = new Authorities(home);
  let registries: Promise<KnownRegistries> | undefined;
  let askAgainAt = Number.POSITIVE_INFINITY;
  const read = async (): Promise<KnownRegistries> => {
    const found = await readRegistries(env);
    for (const problem of found.problems)
      log.warn({ problem }, "rules of a package registry match nothing on this machine");
    if (found.problems.length > 0) askAgainAt = performance.now() + ASK_AGAIN_MS;
    return {
      at: (at) => registryAt(found, at),
      addresses: (at) => registryAddresses(found, at),
      urls: registryUrls(found),
    };
  };
  return {
    serve: (connection, keeper) => gateway.serve(connection, keeper),
    registries: () => {
      if (registries === undefined || performance.now() > askAgainAt) {
        askAgainAt = Number.POSITIVE_INFINITY;
        registries = read();
      }
      return registries;
    },
    authorityOf: (run) => authorities.of(run),
    close: () => gateway.close(),
  };
}
