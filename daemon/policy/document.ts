/**
 * The shape of a whole policy document, version 1: also of the sections whose behaviour comes later, so that what
 * a person writes keeps its meaning. Ids, globs and what can match are checked in `check-rules.ts`.
 */
import { z } from "zod";
import { Confidentiality, Integrity } from "../protocol/labels.ts";
import { LimitsInput } from "../protocol/limits.ts";
import { ByteSize, Count, Duration } from "../protocol/quantities.ts";
import { Decision, Effect } from "../protocol/verdicts.ts";

const Id = z
  .string()
  .max(100)
  .regex(/^[A-Za-z][A-Za-z0-9_-]*$/, "an id is letters, digits, `-` and `_`, a letter first")
  .refine((id) => id !== "default", "`default` names the verdict when no rule matches");
const Reason = z.string().min(1).max(500).describe("A sentence for the person asked and for the model.");
const WORD = "a word in quotes: YAML reads this one as something else";
const Word = z
  .string({ error: `write ${WORD}` })
  .min(1)
  .max(1000);
const Words = z.array(Word).min(1).max(500);
const OneOrMore = z.union([Word, Words], { error: "write a word, or a list of words" });
const Globs = z.array(Word).max(1000);
const Method = z.string().regex(/^[A-Z]{1,20}$/, "a method is upper-case letters, such as GET");

export const ToolRuleDocument = z.strictObject({
  id: Id,
  tool: OneOrMore.describe("Names of tools; `*` stands for any characters."),
  decision: Decision,
  effect: Effect.optional(),
  reason: Reason.optional(),
});

export const ExecRuleDocument = z.strictObject({
  id: Id,
  argv: z
    .array(OneOrMore)
    .min(1)
    .max(100)
    .describe(
      'By position: a literal, a glob, a list of alternatives; "..." is last: any rest, none included.',
    ),
  flags: z.array(Word).max(200).optional().describe("With it, any other flag fails to match."),
  has: Words.optional().describe("Globs: at least one argument matches one of them."),
  decision: Decision,
  effect: Effect.optional(),
  reason: Reason.optional(),
});
export type ExecRuleDocument = z.infer<typeof ExecRuleDocument>;

const Exec = z.strictObject({
  shell: z.enum(["none", "strict", "contained"]),
  rules: z.array(ExecRuleDocument).max(1000).optional(),
  env: z.strictObject({ deny: Globs }).optional().describe("Names of variables that no command may set."),
  limits: z
    .strictObject({
      commands: Count.optional().describe("Simple commands in one text."),
      bytes: ByteSize.optional().describe("Length of one text."),
      timeout: Duration.optional().describe("The longest one command may take."),
    })
    .optional(),
});

const PathLists = z.strictObject({
  allow: Globs.optional(),
  ask: Globs.optional(),
  deny: Globs.optional(),
});
const Files = z.strictObject({
  ingest: z
    .strictObject({ deny: Globs.optional(), git: z.enum(["fresh", "full", "none"]).optional() })
    .optional(),
  read: PathLists.optional(),
  write: PathLists.optional(),
  export: z.strictObject({ ask: Globs.optional(), deny: Globs.optional() }).optional(),
});

export const NetworkRuleDocument = z
  .strictObject({
    id: Id,
    host: Word.optional().describe("A lower-case host name, or `*.example.org` for its subdomains."),
    registry: z
      .enum(["npm", "pypi"])
      .optional()
      .describe("Instead of `host`: the registries that this machine's own client is configured for."),
    ports: z.array(z.int().min(1).max(65_535)).min(1).max(100).optional().describe("Without it: any port."),
    addresses: Words.optional().describe(
      "Private, loopback or link-local addresses that the host may have, as address/prefix.",
    ),
    methods: z.array(Method).min(1).max(50).optional(),
    paths: Words.optional().describe("Globs over the URL's path: `/**` is any."),
    opaque: z
      .literal(true)
      .optional()
      .describe("Instead of `methods` and `paths`: encrypted end to end, so nothing inside is looked at."),
    decision: Decision,
    sink: Id.optional().describe("A name that `data.flow` may say instead of `host`."),
    secret: Id.optional().describe("One of `secrets`, put into the request by the daemon."),
    maxBytesOut: ByteSize.optional().describe("What one request may send: head and body."),
    effect: Effect.optional(),
    reason: Reason.optional(),
  })
  .superRefine((rule, context) => {
    const say = (path: string[], message: string) => context.addIssue({ code: "custom", path, message });
    if ((rule.host === undefined) === (rule.registry === undefined))
      say([], "write either `host` or `registry`");
    for (const key of ["methods", "paths"] as const)
      if ((rule[key] === undefined) !== (rule.opaque === true))
        say([key], rule.opaque ? `an opaque rule sees no ${key}` : `${key} that the rule is for`);
    if (rule.opaque && rule.secret !== undefined) say(["secret"], "nothing can be put into an opaque tunnel");
  });
export type NetworkRuleDocument = z.infer<typeof NetworkRuleDocument>;

const Secret = z.strictObject({
  from: Word.describe("`env:NAME`, or `file:NAME` under the daemon's own folder of secrets."),
  header: Word.describe("`name: value`, with `{}` where the secret goes."),
  hosts: Words.describe("The only hosts that it is sent to."),
});

