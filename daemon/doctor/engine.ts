import { release } from "node:os";
import type { Config } from "../config.ts";
import { Engine } from "../sandbox/engine.ts";
import { EngineError } from "../sandbox/host.ts";
import { type EngineAbilities, unenforcedBy } from "../sandbox/probe.ts";
import { checkpointsFinding } from "./checkpoints.ts";
import { broken, type Finding, ok, reasonOf, warning } from "./finding.ts";
import { imageFindings } from "./images.ts";
import { ENGINE_NEEDS, roomFinding } from "./room.ts";

const PROBE_MS = 10_000;
/** Larger differences between the two clocks are told, in milliseconds. */
const SKEW_MS = 5_000;
const GOOD_DRIVERS = new Set(["overlay2", "overlayfs", "fuse-overlayfs", "btrfs", "zfs", "stargz"]);
/** Landlock came with this kernel. */
const LANDLOCK_KERNEL = [5, 13] as const;

/** What of `GET /info` is looked at. */
interface EngineInfo extends EngineAbilities {
  readonly Driver?: string;
  readonly CgroupDriver?: string;
  readonly CgroupVersion?: string;
  readonly KernelVersion?: string;
  readonly OSType?: string;
  readonly SystemTime?: string;
  readonly DockerRootDir?: string;
}

export interface EngineFindings {
  readonly reachable: boolean;
  readonly findings: readonly Finding[];
}

export async function engineFindings(config: Config | undefined): Promise<EngineFindings> {
  let engine: Engine;
  let info: EngineInfo;
  let aheadMs: number | undefined;
  try {
    engine = await Engine.connect();
    const asked = Date.now();
    info = await engine.call("probe", PROBE_MS, (docker) => docker.info());
    aheadMs = ahead(info.SystemTime, (asked + Date.now()) / 2);
  } catch (error) {
    return { reachable: error instanceof EngineError, findings: [connectionFinding(error)] };
  }
  return {
    reachable: true,
    findings: [
      versionFinding(engine, info),
      limitsFinding(unenforcedBy(info), config?.acceptUnenforced ?? []),
      storageFinding(info),
      controlFinding(info),
      kernelFinding(info),
      ...(aheadMs === undefined ? [] : [engineClockFinding(aheadMs)]),
      ...(await engineRoomFindings(info)),
      ...(await imageFindings(engine)),
      ...(config ? await checkpointsFinding(engine, config) : []),
    ],
  };
}

/** How many milliseconds the engine's clock is ahead of ours. */
function ahead(time: string | undefined, now: number): number | undefined {
  const theirs = Date.parse(time ?? "");
  return Number.isNaN(theirs) ? undefined : theirs - now;
}

function connectionFinding(error: unknown): Finding {
  const detail = reasonOf(error);
  if (error instanceof EngineError)
    return broken("engine", detail, "Update it: Docker Engine 20.10 or newer (API 1.41).");
  const remedy = /EACCES|permission denied/i.test(detail)
    ? "Add yourself to the group docker (`sudo usermod -aG docker $USER`) and log in again."
    : process.env.DOCKER_HOST
      ? `DOCKER_HOST is ${process.env.DOCKER_HOST}: start the engine there, or unset it to use the usual sockets.`
      : "Install and start a Docker engine (20.10 or newer), or set DOCKER_HOST to where one listens.";
  return broken("engine", detail, remedy);
}

function versionFinding({ info }: Engine, { OSType }: EngineInfo): Finding {
  const check = "engine";
  if (OSType !== undefined && OSType !== "linux")
    return broken(check, `it runs ${OSType} containers`, "Switch it to Linux containers.");
  return ok(check, `Docker ${info.version}, API ${info.apiVersion}, ${info.architecture}`);
}

function limitsFinding(unenforced: readonly string[], accepted: readonly string[]): Finding {
  const check = "limits";
  if (unenforced.length === 0) return ok(check, "the engine holds every limit, and seccomp");
  const refused = unenforced.filter((limit) => !accepted.includes(limit));
  return refused.length === 0
    ? warning(
        check,
        `not held by this engine, accepted by you: ${unenforced.join(", ")}`,
        "Take what it can hold meanwhile out of daemon.acceptUnenforced.",
      )
    : broken(
        check,
        `this engine can't hold: ${refused.join(", ")}`,
        `Use another engine, or accept it in config.yaml: daemon: { acceptUnenforced: [${unenforced.join(", ")}] }`,
      );
}

function storageFinding({ Driver = "unknown" }: EngineInfo): Finding {
  return GOOD_DRIVERS.has(Driver)
    ? ok("storage", Driver)
    : warning(
        "storage",
        `the storage driver is ${Driver}`,
        "Each sandbox may be a whole copy of its image, slow and large. Use overlay2 (`storage-driver` in the engine's daemon.json).",
      );
}

function controlFinding({
  CgroupVersion = "1",
  CgroupDriver = "unknown",
  SecurityOptions,
}: EngineInfo): Finding {
  const rootless = SecurityOptions?.some((option) => /^name=rootless(,|$)/.test(option)) ?? false;
  const detail = `control groups v${CgroupVersion} (${CgroupDriver}), ${rootless ? "rootless" : "as root"}`;
  if (CgroupDriver === "none" || (rootless && CgroupVersion === "1"))
    return warning(
      "control groups",
      `${detail}: limits can't hold`,
      "Start the machine with control groups v2 and delegate them to your user, or use an engine that runs as root.",
    );
  return ok("control groups", detail);
}

function kernelFinding({ KernelVersion = "" }: EngineInfo): Finding {
  const check = "kernel";
  const [major = 0, minor = 0] = KernelVersion.split(/[.-]/).map(Number);
  const [needMajor, needMinor] = LANDLOCK_KERNEL;
  const landlock = major > needMajor || (major === needMajor && minor >= needMinor);
  return landlock
    ? ok(check, `${KernelVersion}, new enough for Landlock`)
    : warning(
        check,
        `${KernelVersion || "unknown"} has no Landlock`,
        `Commands are not confined to the files that a policy names; its file tools are. Use a kernel from ${needMajor}.${needMinor}.`,
      );
}

function engineClockFinding(aheadMs: number): Finding {
  const check = "engine's clock";
  const seconds = Math.abs(aheadMs / 1000).toFixed(1);
  return Math.abs(aheadMs) <= SKEW_MS
    ? ok(check, `within ${seconds} s of this machine's`)
    : warning(
        check,
        `${seconds} s ${aheadMs > 0 ? "ahead of" : "behind"} this machine's`,
        "Times inside sandboxes differ from the journal's. Set both clocks (NTP); a virtual machine's drifts while the computer sleeps: restart it.",
      );
}

/** Only of an engine on this kernel: elsewhere the folder's name means another disk. */
async function engineRoomFindings({ KernelVersion, DockerRootDir }: EngineInfo): Promise<Finding[]> {
  if (KernelVersion !== release() || DockerRootDir === undefined) return [];
  const remedy =
    "Make room where the engine keeps images: `docker system df` shows what takes it, `caisson rm RUN` gives back a run's.";
  return [await roomFinding("engine's disk", DockerRootDir, ENGINE_NEEDS, remedy)];
}
