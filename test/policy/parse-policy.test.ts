import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { checkPolicy } from "../../daemon/policy/check-policy.ts";
import { explainPolicy } from "../../daemon/policy/explain.ts";
import { narrowLimits } from "../../daemon/policy/limits.ts";
import { parsePolicy } from "../../daemon/policy/parse-policy.ts";
import { CaissonError } from "../../daemon/protocol/errors.ts";
import { policy } from "./kit.ts";

const HEAD = "version: 1\nname: test\ndefault: deny\n";

function first(sections: string) {
  const check = checkPolicy(HEAD + sections);
  expect(check.ok).toBe(false);
  return check.errors[0];
}
const rule = (text: string) => `exec:\n  shell: contained\n  rules:\n    - ${text}\n`;

describe("an error names its line, its column and what to write", () => {
  test.each([
    ["unknown key", "tols: []", 4, 1, /unknown key `tols`/, /`tools`/],
    [
      "unknown key in a rule",
      rule("{ id: a, argv: [ls], decison: allow }"),
      7,
      7,
      /lacks its key `decision`/,
      /allow, ask, deny/,
    ],
    ["a typo in a value", rule("{ id: a, argv: [ls], decision: alow }"), 7, 38, /`alow`/, /`allow`/],
    ["repeated key", "tools: []\ntools: []", 5, 1, /unique/, undefined],
    [
      "repeated id",
      `${rule("{ id: a, argv: [ls], decision: allow }")}    - { id: a, argv: [cat], decision: deny }`,
      8,
      13,
      /`a` is there twice/,
      /unique/,
    ],
    [
      "a number as a word",
      rule("{ id: a, argv: [sleep, 5], decision: allow }"),
      7,
      30,
      /list of words/,
      /"5", in quotes/,
    ],
    ["alias", "tools: &a []\nlimits: *a", 4, 11, /anchors/, undefined],
    ["tag", "name2: !!str x", 4, 14, /tags/, undefined],
    ["merge key", "limits: { <<: { actions: 5 } }", 4, 11, /merge/, undefined],
    ["two documents", "limits: {}\n---\na: 1", 5, 1, /one document/, undefined],
    ["tab indentation", "limits:\n\tactions: 5", 5, 1, /not strict YAML/, undefined],
    ["a quantity", "limits: { wall: soon }", 4, 17, /30s, 10m/, undefined],
    ["rest not last", rule('{ id: a, argv: ["...", ls], decision: allow }'), 7, 23, /stands last/, undefined],
    [
      "has without arguments",
      rule("{ id: a, argv: [ls], has: [-l], decision: allow }"),
      7,
      33,
      /can match nothing/,
      /end `argv`/,
    ],
    [
      "contradicting flags",
      rule('{ id: a, argv: [ls, "..."], flags: [-a], has: [-l], decision: allow }'),
      7,
      53,
      /can match nothing/,
      undefined,
    ],
    [
      "a flag that is none",
      rule('{ id: a, argv: [ls, "..."], flags: [a], decision: allow }'),
      7,
      43,
      /no flag/,
      /begin with/,
    ],
    [
      "rules without a shell",
      "exec: { shell: none, rules: [{ id: a, argv: [ls], decision: allow }] }",
      4,
      22,
      /can match nothing/,
      /strict/,
    ],
    [
      "a relative glob",
      'files: { read: { allow: ["src/**"] } }',
      4,
      26,
      /can match nothing/,
      /`\/workspace\/src\/\*\*`/,
    ],
    ["a folder glob", 'files: { read: { allow: ["/src/"] } }', 4, 26, /can match nothing/, /`\/src\/\*\*`/],
    ["a variable's name", "exec: { shell: strict, env: { deny: [LD-*] } }", 4, 38, /no variable/, /letters/],
    [
      "a tool with its own section",
      "tools: [{ id: a, tool: [plan, bash], decision: allow }]",
      4,
      31,
      /judged by `exec`/,
      /under `exec`/,
    ],
    ["a tool's typo", "tools: [{ id: a, tool: rember, decision: allow }]", 4, 24, /no tool/, undefined],
    [
      "an unknown rule in a test",
      `${rule("{ id: push, argv: [ls], decision: allow }")}tests: [{ exec: ls, expect: allow, rule: psh }]`,
      8,
      42,
      /no rule has the id `psh`/,
      /`push`/,
    ],
    [
      "two questions in a test",
      "tests: [{ exec: ls, read: /a, expect: deny }]",
      4,
      9,
      /exactly one/,
      undefined,
    ],
    ["an image", "sandbox: { image: bse, images: [base] }", 4, 19, /not among/, /`base`/],
    [
      "a failing test",
      "tests:\n  - { exec: ls, expect: allow }",
      5,
      5,
      /test 0 fails: expected allow, got deny by default/,
      undefined,
    ],
  ])("%s", (_, sections, line, column, message, hint) => {
    const problem = first(sections);
    expect(problem).toMatchObject({ line, column, message: expect.stringMatching(message) });
    if (hint) expect(problem?.hint).toMatch(hint);
  });

  test.each([
    ["nothing", "", /empty/],
    ["default allow", "version: 1\nname: a\ndefault: allow", /only legal value/],
    ["version 2", "version: 2\nname: a\ndefault: deny", /version: 1/],
    ["a list", "- a", /Invalid input/],
    ["no name", "version: 1\ndefault: deny", /lacks its key `name`/],
    // Beyond its stack, the YAML reader can end the whole process.
    ["deep YAML", `${HEAD}data: ${"[".repeat(20_000)}`, /deeper than 64/],
    ["deep YAML alone", "[".repeat(1_000), /deeper than 64/],
    ["deep lists in lists", "- ".repeat(1_000), /deeper than 64/],
    [
      "more keys than can be compared",
      Array.from({ length: 1_002 }, (_, at) => `k${at}: 1`).join("\n"),
      /over 1000 keys/,
    ],
    [
      "the same in braces",
      `{${Array.from({ length: 1_002 }, (_, at) => `k${at}: 1`).join(", ")}}`,
      /over 1000 keys/,
    ],
    ["a megabyte", "#".repeat(1_000_001), /over 131072/],
    ["NUL", `${HEAD}\0`, /./],
  ])("%s", (_, text, message) => {
    const check = checkPolicy(text);
    expect(check.ok).toBe(false);
    expect(check.errors.map((error) => error.message).join()).toMatch(message);
  });
});

