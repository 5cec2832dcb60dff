import { describe, expect, test } from "vitest";
import { checkPolicy } from "../../daemon/policy/check-policy.ts";
import { effectOf } from "../../daemon/policy/effect.ts";
import { actionOf, type ExampleAction } from "../../daemon/policy/example-action.ts";
import { explainPolicy } from "../../daemon/policy/explain.ts";
import { type ExampleStep, historyAfter } from "../../daemon/policy/history.ts";
import { judge } from "../../daemon/policy/judge.ts";
import type { Policy } from "../../daemon/policy/port.ts";
import { policy } from "./kit.ts";

const SECTIONS = `
exec:
  shell: contained
  rules:
    - { id: push, argv: [git, push, "..."], decision: allow, effect: external }
    - { id: shell, argv: ["..."], decision: allow }
files: { read: { allow: ["/workspace/**"] }, write: { allow: ["/workspace/**"] } }
network:
  - { id: docs, host: docs.example.org, methods: [GET, POST], paths: ["/**"], decision: allow }
data:
  labels:
    - { path: "/workspace/customers/**", confidentiality: confidential }
    - { path: "/workspace/vendor/**", integrity: untrusted }
    - { tool: fetch, integrity: untrusted }
`;
const two = policy(`${SECTIONS}
sequence:
  - { id: rule-of-two, atMost: 2, of: [untrusted-input, private-data, external-effect], else: ask }
`);
const before = policy(`${SECTIONS}
sequence:
  - { id: test-before-push, before: push, require: { argv: [npm, test], exit: 0, after: write }, else: deny, reason: The tests first. }
`);

function judgedAfter(
  layers: Policy | readonly Policy[],
  steps: readonly ExampleStep[],
  action: ExampleAction,
) {
  const all = "name" in layers ? [layers] : layers;
  return judge(all, actionOf(action), historyAfter(all, steps));
}

const CUSTOMERS = { read: "/workspace/customers/a.csv" };
const PAGE = { http: "GET https://docs.example.org/" };
const POST = { http: "POST https://docs.example.org/" };
const PUSH = { exec: "git push" };

describe("at most so many of these in one run", () => {
  test.each<[string, ExampleStep[], ExampleAction, string]>([
    ["two of three", [CUSTOMERS], PAGE, "allow"],
    ["the third, an effect", [CUSTOMERS, PAGE], POST, "ask"],
    ["the third, a command's effect", [CUSTOMERS, PAGE], PUSH, "ask"],
    ["the third, a read", [PAGE, POST], CUSTOMERS, "ask"],
    ["the third, a page", [CUSTOMERS, PUSH], PAGE, "ask"],
    ["by a command's own words", [{ exec: "cat vendor/readme customers/a.csv" }], PUSH, "ask"],
    ["by a redirect", [PAGE, { exec: "wc -l < customers/a.csv" }], POST, "ask"],
    ["all at once", [], { exec: "cat vendor/x /workspace/customers/a && git push" }, "ask"],
    ["no part in it", [CUSTOMERS, PAGE, POST], { read: "/workspace/a" }, "allow"],
    ["again, each time", [CUSTOMERS, PAGE, POST], POST, "ask"],
    ["one fact twice", [CUSTOMERS, CUSTOMERS, { read: "/workspace/customers/b" }], PUSH, "allow"],
  ])("%s", (_, steps, action, verdict) => {
    const judged = judgedAfter(two, steps, action);
    expect(judged).toMatchObject({ verdict, ...(verdict === "ask" ? { rule: "rule-of-two" } : {}) });
  });

  test("a denial says which came together and what to leave out", () => {
    const strict = policy(`${SECTIONS}
sequence: [{ id: apart, atMost: 1, of: [private-data, external-effect], else: deny }]`);
    const { reason } = judgedAfter(strict, [CUSTOMERS], PUSH);
    expect(reason).toMatch(/`private-data, external-effect in one run`/);
    expect(reason).toMatch(/At most 1 of private-data, external-effect .* go on without another/);
  });
});

