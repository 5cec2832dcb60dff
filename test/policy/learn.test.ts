import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { checkPolicy } from "../../daemon/policy/check-policy.ts";
import { actionOf } from "../../daemon/policy/example-action.ts";
import { NOTHING_DONE } from "../../daemon/policy/history.ts";
import { judge } from "../../daemon/policy/judge.ts";
import type { RecordedRuns } from "../../daemon/policy/learn/draft.ts";
import { learnPolicy } from "../../daemon/policy/learn/learn.ts";
import type { Example, Observation } from "../../daemon/policy/learn/observation.ts";
import { parsePolicy } from "../../daemon/policy/parse-policy.ts";
import type { PolicyAction } from "../../daemon/policy/port.ts";

const NOTHING: RecordedRuns = {
  observations: [],
  layers: [],
  folders: { read: [], write: [] },
  limits: {},
  images: [],
};

const yes = (example: Example, by: Observation["by"] = "rule"): Observation => ({
  action: actionOf(example),
  outcome: "allowed",
  by,
});
const no = (example: Example, by: Observation["by"] = "rule"): Observation => ({
  action: actionOf(example),
  outcome: "denied",
  by,
});

async function learnt(observations: readonly Observation[], more: Partial<RecordedRuns> = {}) {
  const found = await learnPolicy(
    "learnt",
    { ...NOTHING, observations, ...more },
    ["A comment."],
    async () => undefined,
  );
  const check = checkPolicy(found.text);
  expect(check, found.text).toMatchObject({ ok: true, errors: [], untouched: [], tests: { failed: [] } });
  const parsed = parsePolicy(found.text, "run");
  if (!parsed.ok) throw new Error("refused");
  const verdict = (action: PolicyAction | Example) =>
    judge([parsed.policy], "kind" in action ? action : actionOf(action), NOTHING_DONE).verdict;
  return { ...found, check, verdict };
}