test("empty sections are legal", () => {
  expect(checkPolicy(`${HEAD}network: []\nsecrets: {}\ndata: {}\nsequence: []\n`).ok).toBe(true);
});

describe("a rule that never changes a verdict is a warning", () => {
  test.each([
    [
      "under a denial",
      [
        '{ id: a, argv: [git, push, "..."], decision: allow }',
        '{ id: b, argv: [git, "..."], decision: deny }',
      ],
      1,
    ],
    ["a twin", ["{ id: a, argv: [ls], decision: allow }", "{ id: b, argv: [ls], decision: allow }"], 1],
    [
      "a narrower denial",
      [
        '{ id: a, argv: [git, "..."], decision: allow }',
        '{ id: b, argv: [git, push, "..."], decision: deny }',
      ],
      0,
    ],
    [
      "a denial with a condition",
      [
        '{ id: a, argv: [git, "..."], decision: allow }',
        '{ id: b, argv: [git, "..."], has: [-f], decision: deny }',
      ],
      0,
    ],
    [
      "a named rule beside a broad one",
      ['{ id: a, argv: [git, "..."], decision: allow }', '{ id: b, argv: ["..."], decision: allow }'],
      0,
    ],
    [
      "an exact denial",
      ['{ id: a, argv: [ls, "..."], decision: allow }', "{ id: b, argv: [ls], decision: deny }"],
      0,
    ],
  ])("%s", (_, rules, count) => {
    const check = checkPolicy(HEAD + rule(rules.join("\n    - ")));
    expect(check.errors).toEqual([]);
    expect(check.warnings).toHaveLength(count);
  });
  test("a glob that is allowed and denied", () => {
    const check = checkPolicy(`${HEAD}files: { write: { allow: [/a/**], deny: [/a/**] } }`);
    expect(check.warnings).toMatchObject([{ line: 4, column: 27 }]);
  });
});

