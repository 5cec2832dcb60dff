/** How a sandbox's container is made (S1, S2, S5). Pure: what is asked of the engine, and nothing else. */
import type { SandboxLimits } from "./host.ts";

/** Whom a container belongs to. Labels can't be changed once set, so the run stands in the name. */
export const OWNER_LABEL = "caisson.owner";
export const KIND_LABEL = "caisson.kind";
/** A container in which nothing of an agent's runs: it works on the files of checkpoints. */
const MAINTENANCE_KIND = "maintenance";
const SANDBOX_KIND = "sandbox";
/** An image's; a container with it was made from a checkpoint by somebody's hand. */
export const CHECKPOINT_KIND = "checkpoint";
/** The id of the image that a container, or a checkpoint, was made from in the first place. */
export const BASE_LABEL = "caisson.base";
/** Of a checkpoint image: {@link NO_LINKS} where no file has several names, so that none need be looked for. */
export const LINKS_LABEL = "caisson.links";
export const NO_LINKS = "none";
/** Which kit a container, and an image committed from it, has under `/.caisson`. */
export const KIT_LABEL = "caisson.kit";

/** Numeric, so that it needs no entry in the image's /etc/passwd. */
export const SANDBOX_UID = 10_001;
export const SANDBOX_USER = `${SANDBOX_UID}:${SANDBOX_UID}`;
export const WORKSPACE = "/workspace";
export const HOME = "/home/agent";
export const RUNNER = "/.caisson/runner";
export const BUSYBOX = "/.caisson/busybox";

const OPEN_FILES = 16_384;
/** POSIX shared memory; its pages count as the sandbox's memory. */
const SHARED_MEMORY_BYTES = 64 * 1024 * 1024;

/** The limits an engine may be unable to hold. */
export type LimitKind = "memory" | "swap" | "cpu" | "pids";

export interface ContainerRequest {
  readonly name: string;
  readonly image: string;
  readonly owner: string;
  readonly kit: string;
  readonly base: string;
  /** Absent: a sandbox. */
  readonly kind?: typeof MAINTENANCE_KIND;
  readonly limits: SandboxLimits;
  readonly seccomp: string;
  /** OCI runtime; absent: the engine's default. */
  readonly runtime?: string;
  /** Limits that this engine can't enforce: asking for them would only fail. */
  readonly unenforced: readonly string[];
}

interface LimitSettings {
  Memory?: number;
  MemorySwap?: number;
  NanoCpus?: number;
  PidsLimit?: number;
}

/** @throws {RangeError} for a limit that would be none: the engine reads zero, and worse, as unlimited */
export function checkLimits(limits: SandboxLimits): void {
  for (const name of ["memoryBytes", "cpus", "pids", "diskBytes"] as const) {
    const value = limits[name];
    const good = name === "cpus" ? Number.isFinite(value) : Number.isSafeInteger(value);
    if (!good || value <= 0) throw new RangeError(`a sandbox's ${name} must be above zero, not ${value}`);
  }
}

/** The limits that can be changed while a container runs. */
export function limitSettings(limits: SandboxLimits, unenforced: readonly string[]): LimitSettings {
  const can = (kind: LimitKind): boolean => !unenforced.includes(kind);
  return {
    ...(can("memory") && { Memory: limits.memoryBytes }),
    // Memory and swap together, so equal to memory means no swap. Always sent beside it.
    ...(can("memory") && can("swap") && { MemorySwap: limits.memoryBytes }),
    ...(can("cpu") && { NanoCpus: Math.round(limits.cpus * 1e9) }),
    ...(can("pids") && { PidsLimit: limits.pids }),
  };
}

/**
 * Agents take read permission from their own files, give them any mode, and a copy must have owner, mode and bits
 * such as set-user-id all the same. Nothing of an agent's is run with these: only the kit's tree helper.
 */
const MAINTENANCE_CAPABILITIES = ["CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID"];

export function containerOptions(request: ContainerRequest) {
  const maintenance = request.kind === MAINTENANCE_KIND;
  return {
    name: request.name,
    Image: request.image,
    Entrypoint: [RUNNER],
    Cmd: [],
    User: maintenance ? "0:0" : SANDBOX_USER,
    WorkingDir: WORKSPACE,
    Hostname: "sandbox",
    Labels: {
      [OWNER_LABEL]: request.owner,
      [KIND_LABEL]: request.kind ?? SANDBOX_KIND,
      [KIT_LABEL]: request.kit,
      [BASE_LABEL]: request.base,
    },
    Tty: false,
    OpenStdin: true,
    StdinOnce: false,
    AttachStdin: false,
    AttachStdout: false,
    AttachStderr: false,
    // Beside NetworkMode none: the engine then sets up nothing at all, and a start takes half as long.
    NetworkDisabled: true,
    Healthcheck: { Test: ["NONE"] },
    StopSignal: "SIGKILL",
    HostConfig: {
      ...limitSettings(request.limits, request.unenforced),
      ...(request.runtime !== undefined && { Runtime: request.runtime }),
      NetworkMode: "none",
      IpcMode: "private",
      PidMode: "",
      UTSMode: "",
      CgroupnsMode: "private" as const,
      CapDrop: ["ALL"],
      ...(maintenance && { CapAdd: MAINTENANCE_CAPABILITIES }),
      SecurityOpt: ["no-new-privileges", `seccomp=${request.seccomp}`],
      Privileged: false,
      ReadonlyRootfs: false,
      Init: false,
      AutoRemove: false,
      RestartPolicy: { Name: "no" },
      LogConfig: { Type: "none", Config: {} },
      ShmSize: SHARED_MEMORY_BYTES,
      Ulimits: [
        { Name: "nofile", Soft: OPEN_FILES, Hard: OPEN_FILES },
        // One file may not be larger than all files together may be.
        { Name: "fsize", Soft: request.limits.diskBytes, Hard: request.limits.diskBytes },
        { Name: "core", Soft: 0, Hard: 0 },
      ],
      Binds: [],
      Devices: [],
      // Where an engine writes these files all the same: not the host's name servers and search domains.
      Dns: ["127.0.0.1"],
      DnsSearch: ["."],
      DnsOptions: [],
    },
  };
}

/**
 * Whether a container is one that this owner's daemon made. One that somebody made by hand from a checkpoint image
 * has the image's labels, owner included, and another kind.
 */
export function isOwn(labels: Readonly<Record<string, string>> | undefined, owner: string): boolean {
  const kind = labels?.[KIND_LABEL];
  return labels?.[OWNER_LABEL] === owner && (kind === SANDBOX_KIND || kind === MAINTENANCE_KIND);
}

const NAME = /^\/?caisson-(.+)\.[0-9a-f]{12}$/;
const POOL = "pool";

/** A container's name: the run it belongs to, or the pool, and what tells it from a run's other containers. */
export function containerName(run: string | undefined, distinction: string): string {
  if (run !== undefined && (run === POOL || !/^[A-Za-z0-9][A-Za-z0-9_-]{0,127}$/.test(run))) {
    throw new RangeError(`not a run's name: ${JSON.stringify(run)}`);
  }
  return `caisson-${run ?? POOL}.${distinction}`;
}

/** The run a container's name tells; undefined for one of the pool, or a name that is none of ours. */
export function runOfName(name: string): string | undefined {
  const run = NAME.exec(name)?.[1];
  return run === POOL ? undefined : run;
}
