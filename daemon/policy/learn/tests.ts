/** Tests from what happened: of each rule what it is for, then the rest as far as there is room. */
import type { TestDocument } from "../document.ts";
import type { Policy } from "../port.ts";
import { type Draft, type Others, policyOf, type Sample, verdictOnExample } from "./draft.ts";
import { exampleOf } from "./observation.ts";
import { samplePath } from "./samples.ts";

/** Tests that a file may have by the document's schema is far above; people read these. */
const TESTS = 300;
const CHARACTERS = 40_000;

export async function testsFor(draft: Draft, others: Others): Promise<TestDocument[]> {
  const { document, all, samples } = draft;
  const policy = policyOf(document);
  const happened: Sample[] = [
    ...all.allowed.map(({ action }) => ({ example: exampleOf(action), expect: "allow" as const })),
    // Where no rule can ask for it alone, it is allowed.
    ...all.disputed.flatMap(({ action }) =>
      (["ask", "allow"] as const).map((expect) => ({ example: exampleOf(action), expect })),
    ),
    ...all.denied.map(({ action }) => ({ example: exampleOf(action), expect: "deny" as const })),
  ];
  const folders = (["read", "write"] as const).flatMap((access) =>
    (document.files?.[access]?.allow ?? []).map((glob): Sample => {
      const path = samplePath(glob);
      return { example: access === "read" ? { read: path } : { write: path }, expect: "allow" };
    }),
  );
  const right: Right[] = [];
  for (const sample of [...happened, ...samples, ...folders]) {
    await others();
    right.push(...judged(sample, policy));
  }
  const touched = new Set<string>();
  const needed = right.filter(({ rules }) => {
    const isNew = rules.some((rule) => !touched.has(rule));
    for (const rule of rules) touched.add(rule);
    return isNew;
  });
  let characters = 0;
  const chosen = new Set(needed);
  const more = right.slice(0, happened.length).filter((one) => {
    if (chosen.has(one)) return false;
    characters += JSON.stringify(one.test).length;
    return characters < CHARACTERS;
  });
  return [...needed, ...more.slice(0, TESTS)].map(({ test }) => test);
}

interface Right {
  readonly test: TestDocument;
  readonly rules: readonly string[];
}

function judged({ example, expect }: Sample, policy: Policy): Right[] {
  const { verdict, matched } = verdictOnExample(policy, example);
  return verdict === expect ? [{ test: { ...example, expect }, rules: matched.map(({ rule }) => rule) }] : [];
}
