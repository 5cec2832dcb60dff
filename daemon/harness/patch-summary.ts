/** Characters of a path that are shown. */
const PATH = 300;

/** One line for each file of a git-style patch: its path, what became of it, and lines added and removed. */
export function changesIn(patch: string): string[] {
  const files: { path: string; what: string; added: number; removed: number }[] = [];
  // Lines of a hunk that are still to come: only outside a hunk does a line begin something.
  let before = 0;
  let after = 0;
  for (const line of patch.split("\n")) {
    const file = files.at(-1);
    if (before > 0 || after > 0) {
      const sign = line[0];
      if (sign === "\\") continue;
      if (sign !== "+") before -= 1;
      if (sign !== "-") after -= 1;
      if (file && sign === "+") file.added += 1;
      if (file && sign === "-") file.removed += 1;
      continue;
    }
    const hunk = /^@@ -\d+(?:,(\d+))? \+\d+(?:,(\d+))? @@/.exec(line);
    if (hunk) {
      before = Number(hunk[1] ?? 1);
      after = Number(hunk[2] ?? 1);
    } else if (line.startsWith("diff --git ")) {
      files.push({ path: pathOf(line), what: "changed", added: 0, removed: 0 });
    } else if (file && line.startsWith("new file mode")) file.what = "new";
    else if (file && line.startsWith("deleted file mode")) file.what = "deleted";
    else if (file && line.startsWith("rename to ")) file.what = "renamed to this";
  }
  return files.map(({ path, what, added, removed }) => `${path} (${what}, +${added} -${removed})`);
}

/** Of `diff --git a/x b/x`, the second. */
function pathOf(line: string): string {
  const at = Math.max(line.lastIndexOf(" b/"), line.lastIndexOf(' "b/'));
  return line
    .slice(at + 1)
    .replace(/^("?)b\//, "$1")
    .slice(0, PATH);
}
