import { expect, test } from "vitest";
import { createDiskRoom, shortageOf } from "../../daemon/journal/disk-room.ts";
import { JournalUnwritable, refusalOf } from "../../daemon/journal/port.ts";

const GIB = 2 ** 30;
const ROOMY = { freeBytes: 10 * GIB, totalBytes: 100 * GIB, freeFiles: 1_000_000, totalFiles: 2_000_000 };

test("a shortage says what is free and what to free, in bytes and in files", () => {
  expect(shortageOf(ROOMY, "/home")).toBeUndefined();
  expect(shortageOf({ ...ROOMY, freeBytes: 2_000_000 }, "/home")).toBe(
    "The disk is full: 2.0 MB are free where the daemon keeps its journals (/home). Free 32 MB.",
  );
  expect(shortageOf({ ...ROOMY, freeFiles: 10 }, "/home")).toBe(
    "The disk has no room for more files: 10 are free where the daemon keeps its journals (/home). Remove 990 files.",
  );
});

test("a small disk keeps a part of itself in reserve; one that does not count files has enough of them", () => {
  const small = { freeBytes: 700_000, totalBytes: 8_000_000, freeFiles: 0, totalFiles: 0 };
  expect(shortageOf(small, "/home")).toBeUndefined();
  expect(shortageOf({ ...small, freeBytes: 400_000 }, "/home")).toMatch(/Free 1 MB\.$/);
});

test("who waits for room leaves at once when told to", async () => {
  const leaving = new AbortController();
  const waiting = createDiskRoom("/").again(10, leaving.signal);
  leaving.abort();
  await waiting;
});

test("a disk that can't be measured is not called full", async () => {
  const room = createDiskRoom("/not/there");
  expect(await room.space()).toBeUndefined();
  expect(await room.shortage()).toBeUndefined();
});

test.each([
  ["ENOSPC", "full"],
  ["EDQUOT", "full"],
  ["EROFS", "read-only"],
  ["ENOENT", "gone"],
  ["EIO", "failed"],
  ["EACCES", "failed"],
])("%s is told as %s, however it is wrapped", (code, why) => {
  const cause = Object.assign(new Error(code), { code });
  expect(refusalOf(cause)).toBe(why);
  expect(refusalOf(new JournalUnwritable("it failed", { cause }))).toBe(why);
});
