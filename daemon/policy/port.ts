import type { Sha256 } from "../protocol/ids.ts";
import type { Label, Labels } from "../protocol/labels.ts";
import type { Limits } from "../protocol/limits.ts";
import type { Decision, Effect, Layer } from "../protocol/verdicts.ts";
import type { HttpTarget } from "./http-target.ts";

/**
 * An action in normal form: what the policy judges is this object, and this object is what is executed (A2).
 * Paths are absolute, normalised and resolved inside the sandbox.
 */
export type PolicyAction =
  | {
      readonly kind: "exec";
      readonly tool: string;
      readonly command: ParsedCommand;
      /** The directory the command starts in, absolute; empty: not known, so that relative paths are not settled. */
      readonly cwd: string;
      /** Variables that this action adds to its command's environment; `exec.env.deny` holds for them too. */
      readonly env: Readonly<Record<string, string>>;
    }
  | { readonly kind: "read"; readonly tool: string; readonly path: string }
  | { readonly kind: "write"; readonly tool: string; readonly path: string }
  | {
      readonly kind: "http";
      readonly tool: string;
      readonly method: string;
      /** Absolute, of `http:` or `https:`. */
      readonly url: string;
      /** The registry of packages whose hosts, as this machine's own clients are configured, the URL's host is among. */
      readonly registry?: Registry;
      /** Of the request's body, when it is known before the request leaves; an approval binds it (P3). */
      readonly bodyHash?: Sha256;
    }
  | { readonly kind: "tool"; readonly tool: string; readonly input: unknown };

/** A kind of package registry; which hosts it has is this machine's own affair. */
export type Registry = "npm" | "pypi";

/**
 * A word of a command: its value where the text alone settles it, else how many words it may become:
 * `one` (`"$x"`, `~/a`), or `any` number (`$x`, `*.ts`, `{a,b}`).
 */
export type CommandWord =
  | string
  | {
      readonly unresolved: "one" | "any";
      /** It surely is one assignment, to this variable. */
      readonly assigns?: string;
    };

export interface CommandRedirect {
  readonly operator: string;
  readonly access: "read" | "write";
  /** As written, so maybe relative; undefined: the text alone does not settle it. */
  readonly path: string | undefined;
}

/** A simple command the parser saw. `argv` undefined: the words can't be resolved; only `["..."]` matches it. */
export interface SimpleCommand {
  readonly argv: readonly CommandWord[] | undefined;
  /** Assignments before the command, by name. */
  readonly assignments: Readonly<Record<string, string | undefined>>;
  readonly redirects: readonly CommandRedirect[];
  /** A reading that may not be what runs: its asks and denials count, that no rule allows it does not. */
  readonly guess?: true;
}

/** A command's text, parsed once: judged and, in the strict shell, executed (A2). */
export interface ParsedCommand {
  readonly text: string;
  /** Every simple command in the text, also inside substitutions, subshells, functions and wrappers. */
  readonly commands: readonly SimpleCommand[];
  /** Every redirect in the text, those of compound commands included. */
  readonly redirects: readonly CommandRedirect[];
  /** Names of all variables the text may set. */
  readonly variables: readonly string[];
  /** It may set a variable besides, whose name the text leaves open. */
  readonly open?: true;
  /** Where the text's `cd`s lead, in order; undefined: one that can't be resolved. */
  readonly directories: readonly (string | undefined)[];
  /** Canonical text made from the parsed words: what runs when the shell is `strict`. */
  readonly strict?: string;
  /** The text is outside `strict`'s subset, and why. Absent: it is inside, and `strict` is there. */
  readonly beyondStrict?: string;
  /** The text could not be parsed at all: deny (P1). */
  readonly error?: string;
}

/** What the run did so far on its present branch, as far as rules may depend on it. */
export interface PolicyHistory {
  /** Joined over what the sandbox has read. */
  readonly labels: Labels;
  /** Something with an effect outside of the sandbox was done. */
  readonly externalEffect: boolean;
  /** Actions that had an outcome, oldest first. Only asked for by rules of `sequence`. */
  done(): Iterable<DoneAction>;
}

export interface DoneAction {
  readonly action: PolicyAction;
  /** Absent: it ended otherwise, or has none. */
  readonly exitCode?: number;
}

