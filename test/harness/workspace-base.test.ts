import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { BaseEntry } from "../../daemon/boundary/base-index.ts";
import { IndexWriter } from "../../daemon/harness/workspace-base.ts";
import { type BlobStore, openFileBlobs } from "../../daemon/journal/blobs.ts";

let home: string;
let blobs: BlobStore;
beforeEach(async () => {
  home = await mkdtemp(join(tmpdir(), "caisson-index-"));
  blobs = await openFileBlobs({ home });
});
afterEach(() => rm(home, { recursive: true, force: true }));

const entry = (path: string): BaseEntry => ({ path, type: "directory", mode: 0o755, size: 0, mtime: 1 });

test("what went by is stored when all of it has", async () => {
  const writer = new IndexWriter(blobs);
  for (let one = 0; one < 5_000; one += 1) await writer.note(entry(`a folder ${one}`));
  writer.whole();
  const index = await writer.end();
  await writer.close();
  expect((await blobs.text(index?.blob ?? "")).split("\n")).toHaveLength(5_001);
});

test("what was cut off is no index, and nothing of it is kept", async () => {
  const writer = new IndexWriter(blobs);
  for (let one = 0; one < 5_000; one += 1) await writer.note(entry(`a folder ${one}`));
  expect(await writer.end()).toBeUndefined();
  await writer.close();
  expect(await readdir(join(home, "blobs"))).toEqual([]);
});

test("a disk that refuses it holds nothing up and costs the index only", async () => {
  const refusing = { put: () => Promise.reject(new Error("no room")) };
  const writer = new IndexWriter(refusing);
  for (let one = 0; one < 50_000; one += 1) await writer.note(entry(`a folder ${one}`));
  writer.whole();
  expect(await writer.end()).toBeUndefined();
});
