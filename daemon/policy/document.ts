/**
 * The shape of a whole policy document, version 1; its JSON Schema for editors is made from it. Ids, globs and what
 * can match are checked in `check-document.ts`.
 */
import { z } from "zod";
import { LimitsInput } from "../protocol/limits.ts";
import { ByteSize, Count, Duration } from "../protocol/quantities.ts";
import { Decision } from "../protocol/verdicts.ts";
import { Globs, Id, OneOrMore, Reason, Tier, Verdict, Word, Words } from "./document-basics.ts";
import { Data, NetworkRuleDocument, Secret, SequenceRuleDocument } from "./document-outgoing.ts";

export const ToolRuleDocument = z.strictObject({
  id: Id,
  tool: OneOrMore.describe("Names of tools; `*` stands for any characters."),
  decision: Verdict,
  effect: Tier.optional(),
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
  decision: Verdict,
  effect: Tier.optional(),
  reason: Reason.optional(),
});
export type ExecRuleDocument = z.infer<typeof ExecRuleDocument>;

const Exec = z.strictObject({
  shell: z
    .enum(["none", "strict", "contained"])
    .describe("none: no commands. strict: literal words, pipes and redirects. contained: any shell text."),
  rules: z
    .array(ExecRuleDocument)
    .max(1000)
    .optional()
    .describe("Every simple command needs one that allows it."),
  env: z
    .strictObject({ deny: Globs.describe("Globs: LD_*, NODE_OPTIONS.") })
    .optional()
    .describe("Names of variables that no command may set."),
  limits: z
    .strictObject({
      commands: Count.optional().describe("Simple commands in one text."),
      bytes: ByteSize.optional().describe("Length of one text."),
      timeout: Duration.optional().describe("The longest one command may take."),
    })
    .optional()
    .describe("Of one command text."),
});

const PathLists = z.strictObject({
  allow: Globs.optional().describe("Globs over absolute paths: /workspace/**, **/*.md."),
  ask: Globs.optional().describe("A person is asked first."),
  deny: Globs.optional().describe("Beats whatever else matches."),
});
const Files = z.strictObject({
  ingest: z
    .strictObject({
      deny: Globs.optional().describe("Left at home: what is not there can't leak."),
      git: z
        .enum(["fresh", "full", "none"])
        .optional()
        .describe("fresh: one commit and no history. full: the repository. none: no repository."),
    })
    .optional()
    .describe("What of the workspace goes into the sandbox."),
  read: PathLists.optional().describe(
    "What the file tools, redirects and, by the kernel, commands may read.",
  ),
  write: PathLists.optional().describe("What they may write."),
  export: z
    .strictObject({
      ask: Globs.optional().describe("Whoever brings it back is asked first."),
      deny: Globs.optional().describe("Not brought back."),
    })
    .optional()
    .describe("What of the work is brought back into the workspace."),
});

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
    expect: Decision.describe("The verdict."),
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
  version: z.literal(1, { error: "write `version: 1`" }).describe("Of this format."),
  name: z
    .string()
    .regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$/, "a name is letters, digits, `.`, `-` and `_`")
    .describe("For people."),
  description: z.string().max(1000).optional().describe("What a run may do, in a sentence or two."),
  default: z
    .literal("deny", { error: "`deny` is the only legal value: what no rule allows is denied" })
    .describe("What no rule allows is denied."),
  tools: z.array(ToolRuleDocument).max(1000).optional().describe("Every tool without a section of its own."),
  exec: Exec.optional().describe("Commands."),
  files: Files.optional().describe("Files: into the sandbox, in it, and back."),
  network: z
    .array(NetworkRuleDocument)
    .max(1000)
    .optional()
    .describe("Requests. Nothing leaves but by one of these rules."),
  secrets: z
    .record(z.string(), Secret)
    .optional()
    .describe("Credentials that the daemon puts into requests; the sandbox never sees them."),
  data: Data.optional().describe("What data is, and where it may go."),
  sequence: z
    .array(SequenceRuleDocument)
    .max(1000)
    .optional()
    .describe("What may not come together in one run, or must have been done before."),
  tiers: Tiers.optional().describe(
    "By effect. `allow` holds for kinds of action whose section is left out, never for the network.",
  ),
  limits: LimitsInput.optional().describe("Of a run and all its children together."),
  approvals: z
    .strictObject({
      timeout: Duration.optional().describe("How long a question stays open; 15m unless given."),
      onTimeout: z
        .literal("deny", { error: "`deny` is the only legal value" })
        .optional()
        .describe("No answer is a no."),
    })
    .optional()
    .describe("Questions to a person."),
  sandbox: z
    .strictObject({
      image: Word.optional().describe("The image a run gets unless it names another."),
      images: Words.optional().describe("Images a run may name."),
      runtime: Word.optional().describe("The container runtime."),
      memory: ByteSize.optional().describe("2GiB unless given."),
      cpus: z.number().positive().max(1024).optional().describe("2 unless given; 0.5 is half of one."),
      pids: Count.optional().describe("Processes and threads at once."),
      disk: ByteSize.optional().describe("What the sandbox may add to its image; 4GiB unless given."),
    })
    .optional()
    .describe("The container."),
  tests: z
    .array(TestDocument)
    .max(2000)
    .optional()
    .describe("Run whenever the document is read; one that fails refuses it."),
});
export type PolicyDocument = z.infer<typeof PolicyDocument>;
