import { expect, test } from "vitest";
import { explanationLines } from "../../../client/cli/commands/policy-explain.ts";
import { explainPolicy } from "../../../daemon/policy/explain.ts";

const POLICY = `version: 1
name: mine
default: deny
exec: { shell: contained, rules: [{ id: shell, argv: ["..."], decision: allow }] }
files:
  read: { allow: [/workspace/**] }
  write: { allow: [/workspace/out/*.txt], deny: ["**/.git/**"] }
`;

function told(question: object): string {
  const lines = explanationLines(explainPolicy(POLICY, question));
  return lines
    .map(({ indent, spans }) => " ".repeat(indent) + spans.map(({ text }) => text).join(""))
    .join("\n");
}

test("an explanation says what commands may do by the kernel, and which rule for files holds where", () => {
  const text = told({ exec: "make" });
  expect(text).toContain("  read  /workspace\n  write /workspace/out\n");
  expect(text).toContain("  kernel     allow files.read.allow[0] (run)\n");
  expect(text).toContain(
    "  in part    allow files.write.allow[0] (run): commands may write all that is beneath /workspace/out",
  );
  expect(text).toContain("  file tools deny  files.write.deny[0] (run): ");
});

test("an explanation of a path tells of its own list, one of a request of none", () => {
  expect(told({ read: "/workspace/a" })).toContain("files.read.allow[0]");
  expect(told({ read: "/workspace/a" })).not.toContain("files.write");
  expect(told({ http: "GET https://docs.example.org/" })).not.toContain("kernel");
});
