import { mkdir, readdir } from "node:fs/promises";
import { join } from "node:path";
import { v7 as newRunId } from "uuid";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { createFileOutputStore } from "../../daemon/journal/file-output-store.ts";
import { JournalUnwritable } from "../../daemon/journal/port.ts";
import { MAY_MOUNT, SmallDisk } from "../e2e/small-disk.ts";

describe.skipIf(!MAY_MOUNT)("running actions' output on a full disk (needs root for a small tmpfs)", () => {
  let disk: SmallDisk;
  beforeEach(async () => {
    disk = await SmallDisk.mount("size=1m");
  });
  afterEach(async () => disk.unmount());

  test("A3: a piece that fits in part is refused, and is there once and whole when there was room", async () => {
    const run = newRunId();
    await mkdir(join(disk.folder, "runs", run), { recursive: true });
    const store = createFileOutputStore(disk.folder);
    const output = store.create(run, "a1");
    const piece = (letter: string) => [{ stream: "stdout" as const, bytes: Buffer.alloc(100_000, letter) }];
    await output.append(piece("x"));
    await disk.fill(20_000);
    const refused = await output.append(piece("y")).catch((error: unknown) => error);
    expect(refused).toBeInstanceOf(JournalUnwritable);
    expect(refused).toMatchObject({ why: "full" });
    expect(output.stored.stdout).toBe(100_000);
    await disk.empty();
    await output.append(piece("y"));
    const again = await store.open(run, "a1");
    expect(again.stored).toEqual({ stdout: 200_000, stderr: 0 });
    const read: Buffer[] = [];
    for await (const { bytes } of again.read()) read.push(Buffer.from(bytes));
    const whole = Buffer.concat([Buffer.alloc(100_000, "x"), Buffer.alloc(100_000, "y")]);
    expect(Buffer.concat(read).equals(whole)).toBe(true);
    await output.close();
  });

  test("what was refused from its first piece on leaves no file behind", async () => {
    const run = newRunId();
    await mkdir(join(disk.folder, "runs", run, "output"), { recursive: true });
    const output = createFileOutputStore(disk.folder).create(run, "a1");
    await disk.fill(0);
    const bytes = Buffer.alloc(100_000, "x");
    await expect(output.append([{ stream: "stdout", bytes }])).rejects.toBeInstanceOf(JournalUnwritable);
    await output.remove();
    expect(await readdir(join(disk.folder, "runs", run, "output"))).toEqual([]);
  });
});
