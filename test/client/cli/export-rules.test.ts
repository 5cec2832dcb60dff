import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { rulesIn, sortPatch } from "../../../client/cli/export-rules.ts";

function section(path: string): string {
  return `diff --git a/${path} b/${path}\nnew file mode 100644\nindex 0000000000000000000000000000000000000000..3e757656cf36eca53338e520d134963a44f793f8\n--- /dev/null\n+++ b/${path}\n@@ -0,0 +1 @@\n+x\rdiff --git a/x b/x\n`;
}

const patch = section(".github/workflows/ci.yml") + section("package.json") + section("src/a.js");

describe("what comes back passes the export rules (THREATS 9)", () => {
  test("denied files stay behind, asked ones are named, the rest is untouched to the byte", async () => {
    const coding = await rulesIn(
      readFileSync(new URL("../../../policies/coding.yaml", import.meta.url), "utf8"),
    );
    expect(await sortPatch(patch, [coding])).toEqual({
      patch: section("package.json") + section("src/a.js"),
      denied: [{ path: ".github/workflows/ci.yml", rule: "files.export.deny[0]" }],
      asked: [{ path: "package.json", rule: "files.export.ask[0]" }],
    });
  });

  test("every layer narrows; a folder means what is below it; absolute globs hold", async () => {
    const layers = [
      { deny: ["src"], ask: [] },
      { deny: ["/workspace/package.json"], ask: ["**"] },
    ];
    const sorted = await sortPatch(patch, layers);
    expect(sorted.denied.map(({ path }) => path)).toEqual(["package.json", "src/a.js"]);
    expect(sorted.asked.map(({ path }) => path)).toEqual([".github/workflows/ci.yml"]);
  });

  test("P1: rules that can't be read bring nothing back", async () => {
    await expect(rulesIn("files: { export: { deny: all } }")).rejects.toThrow(/nothing was brought back/);
    await expect(rulesIn("files: [")).rejects.toThrow(/nothing was brought back/);
  });

  test("no rules, no changes: nothing is held back", async () => {
    expect(await sortPatch(patch, [])).toEqual({ patch, denied: [], asked: [] });
    expect(await sortPatch("", [])).toEqual({ patch: "", denied: [], asked: [] });
  });
});
