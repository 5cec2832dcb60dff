import { describe, expect, test } from "vitest";
import {
  entriesAmong,
  excludeLines,
  GUARD_OWNER,
  guardedWorkspace,
  isGuarded,
  type Labelled,
  workspaceLabels,
} from "../../daemon/boundary/guards.ts";
import { filterWorkspace } from "../../daemon/boundary/ingest.ts";
import { headersOf } from "./headers.ts";
import { archiveOf, inPieces } from "./support.ts";

const RULES = { deny: [], git: "none" } as const;
const CONFIDENTIAL: Labelled = { label: { confidentiality: "confidential" }, rule: "data.labels[0]" };
const UNTRUSTED: Labelled = { label: { integrity: "untrusted" }, rule: "data.labels[1]" };

const labelOf = (path: string): Labelled | undefined =>
  path.startsWith("customers/") ? CONFIDENTIAL : path.startsWith("vendor/") ? UNTRUSTED : undefined;

const ARCHIVE = archiveOf([
  { path: "plain", content: "p" },
  { path: "vendor/lib.js", content: "v" },
  { path: "customers/deep/list", content: "secret", mode: 0o755 },
  { path: "alias", type: "link", target: "customers/deep/list" },
  { path: "vendor/first", content: "both" },
  { path: "customers/second", type: "link", target: "vendor/first" },
  { path: "customers/pointer", type: "symlink", target: "../plain" },
]);
const tar = () => inPieces(ARCHIVE, 700);

async function found() {
  const { files, git } = await workspaceLabels(entriesAmong(tar(), RULES), labelOf);
  return { files, git };
}

describe("what is kept from a sandbox", () => {
  test("is what is labelled, under all of its names; symlinks are only names", async () => {
    const { files, git } = await found();
    expect(git).toBe(false);
    expect(Object.fromEntries(files)).toEqual({
      "vendor/lib.js": UNTRUSTED,
      "customers/deep/list": CONFIDENTIAL,
      alias: CONFIDENTIAL,
      "vendor/first": {
        label: { confidentiality: "confidential", integrity: "untrusted" },
        rule: "data.labels[1]",
      },
      "customers/second": {
        label: { confidentiality: "confidential", integrity: "untrusted" },
        rule: "data.labels[1]",
      },
    });
  });

  test("goes in apart: every file once, in one archive or the other, and in the index", async () => {
    const { files } = await found();
    const guarded = (path: string) => {
      const one = files.get(path);
      return one !== undefined && isGuarded(one);
    };
    const noted: string[] = [];
    const note = ({ path }: { path: string }) => void noted.push(path);
    const filtered = filterWorkspace(tar(), RULES, { note }, guarded);
    const ordinary = await headersOf(filtered.tar);
    const apart = await headersOf(guardedWorkspace(tar(), RULES, guarded));
    expect(ordinary.map(({ name }) => name)).toEqual(["plain", "vendor/lib.js", "customers/pointer"]);
    expect(apart.map(({ name, uid, mode, type }) => [name, uid, mode, type])).toEqual([
      ["customers/", 10_001, 0o755, "directory"],
      ["customers/deep/", 10_001, 0o755, "directory"],
      ["customers/deep/list", GUARD_OWNER, 0o700, "file"],
      ["alias", GUARD_OWNER, 0o600, "link"],
      ["vendor/", 10_001, 0o755, "directory"],
      ["vendor/first", GUARD_OWNER, 0o600, "file"],
      ["customers/second", GUARD_OWNER, 0o600, "link"],
    ]);
    expect(noted).toHaveLength(7);
    expect(filtered.summary().files).toBe(7);
  });

  test("stands in a repository's exclude file as it is spelt", () => {
    expect(excludeLines(["a b/*.csv", "!x", "#y", "line\nbreak", "back\\slash[1]"])).toBe(
      "/a\\ b/\\*.csv\n/\\!x\n/\\#y\n/back\\\\slash\\[1\\]\n",
    );
  });
});
