/**
 * The SandboxHost port: what the rest of the daemon knows of sandboxes.
 *
 * - A *sandbox* is a run's container. It is disposable: losing it is an ordinary event, reported as
 *   {@link SandboxLost}, never the end of a run by itself.
 * - The *runner* is PID 1 in every sandbox. It starts processes, keeps their outcomes and their
 *   unacknowledged output, and so lets a daemon that died come back and ask.
 * - A *lease* is the tie between a sandbox and its owner (one daemon home) and run, kept in labels; the
 *   reconciler compares leases with the journals (S5).
 * - A *checkpoint* is a sandbox image tied to a journal `seq`.
 */

import type { Duplex } from "node:stream";
import type { CheckpointImage, CheckpointLayer, CommittedImage } from "./checkpoints.ts";

/** What a process may use. Bytes, counts and milliseconds; hard limits, set before `exec` (S2). */
export interface ProcessLimits {
  readonly openFiles?: number;
  readonly fileSizeBytes?: number;
}

/**
 * Absolute paths below which the kernel lets a process, and all that it starts, read (list and execute too) and write
 * (make, remove and rename too); a path that is not there gives nothing. What is read and written stands in both.
 */
export interface Confinement {
  readonly read: readonly string[];
  readonly write: readonly string[];
  /** Those of them that may lead over symlinks: paths that no command can put one at. Of all others it gives nothing. */
  readonly follow?: readonly string[];
}

/**
 * One process to start in a sandbox. `id` is chosen by the caller and unique in the sandbox's life:
 * starting an id again never runs it twice.
 */
export interface ProcessSpec {
  /** 1 to 64 characters of `[A-Za-z0-9._:-]`. */
  readonly id: string;
  /** `argv[0]` is looked up in `PATH` of `env` when it holds no slash. At least one word. */
  readonly argv: readonly string[];
  /** Absolute path inside the sandbox. */
  readonly cwd: string;
  /** The whole environment; nothing is inherited. */
  readonly env: Readonly<Record<string, string>>;
  readonly limits?: ProcessLimits;
  /** `"none"` reads as `/dev/null`. */
  readonly stdin: "none" | "pipe";
  /** Bytes offered to the process on an inherited descriptor (a sealed memfd), so that no text stands in argv. */
  readonly inputFd?: { readonly fd: number; readonly bytes: Uint8Array };
  /**
   * A second memfd the process may write. After the leader's exit, and only if its content ends in
   * `endsWith`, the runner moves the content to `path` atomically; the outcome says whether it did.
   */
  readonly stateFd?: { readonly fd: number; readonly path: string; readonly endsWith: string };
  /** Absent: not confined. A kernel without Landlock ends it in a start error, it never runs unconfined. */
  readonly landlock?: Confinement;
  /** Milliseconds from start until TERM to the whole tree; then `killGraceMs` until KILL. */
  readonly deadlineMs?: number;
  readonly killGraceMs?: number;
}

export type Signal = "SIGINT" | "SIGTERM" | "SIGKILL" | "SIGHUP" | "SIGQUIT" | "SIGSTOP" | "SIGCONT";

/** How a process ended. Exactly one of `exitCode`, `signal` and `startError` is present. */
export interface ProcessOutcome {
  readonly exitCode?: number;
  /** Signal name, e.g. `"SIGKILL"`. */
  readonly signal?: string;
  /** The process never ran: errno name and stage, e.g. `"ENOENT exec"`. */
  readonly startError?: string;
  readonly timedOut: boolean;
  /** The command killed the process that watched over it; so everything of the action was killed. */
  readonly supervisionLost?: true;
  /** Whether `stateFd` was saved; false too when none was asked for. */
  readonly stateSaved: boolean;
  /** Wall time in milliseconds, as the runner measured it. */
  readonly durationMs: number;
  readonly maxRssBytes: number;
  readonly cpuMs: number;
  /** Total bytes the process wrote, per stream, until its leader ended. */
  readonly stdoutBytes: number;
  readonly stderrBytes: number;
  /** Descendants still alive when the leader ended; they stay listed as background processes. */
  readonly leftRunning: number;
}

/** A piece of output; `offset` counts bytes of that stream from 0. */
export interface OutputChunk {
  readonly stream: "stdout" | "stderr";
  readonly offset: number;
  readonly bytes: Buffer;
}

/**
 * A started process. `output` yields both streams' chunks in order of arrival, each stream's bytes without
 * repetition, without gap but for {@link keepTail}, and ends when the leader has ended and what it wrote has been read. Nothing is
 * acknowledged to the runner until {@link acknowledge} is called, so that a consumer can store bytes first;
 * the runner blocks the process when a window (256 KiB a stream) is unacknowledged.
 */
