import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { effectOf } from "../../daemon/policy/effect.ts";
import { NOTHING_DONE } from "../../daemon/policy/history.ts";
import { judge } from "../../daemon/policy/judge.ts";
import type { Policy } from "../../daemon/policy/port.ts";
import { exec, judged, policy } from "./kit.ts";

const GIT = `
exec:
  shell: contained
  rules:
    - { id: git-read, argv: [git, [status, diff, log], "..."], flags: [--stat, -p, -n], decision: allow }
    - { id: push, argv: [git, push, "..."], decision: ask, effect: external, reason: Publishing needs a person. }
    - { id: force, argv: [git, push, "..."], has: [--force*, -f, +*], decision: deny }
    - { id: cat, argv: [cat, "*"], decision: allow }
    - { id: tests, argv: [npm, test], decision: allow }
  env: { deny: [LD_*, GIT_*] }
  limits: { commands: 3, bytes: 200 }
files:
  read: { allow: ["/workspace/**"] }
  write: { allow: ["/workspace/**"], ask: ["/workspace/package.json"], deny: ["**/.git/hooks/**"] }
`;

describe("a verdict", () => {
  const git = policy(GIT);
  test.each([
    ["git status", "allow", "git-read"],
    ["git status --stat -pn", "allow", "git-read"],
    ["git status --stat=120", "allow", "git-read"],
    ["git status --porcelain", "deny", "default"],
    ["git status -px", "deny", "default"],
    ['git status "$x"', "deny", "default"],
    ["git", "deny", "default"],
    ["git push origin main", "ask", "push"],
    ["git push --force", "deny", "force"],
    ["git push --force-with-lease=x", "deny", "force"],
    ["git push --forc", "deny", "force"],
    ["git push --f", "deny", "force"],
    ["git push -uf", "deny", "force"],
    ["git push origin +main", "deny", "force"],
    ["/usr/bin/git push -f", "deny", "force"],
    ["./git status", "deny", "default"],
    ["git -c a=b push", "deny", "default"],
    ['cat "$HOME/x"', "allow", "cat"],
    ["cat $x", "deny", "default"],
    ["cat *", "deny", "default"],
    ["cat a b", "deny", "default"],
    ["npm test --x", "deny", "default"],
    ["npm test; npm test; npm test", "allow", "tests"],
    ["npm test; npm test; npm test; npm test", "deny", "exec.limits.commands"],
    [`cat ${"x".repeat(200)}`, "deny", "exec.limits.bytes"],
    ["npm test && git push", "ask", "push"],
    ["git push && curl x", "deny", "default"],
    ["GIT_DIR=x git status", "deny", "exec.env.deny[1]"],
    ["npm test > out.txt", "allow", "tests"],
    ["npm test > package.json", "ask", "files.write.ask[0]"],
    ["npm test > .git/hooks/pre-commit", "deny", "files.write.deny[0]"],
    ["", "deny", "default"],
    ["npm test; (", "deny", "default"],
  ])("on `%s` is %s by %s", (text, verdict, rule) => {
    expect(judged(git, text)).toMatchObject({ verdict, rule });
  });

  test("names its rule, what is allowed instead and how to ask", () => {
    const { reason } = judged(git, "git push --force");
    expect(reason).toContain("`force`");
    expect(reason).toContain("`git (status|diff|log) …");
    expect(reason).toContain("`give_up`");
    expect(judged(git, "git push").reason).toContain("Publishing needs a person.");
  });

  test("lists every match", () => {
    expect(judged(git, "git push -f; git status").matched).toEqual([
      { rule: "git-read", decision: "allow", layer: "run" },
      { rule: "push", decision: "ask", layer: "run" },
      { rule: "force", decision: "deny", layer: "run" },
    ]);
  });

  test.each([
    ["/workspace/a", "allow", "files.write.allow[0]"],
    ["/workspace", "allow", "files.write.allow[0]"],
    ["/workspace/../etc/passwd", "deny", "default"],
    ["/workspace//.git/./hooks/x", "deny", "files.write.deny[0]"],
    ["/workspace/a/../package.json", "ask", "files.write.ask[0]"],
    ["workspace/a", "deny", "default"],
    [`/workspace/${"a/".repeat(3000)}`, "deny", "default"],
    ["/workspace/a\0b", "deny", "default"],
  ])("on writing %s is %s by %s", (path, verdict, rule) => {
    expect(judge([git], { kind: "write", tool: "write", path }, NOTHING_DONE)).toMatchObject({
      verdict,
      rule,
    });
  });

  test("P1: without any layer, or any opinion, it is deny", () => {
    expect(judge([], exec("ls"), NOTHING_DONE)).toMatchObject({ verdict: "deny", layer: "builtin" });
    expect(judged(policy("limits: { actions: 5 }"), "ls")).toMatchObject({
      verdict: "deny",
      rule: "default",
    });
    expect(
      judge([git], { kind: "http", tool: "fetch", method: "GET", url: "https://x/" }, NOTHING_DONE).verdict,
    ).toBe("deny");
  });

  test("P1: an action that breaks the judge is denied", () => {
    const broken = { kind: "exec", tool: "bash", command: undefined, cwd: "/", env: {} };
    expect(judge([git], broken as never, NOTHING_DONE).verdict).toBe("deny");
  });

  test("variables the action itself adds fall under env.deny", () => {
    expect(judge([git], exec("npm test", "/workspace", { LD_PRELOAD: "x" }), NOTHING_DONE).rule).toBe(
      "exec.env.deny[0]",
    );
  });

  test("an unknown directory leaves relative redirects to the denials", () => {
    expect(judge([git], exec("npm test > .git/hooks/x", ""), NOTHING_DONE).verdict).toBe("deny");
    expect(judged(git, "cat a; npm test > ../.git/hooks/x").verdict).toBe("deny");
  });

  test.each([
    ["git push", "external"],
    ["git status", "local"],
    ["bash -c 'git push'", "external"],
  ])("effect of %s is %s", (text, effect) => {
    expect(effectOf([git], exec(text))).toBe(effect);
  });
});

