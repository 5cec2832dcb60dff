/** What the sandbox knows of the runner: the channel that runner-channel.ts opens over any byte stream. */
import type { Duplex, Readable, Writable } from "node:stream";
import type { ProcessSpec, ProcessStatus, SandboxProcess } from "./host.ts";

export interface RunnerChannelOptions {
  /** What the runner writes. */
  readonly input: Readable | AsyncIterable<Buffer>;
  /** What the runner reads. Not ended by the channel: the stream is the caller's. */
  readonly output: Writable;
  /** Milliseconds for each answer of the runner; beyond, the channel is closed. */
  readonly deadlineMs: number;
}

export interface RunnerChannel {
  readonly runnerVersion: string;
  /** The runner's process id, as it sees itself: 1 in a sandbox. */
  readonly runnerPid: number;
  readonly facts: { readonly landlock: number; readonly proxyPort: number };
  /** As in Sandbox. Rejects with Error when the runner refuses (nothing ran), with SandboxLost when the channel closes. */
  start(spec: ProcessSpec): Promise<SandboxProcess>;
  resume(id: string, from: { stdout: number; stderr: number }): Promise<SandboxProcess | undefined>;
  processes(): Promise<readonly ProcessStatus[]>;
  forget(id: string): void;
  /** Resolves when the runner has answered: its event loop is alive. */
  ping(): Promise<void>;
  /** As in Sandbox. */
  onConnection(accept: (connection: Duplex) => void): void;
  /** Lets go of the streams; processes in the sandbox run on, and connections are reset. */
  close(reason?: string): void;
  /** Resolves with the reason, once. */
  readonly closed: Promise<string>;
}