export interface SandboxProcess {
  readonly id: string;
  readonly output: AsyncIterable<OutputChunk>;
  /** All bytes of `stream` below `offset` are stored: the runner may drop them and send more. */
  acknowledge(stream: "stdout" | "stderr", offset: number): void;
  /**
   * Of what the process writes from now on only the end is wanted (at most a window a stream), once it has ended:
   * it never blocks again, and what is between shows as a gap in the offsets.
   */
  keepTail(): void;
  /** Resolves once per outcome; rejects with {@link SandboxLost} when the sandbox is gone. */
  readonly outcome: Promise<ProcessOutcome>;
  /** Writes to standard input, resolving when the runner has taken the bytes (credit). */
  write(bytes: Uint8Array): Promise<void>;
  closeStdin(): void;
  /** To the leader's process group, or to the whole tree of descendants, daemonised ones included. */
  signal(signal: Signal, scope: "group" | "tree"): void;
}

/** What the runner remembers of a process id. */
export type ProcessStatus =
  | { readonly id: string; readonly state: "running" }
  /** The leader has ended; `alive` descendants still run. */
  | {
      readonly id: string;
      readonly state: "ended";
      readonly outcome: ProcessOutcome;
      readonly alive: number;
    };

export interface Sandbox {
  /** The engine's container id. */
  readonly id: string;
  readonly runnerVersion: string;
  /**
   * What the runner reported: the kernel's Landlock version (0: absent), and the port on the sandbox's 127.0.0.1 that
   * leads to {@link onConnection} (0: none, as in a sandbox of an earlier version, or where the port was taken).
   */
  readonly facts: { readonly landlock: number; readonly proxyPort: number };
  /** The image's environment, plus HOME and USER of the sandbox's user: what commands start from. */
  readonly env: Readonly<Record<string, string>>;
  /**
   * Starts a process. If the runner already knows the id, nothing runs anew: the returned handle
   * is that of the known process, its output from the first unacknowledged byte.
   */
  start(spec: ProcessSpec): Promise<SandboxProcess>;
  /**
   * Takes up a process of an earlier daemon. `from` are the offsets up to which output is stored already.
   * Resolves to undefined if the runner does not know the id: then it never started.
   */
  resume(id: string, from: { stdout: number; stderr: number }): Promise<SandboxProcess | undefined>;
  /** Every process the runner remembers, at most a bounded number of ended ones (the newest). */
  processes(): Promise<readonly ProcessStatus[]>;
  /** Lets the runner drop an ended process's outcome and output. */
  forget(id: string): void;
  /**
   * Gives every connection that commands make to the sandbox's proxy port from now on to `accept`, as a stream with
   * backpressure both ways: at most 256 KiB each way wait for a side that does not read. Either side may end first;
   * destroying it before both have ended, and the end of the channel, resets it. Without a handler, and beyond 64 at
   * once, connections are reset as they are made. After a re-attachment those of before are gone.
   */
  onConnection(accept: (connection: Duplex) => void): void;
  /** Extracts a tar stream below an absolute folder, as the sandbox's user. */
  putTar(folder: string, tar: AsyncIterable<Uint8Array>): Promise<void>;
  /**
   * Extracts a tar stream below an absolute folder, by the engine, with the owners and modes that it names. Only while
   * nothing of an agent's runs: the engine writes as root and follows symlinks, which agents could lay in its way.
   * `folder` and what is above it may be no symlinks; of the folders below it that the tar names, the caller knows.
   * @throws {OwnedFilesRefused} and nothing was written
   */
  putOwned(folder: string, tar: AsyncIterable<Uint8Array>): Promise<void>;
  /**
   * Bytes that the sandbox takes on the engine's disk beyond the image it was first made from, what a checkpoint has
   * brought along included: at most so many while it is within what is `allowed`, exact beyond. Rejects with
   * {@link Unmeasurable}.
   */
  usedDiskBytes?(allowed: number): Promise<number>;
  /** Room on the engine's disk; costs no more than an action, so it may be asked often. */
  engineDisk?(): Promise<EngineDisk>;
  /**
   * Commits the sandbox's files as an image of this name (a checkpoint's), labelled afresh; what runs in it runs on.
   * `pause`: processes stand still meanwhile. Resolves with what the image adds on disk to the one it was made from.
   */
  commit(reference: string, options: { readonly pause: boolean }): Promise<CommittedImage>;
  /**
   * A digest of everything a process of the sandbox can have changed on disk: names, types, modes, owners, sizes,
   * inode numbers and change times, no contents. Equal digests of one sandbox: no file changed in between.
   */
  fingerprint(): Promise<string>;
  /** What is outside of the container's layers, so that no image holds it: files in /dev/shm, queues, volumes. */
  volatileFiles(): Promise<readonly string[]>;
  /** Resolves when the sandbox is gone, with the reason in words (`"its container was removed"`, ...). */
  readonly lost: Promise<string>;
  /** Leaves the sandbox running and lets go of the stream. */
  detach(): void;
  /** Removes the container. From any state, within a deadline (S6); resolves when the engine has confirmed it gone. */
  destroy(): Promise<void>;
}

