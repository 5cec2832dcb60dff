import { expect, test } from "vitest";
import { changesIn } from "../../daemon/harness/patch-summary.ts";

test("each file of a patch in one line; lines that look like headers inside a hunk are counted, not believed", () => {
  const patch = `diff --git a/src/a.js b/src/a.js
--- a/src/a.js
+++ b/src/a.js
@@ -1,3 +1,3 @@
 one
--- a/evil
-diff --git a/x b/x
+++ b/evil
+diff --git a/y b/y
diff --git a/old.txt b/old.txt
deleted file mode 100644
--- a/old.txt
+++ /dev/null
@@ -1 +0,0 @@
-gone
\\ No newline at end of file
diff --git a/a b.txt b/new name.txt
similarity index 100%
rename from a b.txt
rename to new name.txt
diff --git "a/\\303\\274" "b/\\303\\274"
new file mode 100644
`;
  expect(changesIn(patch)).toEqual([
    "src/a.js (changed, +2 -2)",
    "old.txt (deleted, +0 -1)",
    "new name.txt (renamed to this, +0 -0)",
    '"\\303\\274" (new, +0 -0)',
  ]);
  expect(changesIn("")).toEqual([]);
});
