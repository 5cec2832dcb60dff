/** Tests that ask about something that is judged, and name rules that exist. */
import { hintFor } from "../protocol/suggest.ts";
import type { PolicyProblem } from "../protocol/views.ts";
import { idsOf, SECTION_OF } from "./checking.ts";
import type { StepDocument } from "./document.ts";
import type { Path, ReadDocument } from "./read-document.ts";

/** Rules without an id, by their place. */
const PLACE = /^(?:tiers\.(?:read|local|external)|(?:files|exec)\.[\w.]+(?:\[\d+\])?)$/;
const REQUEST = /^[A-Z]{1,20} (?:https?:|registry:(?:npm|pypi)(?:\/|$))\S*$/i;

function* exampleProblems(read: ReadDocument, example: StepDocument, path: Path): Iterable<PolicyProblem> {
  const section = example.tool === undefined ? undefined : SECTION_OF.get(example.tool);
  if (section)
    yield read.problem(
      [...path, "tool"],
      `\`${example.tool}\` is judged by \`${section}\``,
      "write `exec`, `read`, `write` or `http`",
    );
  if (example.http !== undefined && !REQUEST.test(example.http))
    yield read.problem(
      [...path, "http"],
      `\`${example.http}\` is no request`,
      "write a method and a URL, such as GET https://example.org/ or GET registry:npm/left-pad",
    );
  if (example.exit !== undefined && example.exec === undefined)
    yield read.problem([...path, "exit"], "only commands have an exit status", "remove `exit`", "key");
}

export function* testProblems(read: ReadDocument): Iterable<PolicyProblem> {
  const ids = idsOf(read).map(({ id }) => id);
  for (const [i, test] of (read.document.tests ?? []).entries()) {
    const { rule, after = [] } = test;
    if (rule !== undefined && rule !== "default" && !PLACE.test(rule) && !ids.includes(rule))
      yield read.problem(["tests", i, "rule"], `no rule has the id \`${rule}\``, hintFor(rule, ids));
    yield* exampleProblems(read, test, ["tests", i]);
    for (const [n, step] of after.entries()) yield* exampleProblems(read, step, ["tests", i, "after", n]);
  }
}
