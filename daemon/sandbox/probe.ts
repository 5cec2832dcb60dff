/** What an engine is, and which of a sandbox's limits it can't hold. */
import { type Engine, statusOf } from "./engine.ts";
import { EngineError, EngineUnreachable, type HostFacts } from "./host.ts";

const PROBE_MS = 10_000;

/** The engine's own word on what its kernel and control groups can do. */
export interface EngineAbilities {
  readonly MemoryLimit?: boolean;
  readonly SwapLimit?: boolean;
  readonly CpuCfsQuota?: boolean;
  readonly PidsLimit?: boolean;
  readonly SecurityOptions?: readonly string[] | null;
  readonly DockerRootDir?: string;
}

/** Names of what can't be enforced: limits by kind, and `"seccomp"`. Silence of the engine counts as inability. */
export function unenforcedBy(abilities: EngineAbilities): string[] {
  const seccomp = abilities.SecurityOptions?.some((option) => /^name=seccomp(,|$)/.test(option)) ?? false;
  const held: Readonly<Record<string, boolean>> = {
    memory: abilities.MemoryLimit === true,
    swap: abilities.SwapLimit === true,
    cpu: abilities.CpuCfsQuota === true,
    pids: abilities.PidsLimit === true,
    seccomp,
  };
  return Object.keys(held).filter((name) => held[name] !== true);
}

/** @throws {EngineUnreachable} when the engine does not answer within 10 s */
export async function probeEngine(engine: Engine): Promise<HostFacts> {
  try {
    const info: EngineAbilities = await engine.call("probe", PROBE_MS, (docker) => docker.info());
    const { version, apiVersion } = engine.info;
    const { DockerRootDir: dataFolder } = info;
    return {
      engineVersion: version,
      apiVersion,
      unenforced: unenforcedBy(info),
      ...(dataFolder !== undefined && { dataFolder }),
    };
  } catch (error) {
    if (error instanceof EngineError && statusOf(error) === undefined) {
      throw new EngineUnreachable(error.message, { cause: error });
    }
    throw error;
  }
}
