import type { z } from "zod";
import type { ParsedCommand, PolicyAction } from "../../policy/port.ts";
import type { Confinement, ProcessSpec } from "../../sandbox/gate.ts";
import type { RegistryOf } from "../egress/outside.ts";

/** What an action came to: the text the model reads, and how its process ended. */
export interface ToolResult {
  readonly ok: boolean;
  readonly output: string;
  readonly exitCode?: number;
  readonly signal?: string;
  readonly timedOut?: boolean;
  /** The sandbox's memory limit in bytes, when something of the action was killed for reaching it. */
  readonly outOfMemory?: number;
  readonly droppedBytes?: number;
  readonly stateSaved?: boolean;
  readonly leftRunning?: number;
  /** The rule that keeps the output from the model, which is told so instead. */
  readonly withheld?: { readonly rule: string; readonly reason: string };
  /** Processes of earlier actions that were killed, since there was no room for this one beside them. */
  readonly killedForRoom?: number;
}

/** A process of an action, ended, with all that it wrote. `text` is both streams in order of arrival. */
export interface Collected extends Omit<ToolResult, "ok" | "output"> {
  readonly text: string;
  stdout(): Buffer;
  readonly stderr: string;
  readonly startError?: string;
}

/** What a tool may ask while it brings an input into normal form. Nothing here changes anything. */
export interface NormaliseContext {
  readonly action: string;
  /** Absolute and with symlinks resolved inside the sandbox; a part that does not exist yet is kept as it is. */
  resolve(path: string): Promise<string>;
  parseCommand(text: string): ParsedCommand;
  /** The image's environment. */
  readonly env: Readonly<Record<string, string>>;
  /** Longest a command may run, in milliseconds. */
  readonly timeoutMs: number;
  /** What a command is confined to. Absent: this sandbox's kernel confines nothing. */
  readonly landlock?: Confinement;
  /** A folder that commands may write to, for what is not the workspace's. */
  readonly scratch: string;
  /** Of a folder that may be read: whether the policy lets this file in it be read, too. */
  mayRead(tool: string, folder: string): (path: string) => boolean;
  readonly registryOf: RegistryOf;
  /** Lower-case names of the headers that a request would be given a credential in. */
  injected(request: { readonly method: string; readonly url: string }): ReadonlySet<string>;
}

/** One HTTP request that is an action itself. */
export interface OwnRequest {
  readonly method: string;
  /** Absolute, in normal form. */
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer | undefined;
  /** Milliseconds for the whole of the answer. */
  readonly deadlineMs: number;
}

/** What came of it: an answer, or a sentence on why there is none. */
export type Fetched =
  | { readonly refused: string }
  | {
      readonly status: number;
      readonly reason: string;
      readonly headers: readonly (readonly [string, string])[];
      readonly text: string;
    };

/** A guarded file's content, or why the model may not have it. */
export type GuardedContent =
  | { readonly content: Uint8Array }
  | { readonly withheld: { readonly rule: string; readonly reason: string }; readonly marker: string };

/** A file that nothing in the sandbox can read. */
export interface GuardedFile {
  /** What is said where it can't be used. */
  readonly refusal: string;
  /**
   * Raises the run's labels, on disk, before it gives the content, and gives such files to the sandbox. Undefined: it
   * has more bytes than `maximum`.
   */
  read(maximum: number): Promise<GuardedContent | undefined>;
}

/** What a tool may use once its action is allowed. */
export interface PerformContext {
  /** Runs a process under the action's permit and collects its output, streamed live unless `quiet`. */
  run(
    spec: ProcessSpec,
    options?: { readonly quiet?: boolean; readonly keepBytes?: number },
  ): Promise<Collected>;
  /** The whole output of an earlier action of this run, or undefined. */
  outputOf(action: string): Promise<string | undefined>;
  /** The file at a path, if it is kept from the sandbox; undefined for any other. */
  guarded(path: string): Promise<GuardedFile | undefined>;
  /** Sends a request to the outside, through the gateway. */
  fetch(request: OwnRequest): Promise<Fetched>;
}

/**
 * An action ready to be judged and run. `policy` is what the policy judges; `perform` and `settle` close over
 * the same normalised values, so that what is judged is what is executed (A2).
 */
export interface Plan {
  /** Every part is judged; the strictest verdict counts. */
  readonly policy: readonly PolicyAction[];
  perform(context: PerformContext): Promise<ToolResult>;
  /**
   * Turns what the runner kept of the action's process into its result, after a daemon's restart.
   * Absent: the action changes nothing and is simply performed again.
   */
  settle?(collected: Collected): ToolResult;
  /** What it does leaves the sandbox: once it may have, it is not performed again. */
  readonly leaves?: true;
}

export interface Tool<I = unknown> {
  readonly name: string;
  readonly description: string;
  readonly input: z.ZodType<I>;
  /** @throws ToolRefusal when the input makes no sense in this sandbox */
  normalise(input: I, context: NormaliseContext): Promise<Plan>;
}

/** The input can't be acted upon; the message is for the model. */
export class ToolRefusal extends Error {
  override readonly name = "ToolRefusal";
}

export const WORKSPACE = "/workspace";

const KIT_FOLDER = "/.caisson";

/** For a program of the kit that works at a path which was judged, and nowhere else; nothing where the kernel can't. */
export function confinedTo(
  { landlock }: NormaliseContext,
  may: { readonly read?: string; readonly write?: string },
): Pick<ProcessSpec, "landlock"> {
  if (landlock === undefined) return {};
  const { read, write } = may;
  return {
    landlock: {
      read: read === undefined ? [KIT_FOLDER] : [KIT_FOLDER, read],
      write: write === undefined ? [] : [write],
    },
  };
}

/** How a process's end reads to the model. Only of a shell that keeps its state it says whether it did. */
export function resultOf(collected: Collected): ToolResult {
  const { stateSaved: _stateSaved, ...result } = shellResultOf(collected);
  return result;
}

/** How the end of a shell that keeps its state reads to the model. */
export function shellResultOf(collected: Collected): ToolResult {
  const { text, stdout: _stdout, stderr: _stderr, startError, ...ending } = collected;
  const ok = collected.exitCode === 0;
  return { ...ending, ok, output: startError ? `The command could not be started: ${startError}` : text };
}
