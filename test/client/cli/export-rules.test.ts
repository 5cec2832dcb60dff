import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { askedAmong, rulesIn } from "../../../client/cli/export-rules.ts";

const asking = (...globs: string[]) => ({ globs, flow: [], labels: [] });

const paths = ["package.json", "src/a.js"];

describe("what somebody has to agree to before it comes back (THREATS 9)", () => {
  test("the files that the policy asks about are named with the rule", async () => {
    const coding = await rulesIn(
      readFileSync(new URL("../../../policies/coding.yaml", import.meta.url), "utf8"),
    );
    expect(await askedAmong(paths, [coding])).toEqual([
      { path: "package.json", rule: "files.export.ask[0]" },
    ]);
  });

  test("every layer may ask; a folder means what is below it; absolute globs hold", async () => {
    expect(await askedAmong(paths, [asking("src"), asking("/workspace/package.json")])).toEqual([
      { path: "package.json", rule: "files.export.ask[0]" },
      { path: "src/a.js", rule: "files.export.ask[0]" },
    ]);
  });

  test("THREATS 32: the project's own policy, and what lies beside it, whatever the policy says", async () => {
    const own = [".caisson/policy.yaml", "packages/a/.CAISSON/x", "src/.caissonignore"];
    expect(await askedAmong(own, [])).toEqual([
      { path: ".caisson/policy.yaml", rule: "builtin.caisson" },
      { path: "packages/a/.CAISSON/x", rule: "builtin.caisson" },
    ]);
    expect(await askedAmong([".caisson"], [asking(".caisson")])).toEqual([
      { path: ".caisson", rule: "builtin.caisson" },
    ]);
  });

  test("P1: rules that can't be read bring nothing back", async () => {
    await expect(rulesIn("files: { export: { ask: all } }")).rejects.toThrow(/nothing was brought back/);
    await expect(rulesIn("files: [")).rejects.toThrow(/nothing was brought back/);
  });

  test("no rules, no changes: nothing is asked", async () => {
    expect(await askedAmong(paths, [])).toEqual([]);
    expect(await askedAmong([], [asking("**")])).toEqual([]);
  });

  test("data.flow asks by what labels a path, and for everything once the run holds such data", async () => {
    const layer = await rulesIn(`data:
  labels:
    - { path: "/workspace/src/**", confidentiality: confidential }
    - { tool: fetch, integrity: untrusted }
  flow:
    - { id: private, when: { confidentiality: confidential }, to: [export], decision: ask }
    - { id: tainted, when: { integrity: untrusted }, to: [host, export], decision: ask }
    - { id: to-hosts, when: { integrity: trusted }, to: [host], decision: ask }
`);
    expect(await askedAmong(paths, [layer])).toEqual([{ path: "src/a.js", rule: "private" }]);
    const held = { integrity: "untrusted", confidentiality: "internal" } as const;
    expect(await askedAmong(paths, [layer], held)).toEqual([
      { path: "package.json", rule: "tainted" },
      { path: "src/a.js", rule: "private" },
    ]);
  });
});
