import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { askedIn, rulesIn } from "../../../client/cli/export-rules.ts";

function section(path: string): string {
  return `diff --git a/${path} b/${path}\nnew file mode 100644\nindex 0000000000000000000000000000000000000000..3e757656cf36eca53338e520d134963a44f793f8\n--- /dev/null\n+++ b/${path}\n@@ -0,0 +1 @@\n+x\rdiff --git a/x b/x\n`;
}

const patch = section("package.json") + section("src/a.js");

describe("what somebody has to agree to before it comes back (THREATS 9)", () => {
  test("the files that the policy asks about are named with the rule", async () => {
    const coding = await rulesIn(
      readFileSync(new URL("../../../policies/coding.yaml", import.meta.url), "utf8"),
    );
    expect(await askedIn(patch, [coding])).toEqual([{ path: "package.json", rule: "files.export.ask[0]" }]);
  });

  test("every layer may ask; a folder means what is below it; absolute globs hold", async () => {
    expect(await askedIn(patch, [["src"], ["/workspace/package.json"]])).toEqual([
      { path: "package.json", rule: "files.export.ask[0]" },
      { path: "src/a.js", rule: "files.export.ask[0]" },
    ]);
  });

  test("P1: rules that can't be read bring nothing back", async () => {
    await expect(rulesIn("files: { export: { ask: all } }")).rejects.toThrow(/nothing was brought back/);
    await expect(rulesIn("files: [")).rejects.toThrow(/nothing was brought back/);
  });

  test("no rules, no changes: nothing is asked", async () => {
    expect(await askedIn(patch, [])).toEqual([]);
    expect(await askedIn("", [["**"]])).toEqual([]);
  });
});