/** Where a label comes from, and what it says. */
const LABEL_SOURCES = ["path", "tool", "host", "detector"] as const;
export const LabelRuleDocument = z
  .strictObject({
    path: Word.optional().describe("A glob over absolute paths."),
    tool: Word.optional().describe("What this tool brings in; `fetch`: whatever comes in by the network."),
    host: Word.optional().describe("What this host answers."),
    detector: Word.optional().describe("What this kind of detector finds a secret in."),
    integrity: Integrity.optional(),
    confidentiality: Confidentiality.optional(),
  })
  .refine((rule) => LABEL_SOURCES.filter((source) => rule[source] !== undefined).length === 1, {
    message: "write exactly one of `path`, `tool`, `host` and `detector`",
  })
  .refine((rule) => rule.integrity !== undefined || rule.confidentiality !== undefined, {
    message: "write `integrity`, `confidentiality` or both",
  });
export type LabelRuleDocument = z.infer<typeof LabelRuleDocument>;

export const FlowRuleDocument = z.strictObject({
  id: Id,
  when: z
    .strictObject({ integrity: Integrity.optional(), confidentiality: Confidentiality.optional() })
    .describe("Data of this integrity, and of this confidentiality or more."),
  to: Words.describe("`model`, `host`, `export`, or the `sink` of a network rule."),
  methods: z.array(Method).min(1).max(50).optional().describe("Of requests; without it: all."),
  decision: Decision,
  reason: Reason.optional(),
});
export type FlowRuleDocument = z.infer<typeof FlowRuleDocument>;

const Data = z.strictObject({
  labels: z.array(LabelRuleDocument).max(1000).optional(),
  flow: z.array(FlowRuleDocument).max(1000).optional(),
});

export const SequenceRuleDocument = z
  .strictObject({
    id: Id,
    atMost: z.int().min(0).max(2).optional().describe("How many of `of` may come together in a run."),
    of: z
      .array(z.enum(["untrusted-input", "private-data", "external-effect"]))
      .min(1)
      .optional(),
    before: Id.optional().describe("The rule (of `tools`, `exec` or `network`) whose actions this is about."),
    require: z
      .strictObject({
        argv: Words.describe("A command that was run by itself, or behind `&&`."),
        exit: z.int().min(0).max(255).optional().describe("Its exit status; without it: any."),
        after: z
          .enum(["write"])
          .optional()
          .describe("It counts only if no file was written since, by tool or redirect."),
      })
      .optional(),
    else: Decision.describe("What an action gets that breaks the rule."),
    reason: Reason.optional(),
  })
  .refine(
    (rule) =>
      rule.before === undefined
        ? rule.atMost !== undefined && rule.of !== undefined && rule.require === undefined
        : rule.require !== undefined && rule.atMost === undefined && rule.of === undefined,
    { message: "write either `atMost` with `of`, or `before` with `require`" },
  );

export type SequenceRuleDocument = z.infer<typeof SequenceRuleDocument>;

const EXAMPLE = {
  exec: z.string().optional().describe("A command."),
  read: Word.optional().describe("A path."),
  write: Word.optional().describe("A path."),
  tool: Word.optional().describe("The name of a tool without a section of its own."),
  http: Word.optional().describe("Method and URL: GET https://example.org/, or GET registry:npm/left-pad."),
  cwd: Word.optional().describe("Default /workspace."),
};
const ONE_EXAMPLE = { message: "write exactly one of `exec`, `read`, `write`, `tool` and `http`" };

function isOneExample(example: { readonly [Key in keyof typeof EXAMPLE]?: unknown }): boolean {
  const { exec, read, write, tool, http } = example;
  return [exec, read, write, tool, http].filter((value) => value !== undefined).length === 1;
}

/** Something that was done before, whatever its verdict would be. */
export const StepDocument = z
  .strictObject({ ...EXAMPLE, exit: z.int().min(0).max(255).optional().describe("Of `exec`; default 0.") })
  .refine(isOneExample, ONE_EXAMPLE);
export type StepDocument = z.infer<typeof StepDocument>;

export const TestDocument = z
  .strictObject({
    ...EXAMPLE,
    after: z.array(StepDocument).max(100).optional().describe("What the run did before, oldest first."),
    expect: Decision,
    rule: Word.optional().describe("The rule that must decide."),
  })
  .refine(isOneExample, ONE_EXAMPLE);
export type TestDocument = z.infer<typeof TestDocument>;

const Tiers = z.strictObject({
  read: Decision.optional().describe("What only looks."),
  local: Decision.optional().describe("What changes nothing but the sandbox."),
  external: Decision.optional().describe("What reaches outside the sandbox."),
});

export const PolicyDocument = z.strictObject({
  version: z.literal(1, { error: "write `version: 1`" }),
  name: z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$/, "a name is letters, digits, `.`, `-` and `_`"),
  description: z.string().max(1000).optional(),
  default: z.literal("deny", { error: "`deny` is the only legal value: what no rule allows is denied" }),
  tools: z.array(ToolRuleDocument).max(1000).optional(),
  exec: Exec.optional(),
  files: Files.optional(),
  network: z.array(NetworkRuleDocument).max(1000).optional(),
  secrets: z.record(z.string(), Secret).optional(),
  data: Data.optional(),
  sequence: z.array(SequenceRuleDocument).max(1000).optional(),
  tiers: Tiers.optional().describe(
    "By effect. `allow` holds for kinds of action whose section is left out, never for the network.",
  ),
  limits: LimitsInput.optional(),
  approvals: z
    .strictObject({
      timeout: Duration.optional(),
      onTimeout: z.literal("deny", { error: "`deny` is the only legal value" }).optional(),
    })
    .optional(),
  sandbox: z
    .strictObject({
      image: Word.optional(),
      images: Words.optional(),
      runtime: Word.optional(),
      memory: ByteSize.optional(),
      cpus: z.number().positive().max(1024).optional(),
      pids: Count.optional(),
      disk: ByteSize.optional(),
    })
    .optional(),
  tests: z.array(TestDocument).max(2000).optional(),
});
export type PolicyDocument = z.infer<typeof PolicyDocument>;
