/** What rules of every section are made of. */
import { z } from "zod";
import { Decision, Effect } from "../protocol/verdicts.ts";

export const Id = z
  .string()
  .max(100)
  .regex(/^[A-Za-z][A-Za-z0-9_-]*$/, "an id is letters, digits, `-` and `_`, a letter first")
  .refine((id) => id !== "default", "`default` names the verdict when no rule matches")
  .describe("A name for the rule, unique in the document: verdicts name it.");
export const Reason = z
  .string()
  .min(1)
  .max(500)
  .describe("A sentence for the person asked and for the model.");
const WORD = "a word in quotes: YAML reads this one as something else";
export const Word = z
  .string({ error: `write ${WORD}` })
  .min(1)
  .max(1000);
export const Words = z.array(Word).min(1).max(500);
export const OneOrMore = z.union([Word, Words], { error: "write a word, or a list of words" });
export const Globs = z.array(Word).max(1000);
export const Method = z.string().regex(/^[A-Z]{1,20}$/, "a method is upper-case letters, such as GET");

export const Verdict = Decision.describe("Deny beats ask beats allow, whatever the order of rules.");
export const Tier = Effect.describe(
  "What a match does: looks (read), changes the sandbox (local), reaches out (external).",
);