test("the policies in docs/policy.md are whole and pass their tests", () => {
  const text = readFileSync(new URL("../../docs/policy.md", import.meta.url), "utf8");
  const blocks = [...text.matchAll(/```yaml\n([\s\S]*?)```/g)].map((block) => block[1] ?? "");
  expect(blocks.length).toBeGreaterThan(0);
  for (const block of blocks)
    expect(checkPolicy(block)).toMatchObject({ ok: true, errors: [], warnings: [] });
});

test("settings have units and defaults", () => {
  const parsed = policy(
    "limits: { wall: 30m, tokens: 2M, cost: 5USD }\nsandbox: { memory: 1GiB, images: [node] }\nexec: { shell: strict, limits: { timeout: 5s } }",
  );
  expect(parsed.limits).toEqual({ wall: 1_800_000, tokens: 2_000_000, cost: 5 });
  expect(parsed.sandbox).toMatchObject({ image: "node", memoryBytes: 2 ** 30, cpus: 2 });
  expect(parsed.execLimits).toMatchObject({ timeoutMs: 5_000, bytes: 65_536 });
  expect(parsed.hash).toMatch(/^[0-9a-f]{64}$/);
});

describe("limits", () => {
  const layers = [
    policy("limits: { actions: 10, wall: 5m }", "organisation"),
    policy("limits: { actions: 20, tokens: 1k }"),
  ];
  test("P2, L1: the lowest of every layer's and the task's", () => {
    expect(narrowLimits(layers, { wall: 1000, asks: 3 })).toEqual({
      actions: 10,
      wall: 1000,
      tokens: 1000,
      asks: 3,
    });
  });
  test("above a policy's is refused", () => {
    try {
      narrowLimits(layers, { actions: 15, tokens: 2000 });
      expect.unreachable();
    } catch (error) {
      expect(error).toBeInstanceOf(CaissonError);
      expect(error).toMatchObject({
        code: "limit_above_policy",
        errors: [{ path: "limits.actions" }, { path: "limits.tokens" }],
      });
    }
  });
});

describe("explain", () => {
  const text = readFileSync(new URL("../../policies/coding.yaml", import.meta.url), "utf8");
  test("gives the verdict and every match", () => {
    expect(explainPolicy(text, { exec: "git push -f" })).toMatchObject({
      verdict: "deny",
      rule: "force",
      layer: "run",
    });
    expect(explainPolicy(text, { write: "src/a.js" }).verdict).toBe("allow");
    expect(explainPolicy(text, { read: "/root/x" }).verdict).toBe("deny");
    expect(explainPolicy(text, { http: "GET https://a.b/" }).verdict).toBe("deny");
  });
  test("refuses a broken document, and a step that says nothing", () => {
    expect(() => explainPolicy("version: 1", { exec: "ls" })).toThrow(
      expect.objectContaining({ code: "policy_invalid" }),
    );
    expect(() => explainPolicy(text.replace("exec:", "exce:"), { exec: "ls" })).toThrow(
      expect.objectContaining({
        errors: expect.arrayContaining([
          { path: expect.stringMatching(/^\d+:1$/), message: expect.stringMatching(/`exce`.*\(.*`exec`/) },
        ]),
      }),
    );
    expect(() => explainPolicy(text, { exec: "ls", after: [{ raed: "/a" }] })).toThrow(
      expect.objectContaining({ code: "invalid_request", errors: expect.any(Array) }),
    );
  });
  test("a parsed policy keeps its text and layer", () => {
    const result = parsePolicy(text, "organisation");
    expect(result).toMatchObject({ ok: true, policy: { text, layer: "organisation", name: "coding" } });
  });
});

test("a name of a tool with `*` in it stands for several, and is no slip of the pen", () => {
  const text = (tool: string) =>
    `version: 1\nname: p\ndefault: deny\ntools: [{ id: a, tool: "${tool}", decision: allow }]\n`;
  expect(checkPolicy(text("plan*"))).toMatchObject({ ok: true, errors: [] });
  expect(checkPolicy(text("plann")).errors).toMatchObject([{ hint: expect.stringContaining("plan") }]);
});
