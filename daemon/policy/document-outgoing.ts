/** The shape of rules about what leaves the sandbox, and about what a run did before. */
import { z } from "zod";
import { Confidentiality, Integrity } from "../protocol/labels.ts";
import { ByteSize } from "../protocol/quantities.ts";
import { Decision } from "../protocol/verdicts.ts";
import { Id, Method, Reason, Tier, Verdict, Word, Words } from "./document-basics.ts";

export const NetworkRuleDocument = z
  .strictObject({
    id: Id,
    host: Word.optional().describe(
      "A lower-case host name; `*.example.org` is its subdomains, `*` any name.",
    ),
    registry: z
      .enum(["npm", "pypi"])
      .optional()
      .describe("Instead of `host`: the registries that this machine's own client is configured for."),
    ports: z.array(z.int().min(1).max(65_535)).min(1).max(100).optional().describe("Without it: any port."),
    addresses: Words.optional().describe(
      "Private, loopback or link-local addresses that the host may have, as address/prefix.",
    ),
    methods: z.array(Method).min(1).max(50).optional().describe("Upper-case: GET, POST, …"),
    paths: Words.optional().describe("Globs over the URL's path: `/**` is any."),
    opaque: z
      .literal(true)
      .optional()
      .describe("Instead of `methods` and `paths`: encrypted end to end, so nothing inside is looked at."),
    decision: Verdict,
    sink: Id.optional().describe("A name that `data.flow` may say instead of `host`."),
    secret: Id.optional().describe("One of `secrets`, put into the request by the daemon."),
    maxBytesOut: ByteSize.optional().describe("What one request may send: head and body."),
    effect: Tier.optional(),
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

export const Secret = z.strictObject({
  from: Word.describe("`env:NAME`, or `file:NAME` under the daemon's own folder of secrets."),
  header: Word.describe("`name: value`, with `{}` where the secret goes."),
  hosts: Words.describe("The only hosts that it is sent to."),
});

const Trust = Integrity.optional().describe(
  "trusted, or untrusted: it may say things to mislead whoever reads it.",
);
const Privacy = Confidentiality.optional().describe("public < internal < confidential < secret.");

/** Where a label comes from, and what it says. */
const LABEL_SOURCES = ["path", "tool", "host", "detector"] as const;
export const LabelRuleDocument = z
  .strictObject({
    path: Word.optional().describe("A glob over absolute paths."),
    tool: Word.optional().describe("What this tool brings in; `fetch`: whatever comes in by the network."),
    host: Word.optional().describe("What this host answers."),
    detector: Word.optional().describe("What this kind of detector finds a secret in."),
    integrity: Trust,
    confidentiality: Privacy,
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
    .strictObject({ integrity: Trust, confidentiality: Privacy })
    .describe("Data of this integrity, and of this confidentiality or more."),
  to: Words.describe("`model`, `host`, `export`, or the `sink` of a network rule."),
  methods: z.array(Method).min(1).max(50).optional().describe("Of requests; without it: all."),
  decision: Verdict,
  reason: Reason.optional(),
});
export type FlowRuleDocument = z.infer<typeof FlowRuleDocument>;

export const Data = z.strictObject({
  labels: z.array(LabelRuleDocument).max(1000).optional().describe("What data from where is."),
  flow: z.array(FlowRuleDocument).max(1000).optional().describe("Where data of which labels may not go."),
});

export const SequenceRuleDocument = z
  .strictObject({
    id: Id,
    atMost: z.int().min(0).max(2).optional().describe("How many of `of` may come together in a run."),
    of: z
      .array(z.enum(["untrusted-input", "private-data", "external-effect"]))
      .min(1)
      .optional()
      .describe("Read something untrusted; read something confidential; reached outside the sandbox."),
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
      .optional()
      .describe("What must have been done before."),
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
