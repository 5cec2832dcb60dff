import type { Sha256 } from "../protocol/ids.ts";
import type { Limits } from "../protocol/limits.ts";
import type { Effect, Layer, Verdict } from "../protocol/verdicts.ts";
import type { PolicyCheck } from "../protocol/views.ts";

/**
 * An action in normal form: what the policy judges is this object, and this object is what is executed (A2).
 * Paths are absolute, normalised and resolved inside the sandbox.
 */
export type PolicyAction =
  | {
      readonly kind: "exec";
      readonly tool: string;
      readonly command: ParsedCommand;
      readonly cwd: string;
      readonly env: Readonly<Record<string, string>>;
    }
  | { readonly kind: "read"; readonly tool: string; readonly path: string }
  | { readonly kind: "write"; readonly tool: string; readonly path: string }
  | { readonly kind: "http"; readonly tool: string; readonly method: string; readonly url: string }
  | { readonly kind: "tool"; readonly tool: string; readonly input: unknown };

/** A simple command the parser saw. `argv` undefined: the words can't be resolved; only `["..."]` matches it. */
export interface SimpleCommand {
  readonly argv: readonly string[] | undefined;
  /** Assignments before the command, by name. */
  readonly assignments: Readonly<Record<string, string | undefined>>;
  readonly redirects: readonly { readonly operator: string; readonly path: string | undefined }[];
}

/** How two programs of a strict command are joined. */
export interface ParsedCommand {
  readonly text: string;
  /** Every simple command in the text, also inside substitutions, subshells, functions. */
  readonly commands: readonly SimpleCommand[];
  /** The text is outside `strict`'s subset, and why. Absent: it is inside. */
  readonly beyondStrict?: string;
  /** The text could not be parsed at all: deny (P1). */
  readonly error?: string;
}

/** What the run did so far, as far as rules may depend on it. Grows with `data` and `sequence`. */
export interface PolicyHistory {
  readonly actions: number;
  readonly denials: number;
  readonly asks: number;
}

/** A policy document that was parsed and whose tests passed. Immutable. */
export interface Policy {
  readonly name: string;
  readonly hash: Sha256;
  readonly text: string;
  readonly layer: Layer;
  readonly limits: Limits;
  readonly shell: "none" | "strict" | "contained";
  /** Milliseconds a command may take, bytes a command may be long, simple commands it may hold. */
  readonly execLimits: { readonly timeoutMs: number; readonly bytes: number; readonly commands: number };
  readonly approvals: { readonly timeoutMs: number; readonly onTimeout: "deny" };
  readonly sandbox: {
    readonly image: string;
    readonly images: readonly string[] | undefined;
    readonly memoryBytes: number;
    readonly cpus: number;
    readonly pids: number;
    readonly diskBytes: number;
  };
  readonly ingest: { readonly deny: readonly string[]; readonly git: "fresh" | "full" | "none" };
  readonly exportRules: { readonly deny: readonly string[]; readonly ask: readonly string[] };
}

/** Public functions of the room: `parsePolicy`, `checkPolicy`, `judge`, `parseCommand`; see the files of those names. */
export interface PolicyRoom {
  parsePolicy(text: string, layer: Layer): { policy: Policy } | { check: PolicyCheck };
  checkPolicy(text: string): PolicyCheck;
  /** Collects all matches of all layers; deny beats ask beats allow; no match or an error: deny (P1, P2). */
  judge(layers: readonly Policy[], action: PolicyAction, history: PolicyHistory): Verdict;
  parseCommand(text: string): ParsedCommand;
  effectOf(layers: readonly Policy[], action: PolicyAction): Effect;
}