describe("a policy that is learnt", () => {
  test("allows commands as they were: alternatives where one word differs, nothing beside", async () => {
    const { text, verdict, notes } = await learnt([
      yes({ exec: "git status --short" }),
      yes({ exec: "git diff src/a.js" }),
      yes({ exec: "git diff src/b.js" }),
      yes({ exec: "npm test" }, "person"),
      no({ exec: "git push origin main" }, "person"),
    ]);
    expect(text).toContain("{ id: git-diff, argv: [git, diff, [src/a.js, src/b.js]], decision: allow }");
    expect(text).toContain("shell: strict");
    expect(notes).toEqual([]);
    expect(verdict({ exec: "git diff src/b.js && npm test" })).toBe("allow");
    for (const exec of [
      "git push origin main",
      "git diff src/c.js",
      "npm test -- --watch",
      "echo $(npm test)",
    ])
      expect(verdict({ exec }), exec).toBe("deny");
  });

  test("what a command of the fuller shell was answered both ways needs that shell as well", async () => {
    const exec = "echo $(date)";
    const { text, verdict } = await learnt([yes({ exec }), no({ exec }, "person")]);
    expect(text).toContain("shell: contained");
    expect(["allow", "ask"]).toContain(verdict({ exec }));
  });

  test("of many different commands of one program and sub-command it makes one rule, with the flags they had", async () => {
    const many = Array.from({ length: 20 }, (_, i) => yes({ exec: `git log -n ${i} --oneline path/${i}` }));
    const { text, verdict, notes } = await learnt(many);
    expect(text).toContain('argv: [git, log, "..."], flags: ["-n", "--oneline"]');
    expect(notes).toEqual([expect.stringContaining("stands for 20 different commands")]);
    expect(verdict({ exec: "git log -n 99 elsewhere" })).toBe("allow");
    expect(verdict({ exec: "git log --output=/etc/x" })).toBe("deny");
    expect(verdict({ exec: "git show" })).toBe("deny");
  });

  test("programs that run texts stay as they were, however many", async () => {
    const many = Array.from({ length: 30 }, (_, i) => yes({ exec: `bash tool-${i}.sh` }));
    const { verdict } = await learnt([...many, yes({ exec: "timeout 5 npm test" })]);
    expect(verdict({ exec: "bash tool-7.sh" })).toBe("allow");
    expect(verdict({ exec: "timeout 5 npm test" })).toBe("allow");
  });

  test("where only any command will do it says so, and keeps what the runs' own policies forbid", async () => {
    const layers = [
      {
        layer: "run" as const,
        text: `version: 1
name: own
default: deny
exec:
  shell: contained
  rules:
    - { id: any, argv: ["..."], decision: allow }
    - { id: force, argv: [git, push, "..."], has: [--force*], decision: deny }
    - { id: push, argv: [git, push, "..."], decision: ask }
  env: { deny: [LD_*] }
files: { write: { allow: ["/workspace/**"], deny: ["**/.git/hooks/**", "**/*.{pem,key}"] } }
`,
      },
    ];
    const { text, verdict, notes } = await learnt(
      [yes({ exec: "for f in *; do $f --help; done" }), no({ exec: "rm -rf src" }, "person")],
      { layers, folders: { read: [], write: ["/workspace"] } },
    );
    expect(notes).toEqual([expect.stringContaining("allows every command")]);
    expect(text).toMatch(/# `any-command` allows every command/);
    expect(verdict({ exec: "anything at all" })).toBe("allow");
    expect(verdict({ exec: "git push" })).toBe("ask");
    expect(verdict({ exec: "git push --force" })).toBe("deny");
    expect(verdict({ exec: "LD_PRELOAD=x true" })).toBe("deny");
    expect(verdict({ exec: "rm -rf src" })).toBe("deny");
    expect(verdict({ write: "/workspace/.git/hooks/pre-commit" })).toBe("deny");
    expect(verdict({ write: "/workspace/a.pem" })).toBe("deny");
    expect(verdict({ write: "/workspace/a" })).toBe("allow");
  });

  test("what people approved is allowed, though their policy asked", async () => {
    const layers = [
      {
        layer: "run" as const,
        text: `version: 1
name: own
default: deny
exec: { shell: contained, rules: [{ id: push, argv: [git, push, "..."], decision: ask }] }
`,
      },
    ];
    const { verdict, notes } = await learnt([yes({ exec: "git push origin main" }, "person")], { layers });
    expect(verdict({ exec: "git push origin main" })).toBe("allow");
    expect(verdict({ exec: "git push origin other" })).toBe("deny");
    expect(notes).toEqual([]);
  });

  test("what people answered both ways asks", async () => {
    const { verdict } = await learnt([
      yes({ exec: "npm publish" }, "person"),
      no({ exec: "npm publish" }, "person"),
      yes({ exec: "npm test" }),
      yes({ write: "/workspace/package.json" }, "person"),
      no({ write: "/workspace/package.json" }, "person"),
    ]);
    expect(verdict({ exec: "npm publish" })).toBe("ask");
    expect(verdict({ exec: "npm test" })).toBe("allow");
    expect(verdict({ write: "/workspace/package.json" })).toBe("ask");
  });

  test("files by their folder, those of the workspace itself one by one; searches by where they looked", async () => {
    const search: PolicyAction = { kind: "read", tool: "grep", path: "/workspace/docs" };
    const { text, verdict } = await learnt([
      yes({ read: "/workspace/src/a/b.js" }),
      yes({ read: "/workspace/README.md" }),
      { action: search, outcome: "allowed", by: "rule" },
      yes({ write: "/workspace/src/a/[x]{1}.js" }),
      no({ write: "/workspace/src/a/secret" }, "person"),
      no({ read: "/etc/passwd" }),
    ]);
    expect(text).toContain(
      'read: { allow: ["/workspace/docs/**", "/workspace/src/a/**", "/workspace/README.md"] }',
    );
    expect(verdict({ read: "/workspace/docs/x/y" })).toBe("allow");
    expect(verdict({ read: "/workspace/package.json" })).toBe("deny");
    expect(verdict({ write: "/workspace/src/a/secret" })).toBe("deny");
    expect(verdict({ write: "/workspace/src/a/other" })).toBe("allow");
  });

  test("requests by host, method and folder; what changes something by its very path; private ranges with it", async () => {
    const dev = { ...yes({ http: "GET http://dev.test:8080/a/b" }), addresses: ["127.0.0.0/8"] };
    const { text, verdict } = await learnt([
      yes({ http: "GET https://docs.test/guide/one" }),
      yes({ http: "GET https://docs.test/guide/two?x=1" }),
      yes({ http: "POST https://docs.test/guide/comments" }, "person"),
      yes({ http: "GET registry:npm/left-pad" }),
      dev,
      no({ http: "GET https://docs.test/guide/private" }, "person"),
      no({ http: "POST https://evil.test/" }),
    ]);
    expect(text).toContain('host: dev.test, ports: [8080], addresses: ["127.0.0.0/8"]');
    expect(verdict({ http: "GET https://docs.test/guide/three" })).toBe("allow");
    expect(verdict({ http: "GET https://docs.test/guide/private" })).toBe("deny");
    expect(verdict({ http: "POST https://docs.test/guide/comments" })).toBe("allow");
    expect(verdict({ http: "POST https://docs.test/guide/one" })).toBe("deny");
    expect(verdict({ http: "GET https://other.test/guide/one" })).toBe("deny");
    expect(verdict({ http: "GET http://dev.test/a/b" })).toBe("deny");
  });

  test("limits, image and what boundaries keep are the runs' own", async () => {
    const layers = [
      {
        layer: "run" as const,
        text: `version: 1\nname: own\ndefault: deny\nfiles: { ingest: { deny: ["**/.env*"] }, export: { ask: ["**/package.json"] } }\n`,
      },
    ];
    const more = { layers, limits: { wall: 60_000, cost: 0.5 }, images: ["node"] };
    const { text } = await learnt([yes({ tool: "plan" })], more);
    expect(text).toContain('ingest: { deny: ["**/.env*"] }');
    expect(text).toContain('export: { ask: ["**/package.json"] }');
    expect(text).toContain("limits: { wall: 60000, cost: 0.5 }");
    expect(text).toContain("sandbox: { image: node, images: [node] }");
  });

  test("nothing allowed teaches nothing; too much for one file is refused in words", async () => {
    await expect(learnt([no({ exec: "ls" })])).rejects.toThrow(/Nothing was allowed/);
    const many = Array.from({ length: 5_001 }, (_, i) => yes({ exec: `p${i} x` }));
    await expect(learnt(many)).rejects.toThrow(/too many different things/);
  });
});

const word = fc.constantFrom(
  "a",
  "b.js",
  "-n",
  "--oneline",
  "--x=1",
  "...",
  "*",
  "",
  "it's",
  "src/x y",
  "é😀",
  "[z]",
  "{q}",
  "\\",
);
const program = fc.constantFrom("git", "npm", "cat", "rm", "bash", "./run.sh", "7z");
const quotedWords = fc
  .tuple(program, fc.array(word, { maxLength: 4 }))
  .map(([name, words]) => [name, ...words.map((one) => `'${one.replaceAll("'", "'\\''")}'`)].join(" "));
const command = fc.oneof(
  { weight: 8, arbitrary: quotedWords },
  { weight: 2, arbitrary: fc.tuple(quotedWords, quotedWords).map(([one, other]) => `${one} && ${other}`) },
  { weight: 1, arbitrary: quotedWords.map((text) => `${text} "$x" $y`) },
  { weight: 1, arbitrary: quotedWords.map((text) => `${text} > out.txt < /tmp/in`) },
  {
    weight: 1,
    arbitrary: fc.constantFrom("X=1", "$cmd", "echo $(date)", "python3 -c 'print(1)'", "cd src; ls *"),
  },
);
const path = fc
  .array(fc.constantFrom("src", "a.js", ".env", "x y", "[b]", "é", "{c,d}"), { minLength: 1, maxLength: 4 })
  .map((parts) => `/workspace/${parts.join("/")}`);
const url = fc
  .tuple(
    fc.constantFrom("GET", "POST", "DELETE"),
    fc.constantFrom("a.test", "b.test:8080"),
    fc.constantFrom("/", "/x", "/x/", "/x/y?q=1", "/%5Bz%5D"),
  )
  .map(([method, host, at]) => `${method} https://${host}${at}`);
const example: fc.Arbitrary<Example> = fc.oneof(
  command.map((exec) => ({ exec })),
  path.map((read) => ({ read })),
  path.map((write) => ({ write })),
  url.map((http) => ({ http })),
  fc.constantFrom("plan", "recall", "ask").map((tool) => ({ tool })),
);
const observation = fc
  .tuple(example, fc.boolean(), fc.constantFrom("rule" as const, "person" as const))
  .map(([one, allowed, by]) => (allowed ? yes(one, by) : no(one, by)));

test("whatever was allowed is allowed by what is learnt, its tests pass and touch every rule", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(observation, { minLength: 1, maxLength: 25 }), async (observations) => {
      const allowed = observations.filter(({ outcome }) => outcome === "allowed");
      fc.pre(allowed.length > 0);
      const { verdict } = await learnt(observations);
      const refused = observations.filter(({ outcome, by }) => outcome === "denied" && by === "person");
      const keys = new Set(refused.map(({ action }) => JSON.stringify(action)));
      for (const { action } of allowed)
        expect(
          keys.has(JSON.stringify(action)) ? ["allow", "ask"] : ["allow"],
          JSON.stringify(action),
        ).toContain(verdict(action));
    }),
    { numRuns: process.env.CAISSON_TEST_FULL === "1" ? 3_000 : 60 },
  );
});