describe("one thing before another", () => {
  const TESTED = { exec: "npm test" };
  const EDIT = { write: "/workspace/a.js" };
  test.each<[string, ExampleStep[], string]>([
    ["never run", [], "deny"],
    ["run", [TESTED], "allow"],
    ["run behind a cd", [{ exec: "cd app && npm test" }], "allow"],
    ["failed", [{ ...TESTED, exit: 1 }], "deny"],
    ["failed, then passed", [{ ...TESTED, exit: 1 }, TESTED], "allow"],
    ["passed, then failed", [TESTED, { ...TESTED, exit: 1 }], "deny"],
    ["written since", [TESTED, EDIT], "deny"],
    ["written since by a redirect", [TESTED, { exec: "echo x > a.js" }], "deny"],
    ["written, then run", [EDIT, TESTED], "allow"],
    ["read since", [TESTED, { read: "/workspace/a.js" }, { exec: "ls 2>/dev/null" }], "allow"],
    ["written in the same text", [{ exec: "npm test && echo x > a.js" }], "deny"],
    ["another command", [{ exec: "npm test --dry-run" }], "deny"],
    ["only said", [{ exec: "echo npm test" }], "deny"],
    // The exit status of these is not that of `npm test`.
    ["its failure hidden", [{ exec: "npm test || true" }], "deny"],
    ["not the last", [{ exec: "npm test; true" }], "deny"],
    ["into a pipe", [{ exec: "npm test | tail" }], "deny"],
    ["in the background", [{ exec: "npm test &" }], "deny"],
    ["turned around", [{ exec: "! npm test" }], "deny"],
    ["in a condition", [{ exec: "if npm test; then :; fi" }], "deny"],
    ["in a shell of its own", [{ exec: "sh -c 'npm test; true'" }], "deny"],
    ["in a substitution", [{ exec: "echo $(npm test)" }], "deny"],
    ["by another program of that name", [{ exec: "./npm test" }], "deny"],
  ])("%s", (_, steps, verdict) => {
    const judged = judgedAfter(before, steps, PUSH);
    expect(judged).toMatchObject({ verdict, rule: verdict === "deny" ? "test-before-push" : "push" });
  });

  test("holds for the rule's own actions, however they are wrapped, and for no other", () => {
    expect(judgedAfter(before, [], { exec: "timeout 9 git push" }).rule).toBe("test-before-push");
    expect(judgedAfter(before, [], { exec: "npm test && git push" }).rule).toBe("test-before-push");
    expect(judgedAfter(before, [], { exec: "git status" }).verdict).toBe("allow");
  });

  test("a denial says what to run", () => {
    expect(judgedAfter(before, [], PUSH).reason).toMatch(
      /The tests first\. `npm test` must have been run before with exit status 0, after the last write\. Run `npm test` by itself first/,
    );
  });

  test("a status other than 0 may be required too", () => {
    const red = policy(`${SECTIONS}
sequence: [{ id: red-first, before: push, require: { argv: [npm, test, "..."], exit: 1 }, else: ask }]`);
    expect(judgedAfter(red, [{ exec: "npm test a", exit: 1 }], PUSH).verdict).toBe("allow");
    expect(judgedAfter(red, [{ exec: "npm test a" }], PUSH).verdict).toBe("ask");
    expect(judgedAfter(red, [{ exec: "cd x && npm test a", exit: 1 }], PUSH).verdict).toBe("ask");
  });
});