/** What every kind of rule has. `rule` is its id, or its place such as `files.write.deny[0]`. */
export interface Rule {
  readonly rule: string;
  readonly decision: Decision;
  /** Character offset in the document: "first in the file" compares these. */
  readonly position: number;
  readonly reason?: string;
  readonly effect?: Effect;
}
export interface ExecRule extends Rule {
  readonly matches: (command: SimpleCommand) => boolean;
  /** The rule's pattern as a person would type it, for reasons and hints. */
  readonly pattern: string;
}
export interface NameRule extends Rule {
  readonly matches: (name: string) => boolean;
  readonly pattern: string;
}
/** A glob over absolute, normalised paths. */
export type PathRule = NameRule;

/** Where a request may go, and what is added to it. */
export interface NetworkRule extends Rule {
  readonly pattern: string;
  /** Whether it is about this host and port, whatever the request. */
  readonly reaches: (to: Destination) => boolean;
  /** Whether it is about this method and path, on a host that it reaches. */
  readonly admits: (target: HttpTarget) => boolean;
  readonly opaque: boolean;
  /** Ranges, `address/prefix`, that its host's addresses may lie in though they are private. */
  readonly addresses: readonly string[];
  readonly secret: string | undefined;
  readonly sink: string | undefined;
  readonly maxBytesOut: number | undefined;
}
export interface Destination {
  /** As in `HttpTarget`. */
  readonly host: string;
  readonly port: number;
  readonly registry?: Registry;
}

/** What data from somewhere is. */
export interface LabelRule {
  readonly rule: string;
  readonly source: "path" | "tool" | "host" | "detector";
  readonly matches: (name: string) => boolean;
  readonly pattern: string;
  readonly label: Label;
}
/** Where data of some labels may not go, or only when asked. */
export interface FlowRule extends Rule {
  readonly when: Label;
  readonly to: readonly string[];
  readonly methods: readonly string[] | undefined;
}

export type Fact = "untrusted-input" | "private-data" | "external-effect";
/** What may not come together in one run, or must have been done before. */
export type SequenceRule = Rule &
  (
    | { readonly kind: "together"; readonly atMost: number; readonly of: readonly Fact[] }
    | {
        readonly kind: "before";
        /** The id of the rule whose actions it is about. */
        readonly before: string;
        readonly matches: (command: SimpleCommand) => boolean;
        readonly pattern: string;
        /** Undefined: any. */
        readonly exit: number | undefined;
        readonly sinceWrite: boolean;
      }
  );

/** A secret of the document; its value is the daemon's alone. */
export interface SecretSource {
  readonly from: string;
  /** `name: value` with `{}` for the secret. */
  readonly header: string;
  readonly hosts: readonly string[];
}

/** The compiled rules of one document; an absent section has no opinion (P2). */
export interface Rules {
  readonly tools?: readonly NameRule[];
  readonly exec?: { readonly rules: readonly ExecRule[]; readonly env: readonly NameRule[] };
  readonly read?: readonly PathRule[];
  readonly write?: readonly PathRule[];
  readonly ingest?: readonly PathRule[];
  readonly export?: readonly PathRule[];
  readonly network?: readonly NetworkRule[];
  readonly labels?: readonly LabelRule[];
  readonly flow?: readonly FlowRule[];
  readonly sequence?: readonly SequenceRule[];
  readonly tiers?: Readonly<Partial<Record<Effect, Rule>>>;
}

export type Shell = "none" | "strict" | "contained";
/** Milliseconds a command may take, bytes its text may have, simple commands it may hold. */
export interface ExecLimits {
  readonly timeoutMs: number;
  readonly bytes: number;
  readonly commands: number;
}

/** A policy document that was parsed and whose tests passed. Immutable. */
export interface Policy {
  readonly name: string;
  readonly description?: string;
  readonly hash: Sha256;
  readonly text: string;
  readonly layer: Layer;
  readonly limits: Limits;
  readonly rules: Rules;
  readonly secrets: Readonly<Record<string, SecretSource>>;
  /** The fields below have defaults where the document leaves them out. */
  readonly shell: Shell;
  readonly execLimits: ExecLimits;
  readonly approvals: { readonly timeoutMs: number; readonly onTimeout: "deny" };
  readonly sandbox: {
    readonly image: string;
    readonly images: readonly string[] | undefined;
    readonly runtime: string | undefined;
    readonly memoryBytes: number;
    readonly cpus: number;
    readonly pids: number;
    readonly diskBytes: number;
  };
  readonly ingest: { readonly deny: readonly string[]; readonly git: "fresh" | "full" | "none" };
  readonly exportRules: { readonly deny: readonly string[]; readonly ask: readonly string[] };
}
