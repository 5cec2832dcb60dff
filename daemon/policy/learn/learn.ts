import { CaissonError } from "../../protocol/errors.ts";
import { parsePolicy } from "../parse-policy.ts";
import { allowing, type Breadth } from "./allowing.ts";
import { narrowed } from "./denials.ts";
import type { Others, RecordedRuns } from "./draft.ts";
import { guarded } from "./guards.ts";
import { gathered } from "./observation.ts";
import { render } from "./render.ts";
import { testsFor } from "./tests.ts";

export interface Learnt {
  readonly text: string;
  /** Different things that were allowed, and denied. */
  readonly allowed: number;
  readonly denied: number;
  /** Where the file is wider, or otherwise not, what was done. */
  readonly notes: readonly string[];
}

/** Narrow first; wider where the file would be longer than files may be. */
const BREADTHS: readonly Breadth[] = [
  { most: 12, wide: false },
  { most: 4, wide: false },
  { most: 1, wide: true },
];
/** Characters: below what is read of a document. */
const MOST = 110_000;
const TOLD = 20;
/** Different things that are learnt from: each is judged several times over, while others wait. */
const THINGS = 5_000;

/**
 * The narrowest policy file that allows what people or rules allowed in recorded runs, with tests of what was allowed
 * and denied. What people denied stays out; what they answered both ways asks. It allows all that was allowed, so it
 * is wider than that where only a wider rule can be written: the notes say where.
 * @param comments lines that the file begins with
 * @param others lets others have their turn: to learn much takes seconds
 * @throws CaissonError `invalid_request`: nothing was allowed, or too much for one file
 */
export async function learnPolicy(
  name: string,
  recorded: RecordedRuns,
  comments: readonly string[],
  others: Others,
): Promise<Learnt> {
  const all = gathered(recorded.observations);
  if (all.allowed.length + all.disputed.length === 0)
    throw new CaissonError(
      "invalid_request",
      "Nothing was allowed in these runs, so there is nothing to learn.",
    );
  for (const breadth of all.allowed.length + all.denied.length > THINGS ? [] : BREADTHS) {
    const allowed = await allowing(name, all, recorded, breadth, others);
    const draft = await narrowed(await guarded(allowed, recorded, others), others);
    const notes = [...new Set(draft.notes)];
    const document = { ...draft.document, tests: await testsFor(draft, others) };
    const text = render(document, [...comments, ...notesAsComments(notes)]);
    if (text.length > MOST || document.tests.length > 2_000) continue;
    const { check } = parsePolicy(text, "run");
    if (!check.ok)
      throw new Error(`what was learnt is no policy: ${JSON.stringify(check.errors.slice(0, 3))}`);
    return { text, allowed: all.allowed.length + all.disputed.length, denied: all.denied.length, notes };
  }
  throw new CaissonError(
    "invalid_request",
    "These runs did too many different things for one policy file. Learn from fewer at a time.",
  );
}

function notesAsComments(notes: readonly string[]): string[] {
  const more = notes.length > TOLD ? [`and ${notes.length - TOLD} notes more`] : [];
  return [...notes.slice(0, TOLD), ...more];
}