test("an option before the sub-command does not get around a rule that asks or denies", () => {
  const wide = policy(`
exec:
  shell: contained
  rules:
    - { id: push, argv: [git, push, "..."], decision: ask }
    - { id: force, argv: [git, push, "..."], has: [-f], decision: deny }
    - { id: shell, argv: ["..."], decision: allow }
`);
  for (const text of [
    "git -C /tmp push",
    "git -c a=b --no-pager -c c=d push",
    "git --git-dir=x push",
    'git -c "$x" push',
    "env git -P push",
  ])
    expect(judged(wide, text)).toMatchObject({ verdict: "ask", rule: "push" });
  expect(judged(wide, "git -C /tmp push -f").rule).toBe("force");
  expect(judged(wide, "git -C /tmp status push").rule).toBe("shell");
});

describe("shells", () => {
  const shell = (mode: string) =>
    policy(
      `exec: { shell: ${mode}, rules: [{ id: any, argv: ["..."], decision: allow }] }\nfiles: { write: { allow: ["/workspace/**"] } }`,
    );
  test("none runs nothing", () => {
    expect(judged(policy("exec: { shell: none }"), "ls")).toMatchObject({
      verdict: "deny",
      rule: "exec.shell",
    });
  });
  test.each([
    ["ls -l 'a b' | wc -l && ls || ls; ls", "allow", "any"],
    ["ls > out 2>&1", "allow", "any"],
    ["ls > /dev/null", "allow", "any"],
    ["ls > /etc/x", "deny", "default"],
    ["ls < in", "deny", "default"],
    ["cd /tmp; ls > out", "deny", "default"],
    ["ls $x", "deny", "exec.shell"],
    ["ls *", "deny", "exec.shell"],
    ["ls &", "deny", "exec.shell"],
    ["A=1 ls", "deny", "exec.shell"],
    ["(ls)", "deny", "exec.shell"],
    ["! ls", "deny", "exec.shell"],
    ["if ls; then ls; fi", "deny", "exec.shell"],
  ])("strict: `%s` is %s by %s", (text, verdict, rule) => {
    expect(judged(shell("strict"), text)).toMatchObject({ verdict, rule });
  });
  test("contained: what is not named is held by the sandbox", () => {
    for (const text of ["ls > /etc/x", "$x", 'eval "$y"', "A=1 ls | (cat; ls) &"])
      expect(judged(shell("contained"), text).verdict).toBe("allow");
  });
});

