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

const NetworkRule = z
  .strictObject({
    id: Id,
    host: Word.optional(),
    registry: z.enum(["npm", "pypi"]).optional(),
    addresses: Words.optional(),
    methods: z.array(Method).min(1),
    paths: Words,
    decision: Decision,
    sink: Id.optional(),
    secret: Id.optional(),
    maxBytesOut: ByteSize.optional(),
    effect: Effect.optional(),
    reason: Reason.optional(),
  })
  .refine((rule) => (rule.host === undefined) !== (rule.registry === undefined), {
    message: "write either `host` or `registry`",
  });

const Secret = z.strictObject({ from: Word, header: Word, hosts: Words });

const Data = z.strictObject({
  labels: z
    .array(
      z.strictObject({
        path: Word.optional(),
        tool: Word.optional(),
        integrity: Integrity.optional(),
        confidentiality: Confidentiality.optional(),
      }),
    )
    .optional(),
  flow: z
    .array(
      z.strictObject({
        id: Id,
        when: z.strictObject({
          integrity: Integrity.optional(),
          confidentiality: Confidentiality.optional(),
        }),
        to: Words,
        methods: z.array(Method).min(1).optional(),
        decision: Decision,
        reason: Reason.optional(),
      }),
    )
    .optional(),
});

const SequenceRule = z
  .strictObject({
    id: Id,
    atMost: z.int().min(0).optional(),
    of: z
      .array(z.enum(["untrusted-input", "private-data", "external-effect"]))
      .min(1)
      .optional(),
    before: Id.optional(),
    require: z.strictObject({ argv: Words, exit: z.int().optional(), after: Word.optional() }).optional(),
    else: Decision,
    reason: Reason.optional(),
  })
  .refine(
    (rule) =>
      rule.before === undefined
        ? rule.atMost !== undefined && rule.of !== undefined && rule.require === undefined
        : rule.require !== undefined && rule.atMost === undefined && rule.of === undefined,
    { message: "write either `atMost` with `of`, or `before` with `require`" },
  );

const Step = z.record(z.string(), z.unknown());
export const TestDocument = z
  .strictObject({
    exec: z.string().optional(),
    read: Word.optional(),
    write: Word.optional(),
    tool: Word.optional(),
    http: Word.optional().describe("Method and URL, e.g. GET https://example.org/."),
    cwd: Word.optional().describe("Default /workspace."),
    after: z.array(Step).optional(),
    expect: Decision,
    rule: Word.optional(),
  })
  .refine((test) => [test.exec, test.read, test.write, test.tool, test.http].filter(isThere).length === 1, {
    message: "write exactly one of `exec`, `read`, `write`, `tool` and `http`",
  });
export type TestDocument = z.infer<typeof TestDocument>;

function isThere(value: unknown): boolean {
  return value !== undefined;
}

export const PolicyDocument = z.strictObject({
  version: z.literal(1, { error: "write `version: 1`" }),
  name: z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$/, "a name is letters, digits, `.`, `-` and `_`"),
  description: z.string().max(1000).optional(),
  default: z.literal("deny", { error: "`deny` is the only legal value: what no rule allows is denied" }),
  tools: z.array(ToolRuleDocument).max(1000).optional(),
  exec: Exec.optional(),
  files: Files.optional(),
  network: z.array(NetworkRule).optional(),
  secrets: z.record(z.string(), Secret).optional(),
  data: Data.optional(),
  sequence: z.array(SequenceRule).optional(),
  tiers: z.union([z.array(z.unknown()), z.record(z.string(), z.unknown())]).optional(),
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
