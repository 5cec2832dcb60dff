import { Authorities } from "./authorities.ts";
import { createGateway } from "./gateway/gateway.ts";
import { readRegistries, registryAddresses, registryAt, registryUrls } from "./gateway/registries.ts";
import type { Log } from "./harness/dependencies.ts";
import type { KnownRegistries, Outside } from "./harness/egress/outside.ts";

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
  const read = async (): Promise<KnownRegistries> => {
    const found = await readRegistries(env);
    for (const problem of found.problems)
      log.warn({ problem }, "rules of a package registry match nothing on this machine");
    return {
      at: (at) => registryAt(found, at),
      addresses: (at) => registryAddresses(found, at),
      urls: registryUrls(found),
    };
  };
  return {
    serve: (connection, keeper) => gateway.serve(connection, keeper),
    registries: () => {
      registries ??= read();
      return registries;
    },
    authorityOf: (run) => authorities.of(run),
    close: () => gateway.close(),
  };
}