interface Drawn {
  readonly argv: readonly string[];
  readonly decision: string;
  readonly has?: string;
}
const drawnRule = fc.record(
  {
    argv: fc
      .tuple(
        fc.constantFrom("git", "npm", "*"),
        fc.constantFrom("push", "test", "*", "..."),
        fc.constantFrom("...", "a"),
      )
      .map(([a, b, c]) => (b === "..." ? [a, b] : [a, b, c])),
    decision: fc.constantFrom("allow", "ask", "deny"),
    has: fc.constantFrom("-f", "--force*"),
  },
  { requiredKeys: ["argv", "decision"] },
);
const drawnText = fc
  .array(
    fc.tuple(
      fc.constantFrom("git", "npm", "$x"),
      fc.constantFrom("push", "test", "a"),
      fc.constantFrom("", "-f", "-uf", "a", "$y"),
    ),
    {
      minLength: 1,
      maxLength: 3,
    },
  )
  .map((commands) => commands.map((words) => words.join(" ")).join(" && "));
const drawnRules = fc.array(drawnRule, { maxLength: 6 });

function policyOf(rules: readonly Drawn[], layer: "run" | "project" | "organisation" = "run"): Policy {
  const lines = rules.map(
    (rule, i) =>
      `    - ${JSON.stringify({ id: `r${i}`, argv: rule.argv, decision: rule.decision, ...(rule.has ? { has: [rule.has] } : {}) })}`,
  );
  return policy(
    `exec:\n  shell: contained\n  rules:${lines.length ? `\n${lines.join("\n")}` : " []"}`,
    layer,
  );
}
const RANK = { allow: 0, ask: 1, deny: 2 };

describe("properties", () => {
  test("the order of rules never changes a decision", () => {
    const shuffled = drawnRules.chain((rules) =>
      fc.tuple(fc.constant(rules), fc.shuffledSubarray(rules, { minLength: rules.length })),
    );
    fc.assert(
      fc.property(shuffled, drawnText, ([rules, other], text) => {
        expect(judged(policyOf(other), text).verdict).toBe(judged(policyOf(rules), text).verdict);
      }),
    );
  });

  test("P2: a further layer never widens", () => {
    fc.assert(
      fc.property(drawnRules, drawnRules, drawnText, (upper, lower, text) => {
        const one = policyOf(upper, "organisation");
        const two = policyOf(lower, "run");
        const both = judged([one, two], text);
        for (const layer of [one, two])
          expect(RANK[both.verdict]).toBeGreaterThanOrEqual(RANK[judged(layer, text).verdict]);
      }),
    );
  });

  test("a rule that denies or asks never widens, wherever it stands", () => {
    fc.assert(
      fc.property(drawnRules, drawnRule, drawnText, (rules, rule, text) => {
        const stricter = { ...rule, decision: rule.decision === "allow" ? "deny" : rule.decision };
        const before = judged(policyOf(rules), text).verdict;
        const after = judged(policyOf([...rules, stricter]), text).verdict;
        if (before !== "deny") expect(RANK[after]).toBeGreaterThanOrEqual(RANK[before]);
        if (after === "allow") expect(before).toBe("allow");
      }),
    );
  });

  test("a compound takes its strictest part", () => {
    fc.assert(
      fc.property(drawnRules, drawnText, drawnText, (rules, one, other) => {
        const drawn = policyOf(rules);
        const parts = [judged(drawn, one).verdict, judged(drawn, other).verdict].map(
          (verdict) => RANK[verdict],
        );
        for (const text of [
          `${one}; ${other}`,
          `${other} | { ${one}; }`,
          `if ${one}; then ${other}; fi`,
          `echo_ () { ${one}; }; ${other}`,
        ])
          expect(RANK[judged(drawn, text).verdict]).toBe(Math.max(...parts));
      }),
    );
  });
});

test("the bound on work: a thousand commands against a thousand rules stays short", () => {
  const rules = Array.from({ length: 1000 }, (_, i) => ({ argv: [`p${i}`, "..."], decision: "allow" }));
  const big = policyOf(rules);
  const started = performance.now();
  expect(judged(big, "p999 x;".repeat(1000)).rule).toBe("exec.limits.commands");
  expect(performance.now() - started).toBeLessThan(500);
});