describe("tiers", () => {
  const tiers = policy("tiers: { read: allow, local: allow, external: ask }");
  test("decide for kinds without a section", () => {
    expect(judgedAfter(tiers, [], { exec: "npm test" })).toMatchObject({
      verdict: "allow",
      rule: "tiers.local",
    });
    expect(judgedAfter(tiers, [], { read: "/etc/passwd" })).toMatchObject({
      verdict: "allow",
      rule: "tiers.read",
    });
    expect(judgedAfter(tiers, [], { write: "/workspace/a" }).rule).toBe("tiers.local");
    expect(judgedAfter(tiers, [], { tool: "recall" }).rule).toBe("tiers.read");
  });

  test("never let a request out, and never a command that can't be judged (P1)", () => {
    expect(judgedAfter(tiers, [], PAGE)).toMatchObject({ verdict: "deny", rule: "default" });
    expect(judgedAfter(tiers, [], POST).verdict).toBe("deny");
    for (const exec of ["if true; then", "a\rb", "x".repeat(70_000), ""])
      expect(judgedAfter(tiers, [], { exec }).verdict).toBe("deny");
  });

  test("narrow a section, and allow nothing in it", () => {
    const both = policy(`${SECTIONS}tiers: { read: allow, local: ask, external: deny }`);
    expect(judgedAfter(both, [], PUSH)).toMatchObject({ verdict: "deny", rule: "tiers.external" });
    expect(judgedAfter(both, [], { exec: "ls" })).toMatchObject({ verdict: "ask", rule: "tiers.local" });
    expect(judgedAfter(both, [], { read: "/etc/passwd" })).toMatchObject({
      verdict: "deny",
      rule: "default",
    });
    expect(judgedAfter(both, [], POST).rule).toBe("tiers.external");
    expect(judgedAfter(both, [], PAGE).verdict).toBe("allow");
    expect(judgedAfter(both, [], PUSH).reason).toMatch(
      /Allowed are actions with the effect `read`\. With a person's approval: `local`\./,
    );
  });

  test("of a document without a section its asks about files alone allow no command", () => {
    const asks = policy('files: { write: { ask: ["/workspace/**"] } }\ntiers: { external: ask }');
    expect(judgedAfter(asks, [], { exec: "echo x > a" })).toMatchObject({ verdict: "deny", rule: "default" });
  });

  test("P2: no other document's effects take away what a document's tiers say", () => {
    const upper = policy("tiers: { read: allow, local: deny, external: ask }", "organisation");
    const lower = policy(
      'exec: { shell: contained, rules: [{ id: any, argv: [ls, "..."], decision: allow, effect: read }, { id: out, argv: [curl, "..."], decision: allow, effect: external }] }',
    );
    expect(judgedAfter([upper, lower], [], { exec: "ls" })).toMatchObject({
      verdict: "deny",
      rule: "tiers.local",
    });
    const lax = policy("tiers: { external: allow }", "organisation");
    expect(judgedAfter([lax, lower], [], { exec: "curl x" })).toMatchObject({
      verdict: "allow",
      rule: "out",
    });
    const brought: Policy = { ...lower, layer: "project" };
    expect(judgedAfter([brought, lax], [], { exec: "curl x" }).verdict).toBe("deny");
    const { verdict, matched } = judgedAfter([upper, lower], [], { exec: "curl x" });
    expect(verdict).toBe("deny");
    expect(matched.map(({ rule }) => rule)).toEqual(
      expect.arrayContaining(["tiers.local", "tiers.external"]),
    );
  });

  test.each<[ExampleAction, string]>([
    [PAGE, "read"],
    [POST, "external"],
    [PUSH, "external"],
    [{ exec: "git status" }, "local"],
    [{ read: "/workspace/a" }, "read"],
    [{ write: "/workspace/a" }, "local"],
    [{ tool: "plan" }, "local"],
  ])("the effect of %j is %s", (action, effect) => {
    expect(effectOf([two], actionOf(action))).toBe(effect);
  });

  test("a rule's effect holds for requests too, but a POST stays external", () => {
    const declared = policy(
      'network: [{ id: a, host: a.example, methods: [GET, POST], paths: ["/hook"], decision: allow, effect: external }, { id: b, host: b.example, methods: [POST], paths: ["/**"], decision: allow, effect: read }]',
    );
    expect(effectOf([declared], actionOf({ http: "GET https://a.example/hook" }))).toBe("external");
    expect(effectOf([declared], actionOf({ http: "POST https://b.example/" }))).toBe("external");
  });
});

describe("tests and explain, after steps", () => {
  const TEXT = `version: 1
name: after
default: deny
network: [{ id: docs, host: docs.example.org, methods: [GET, POST], paths: ["/**"], decision: allow }]
data:
  labels: [{ tool: fetch, integrity: untrusted }]
  flow: [{ id: tainted, when: { integrity: untrusted }, to: [host], methods: [POST], decision: ask }]
tests:
  - { http: "POST https://docs.example.org/", expect: allow, rule: docs }
  - { after: [{ http: "GET https://docs.example.org/" }], http: "POST https://docs.example.org/", expect: ask, rule: tainted }
`;
  test("a test's steps count as done", () => {
    expect(checkPolicy(TEXT)).toMatchObject({ ok: true, tests: { passed: 2, failed: [] }, untouched: [] });
    expect(checkPolicy(TEXT.replace("expect: ask", "expect: allow")).tests.failed).toEqual([
      { index: 1, expected: "allow by tainted", got: "ask by tainted" },
    ]);
  });

  test("explain takes the same steps", () => {
    expect(explainPolicy(TEXT, { http: "POST https://docs.example.org/" }).verdict).toBe("allow");
    const after = [{ http: "GET https://docs.example.org/" }];
    expect(explainPolicy(TEXT, { http: "POST https://docs.example.org/", after })).toMatchObject({
      verdict: "ask",
      rule: "tainted",
      matched: [
        { rule: "docs", decision: "allow" },
        { rule: "tainted", decision: "ask" },
      ],
    });
  });
});
