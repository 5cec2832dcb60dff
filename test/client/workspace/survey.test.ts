import { linkSync, mkdirSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { packWorkspace } from "../../../client/workspace/pack.ts";
import {
  BOUNDS,
  refuseTooLarge,
  surveyWorkspace,
  type WorkspaceBounds,
} from "../../../client/workspace/survey.ts";
import { bytesOf, type TemporaryFolder, temporaryFolder } from "../../boundary/support.ts";

function project(): TemporaryFolder {
  const folder = temporaryFolder();
  const write = (path: string, bytes: number) => {
    mkdirSync(join(folder.path, path, ".."), { recursive: true });
    writeFileSync(join(folder.path, path), Buffer.alloc(bytes, 1));
  };
  write("src/a.ts", 100);
  write("data/sets/large/one.bin", 30_000);
  write("data/sets/large/two.bin", 20_000);
  write("data/readme", 10);
  for (let index = 0; index < 30; index += 1) write(`node_modules/p${index}/index.js`, 50);
  write(`${"long/".repeat(30)}name`, 700);
  linkSync(join(folder.path, "data/sets/large/one.bin"), join(folder.path, "linked"));
  return folder;
}

async function refusal(folder: string, bounds: Partial<WorkspaceBounds>): Promise<string> {
  const survey = await surveyWorkspace(folder);
  try {
    refuseTooLarge(folder, survey, { ...BOUNDS, ...bounds });
  } catch (error) {
    return (error as Error).message;
  }
  throw new Error("was not refused");
}

describe("surveyWorkspace", () => {
  it("neither counts nor packs repositories that the policy leaves at home, at any depth", async () => {
    using folder = project();
    const without = await bytesOf(packWorkspace(folder.path));
    for (const repository of [".git", "data/.git"]) {
      mkdirSync(join(folder.path, repository));
      writeFileSync(join(folder.path, repository, "history"), "long ago");
    }
    const kept = { repositories: "kept" } as const;
    expect(await surveyWorkspace(folder.path, kept)).toMatchObject({
      files: 36,
      archiveBytes: without.length,
    });
    expect((await bytesOf(packWorkspace(folder.path, kept))).includes("history")).toBe(false);
    expect(await surveyWorkspace(folder.path)).toMatchObject({ files: 38 });
    expect((await bytesOf(packWorkspace(folder.path))).includes("long ago")).toBe(true);
  });

  it("counts what packing sends, to the byte, a hard link's content once", async () => {
    using folder = project();
    const survey = await surveyWorkspace(folder.path);
    const archive = await bytesOf(packWorkspace(folder.path));
    expect(survey.archiveBytes).toBe(archive.length);
    expect(survey).toMatchObject({ files: 36, bytes: 100 + 50_010 + 1_500 + 700, leftOut: 0, holes: 0 });
  });

  it("counts what stays at home and names the first of it", async () => {
    using folder = project();
    writeFileSync(join(folder.path, ".caissonignore"), "node_modules/\n*.bin\n");
    expect(await surveyWorkspace(folder.path)).toMatchObject({
      leftOut: 3,
      leftOutFirst: ["data/sets/large/one.bin", "data/sets/large/two.bin", "node_modules/"],
    });
  });
});

describe("a workspace that is too large", () => {
  it("is within its bounds or refused", async () => {
    using folder = project();
    refuseTooLarge(folder.path, await surveyWorkspace(folder.path));
  });

  it("is refused by which bound, with the largest folders and the way out", async () => {
    using folder = project();
    const message = await refusal(folder.path, { contentBytes: 40_000 });
    expect(message).toMatch(
      /too large: it has 52,310 bytes; the disk that the policy gives the sandbox has room for 40,000 bytes\./,
    );
    expect(message).toMatch(
      /Nothing was sent\.\nThe largest folders in it:\n {2}data\/sets\/large\/ {2}50,000 bytes, 3 entries\n/,
    );
    expect(message).toMatch(/\.caissonignore at its top .*such as data\/sets\/large\/\)/);
    expect(message).not.toMatch(/^ {2}data\/ /m);
  });

  it("too many files are told by the folders with most of them", async () => {
    using folder = project();
    const message = await refusal(folder.path, { entries: 50 });
    expect(message).toMatch(
      /files and folders; a workspace may have 50\b[\s\S]*in it:\n {2}node_modules\/ {2}1,500 bytes, 61 entries/,
    );
  });

  it.each<[string, Partial<WorkspaceBounds>, RegExp]>([
    ["the archive", { archiveBytes: 10_000 }, /as an archive; a workspace may take 10,000 bytes/],
    ["the paths", { names: 100 }, /its paths have .* characters together/],
  ])("%s", async (_name, bounds, message) => {
    using folder = project();
    expect(await refusal(folder.path, bounds)).toMatch(message);
  });

  it("a sparse file is said to be one", async () => {
    using folder = project();
    truncateSync(join(folder.path, "data/readme"), 50 * 2 ** 30);
    expect(await refusal(folder.path, {})).toMatch(
      /50\.0 GiB as an archive; a workspace may take 4\.0 GiB\. 50\.0 GiB of it are holes of sparse files/,
    );
  });
});