/** Limits of a sandbox (S2). Bytes, counts; `cpus` may be fractional. */
export interface SandboxLimits {
  readonly memoryBytes: number;
  readonly cpus: number;
  readonly pids: number;
  readonly diskBytes: number;
}

export interface SandboxSpec {
  readonly run: string;
  /** An image name: one of `sandbox-images/`, or any Linux image the engine has. */
  readonly image: string;
  /**
   * The checkpoint image to restore, as `checkpointImage` names it; `image` is then what it was made from.
   * Absent: a fresh sandbox, from the pool if one fits.
   */
  readonly checkpoint?: string;
  readonly limits: SandboxLimits;
  /** An OCI runtime that the engine knows, e.g. `"runc"`; absent: the engine's default. */
  readonly runtime?: string;
}

/** One container of this owner, as the engine lists it. */
export interface SandboxLease {
  readonly id: string;
  /** Absent: an unassigned container of the pool. */
  readonly run?: string;
  readonly running: boolean;
  /** It stands in the pool of this very daemon, so it is nobody's leftover. */
  readonly pooled?: true;
}

export interface HostFacts {
  readonly engineVersion: string;
  readonly apiVersion: string;
  /** Limits this engine can't enforce; the daemon refuses to start runs with them unless configured to accept. */
  readonly unenforced: readonly string[];
  /** The kernel's Landlock version as a runner reported it (0: absent); unknown until a sandbox was started. */
  readonly landlock?: number;
  /** Where the engine keeps images and containers, on its own machine. */
  readonly dataFolder?: string;
}

/** The file system that holds the sandboxes, shared by all of them and the engine. */
export interface EngineDisk {
  readonly freeBytes: number;
  readonly totalBytes: number;
  /** Files that can still be made. */
  readonly freeFiles: number;
  readonly totalFiles: number;
}

export interface SandboxHost {
  /** Rejects with {@link EngineUnreachable} when no engine answers within the deadline. */
  probe(): Promise<HostFacts>;
  /** A started sandbox for a run: from the warm pool if one fits, else made now. */
  acquire(spec: SandboxSpec): Promise<Sandbox>;
  /** Takes up a run's living sandbox after a daemon restart; undefined if it is not running any more. */
  reattach(id: string): Promise<Sandbox | undefined>;
  /** Every container with this owner's label, and no other. */
  leases(): Promise<readonly SandboxLease[]>;
  /** Removes one container of this owner by id; already gone is success. */
  remove(id: string): Promise<void>;
  /** Every checkpoint image with this owner's label, and no other. */
  checkpoints(): Promise<readonly CheckpointImage[]>;
  /** The same images as layers, those that have lost their names included: what they take on disk, each once. */
  checkpointLayers(): Promise<readonly CheckpointLayer[]>;
  /** Gives a checkpoint image a second name, for a fork. Rejects with CheckpointGone. */
  copyCheckpoint(from: string, to: string): Promise<void>;
  /** Takes a checkpoint image's name away; its layers go with the last name that needs them. Already gone is success. */
  removeCheckpoint(reference: string): Promise<void>;
  /**
   * Makes a checkpoint's image anew as one layer on top of `onto`, an image it was made from: the same files under the
   * same name. Its old layers go unless something else needs them. No sandbox is touched.
   * @throws {CheckpointGone} @throws {EngineError} when it is not done; the image is as it was then
   */
  squash(reference: string, onto: string): Promise<CommittedImage>;
  /** Fills the pool in the background for an image; resolves when it is warm. */
  warm(image: string, limits: SandboxLimits): Promise<void>;
  /** Empties the pool and closes connections; running sandboxes of runs are left alone. */
  close(): Promise<void>;
}

export class SandboxLost extends Error {
  override readonly name = "SandboxLost";
}
/** Whether an error is, or came of, a sandbox that was lost: a reader of its bytes tells how far it got first. */
export function cameOfLoss(error: unknown): boolean {
  return error instanceof SandboxLost || (error instanceof Error && cameOfLoss(error.cause));
}
/** The engine answers, and can't tell how much a sandbox has written: something in its files is in the way. */
export class Unmeasurable extends Error {
  override readonly name = "Unmeasurable";
}
/** The engine was not asked to write or read files as root, and why. */
export class OwnedFilesRefused extends Error {
  override readonly name = "OwnedFilesRefused";
}
/** The sandbox has no room for another process; it did not run. */
export class NoRoom extends Error {
  override readonly name = "NoRoom";
}
export class EngineUnreachable extends Error {
  override readonly name = "EngineUnreachable";
}
/** The engine answered with an error, or not within its deadline. */
export class EngineError extends Error {
  override readonly name = "EngineError";
  readonly call: string;
  /** There was no answer at all within the deadline. */
  readonly late: boolean;
  constructor(call: string, message: string, options?: ErrorOptions & { late?: boolean }) {
    super(`${call}: ${message}`, options);
    this.call = call;
    this.late = options?.late ?? false;
  }
}
