import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { extract, pack } from "tar-stream";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { readKitArchive } from "../../daemon/sandbox/kit-archive.ts";

interface Entry {
  readonly name: string;
  readonly uid?: number;
  readonly mode?: number;
}

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "caisson-kit-"));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

async function kitFile(entries: readonly Entry[]): Promise<string> {
  const archive = pack();
  for (const entry of entries) archive.entry({ uid: 0, ...entry }, `content of ${entry.name}`);
  archive.finalize();
  const pieces: Buffer[] = [];
  for await (const piece of archive) pieces.push(piece as Buffer);
  const path = join(folder, "kit.tar");
  await writeFile(path, Buffer.concat(pieces));
  return path;
}

async function entriesOf(tar: Buffer): Promise<Map<string, { uid: number; mode: number; type: string }>> {
  const found = new Map<string, { uid: number; mode: number; type: string }>();
  for await (const entry of Readable.from([tar]).pipe(extract())) {
    const { name, uid, mode, type } = entry.header;
    found.set(name, { uid: uid ?? -1, mode: mode ?? -1, type: type ?? "" });
    entry.resume();
  }
  return found;
}

describe("the kit's archive", () => {
  it("S4: its programs belong to root and can't be written by others, whatever the file says", async () => {
    const path = await kitFile([
      { name: ".caisson/runner", uid: 10_001, mode: 0o777 },
      { name: ".caisson/bash", mode: 0o4755 },
    ]);
    const entries = await entriesOf((await readKitArchive(path)).tar);
    for (const name of [".caisson/runner", ".caisson/bash"]) {
      expect(entries.get(name)).toEqual({ uid: 0, mode: 0o755, type: "file" });
    }
    expect(entries.get(".caisson/")).toEqual({ uid: 0, mode: 0o755, type: "directory" });
  });

  it("brings a workspace and a home of the sandbox's user, and names for loopback", async () => {
    const { tar } = await readKitArchive(await kitFile([{ name: ".caisson/runner" }]));
    const entries = await entriesOf(tar);
    expect(entries.get("workspace/")).toEqual({ uid: 10_001, mode: 0o755, type: "directory" });
    expect(entries.get("home/agent/")).toEqual({ uid: 10_001, mode: 0o755, type: "directory" });
    expect(entries.get("etc/hosts")).toEqual({ uid: 0, mode: 0o644, type: "file" });
  });

  it("is had in parts: without the folders, and the names alone", async () => {
    const { programs, names } = await readKitArchive(await kitFile([{ name: ".caisson/runner" }]));
    const [some, fewest] = await Promise.all([programs, names].map(entriesOf));
    expect([...(some?.keys() ?? [])]).toEqual([
      ".caisson/",
      ".caisson/runner",
      "etc/hosts",
      "etc/resolv.conf",
    ]);
    expect([...(fewest?.keys() ?? [])]).toEqual(["etc/hosts", "etc/resolv.conf"]);
  });

  it("leaves out what is no program of the kit", async () => {
    const path = await kitFile([
      { name: ".caisson/runner" },
      { name: "etc/passwd" },
      { name: ".caisson/../x" },
    ]);
    const names = [...(await entriesOf((await readKitArchive(path)).tar)).keys()];
    expect(names.filter((name) => name.includes("passwd") || name.includes("x"))).toEqual([]);
  });

  it("has the same id for the same kit, another for another", async () => {
    const one = await readKitArchive(await kitFile([{ name: ".caisson/runner" }]));
    const same = await readKitArchive(await kitFile([{ name: ".caisson/runner", uid: 7 }]));
    const other = await readKitArchive(
      await kitFile([{ name: ".caisson/runner" }, { name: ".caisson/bash" }]),
    );
    expect(same.id).toBe(one.id);
    expect(other.id).not.toBe(one.id);
  });

  it("refuses a file without a runner, saying what to do", async () => {
    const path = await kitFile([{ name: ".caisson/bash" }]);
    await expect(readKitArchive(path)).rejects.toThrow(/no runner; delete it/);
  });
});
