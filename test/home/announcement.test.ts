import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { announce } from "../../daemon/announcement.ts";
import { createDiskRoom } from "../../daemon/journal/disk-room.ts";
import { MAY_MOUNT, SmallDisk } from "../e2e/small-disk.ts";

test.skipIf(!MAY_MOUNT)(
  "written over on a full disk it is whole at every moment, shorter or longer than before (needs root for a small tmpfs)",
  async () => {
    const disk = await SmallDisk.mount("size=1m");
    try {
      const file = join(disk.folder, "daemon.json");
      const told: unknown[] = [];
      const parts = {
        disk: createDiskRoom(disk.folder),
        leaving: new AbortController().signal,
        told: (error: unknown) => told.push(error),
      };
      const said = (pid: number) => ({ pid, address: "127.0.0.1:7433", version: "1.0.0", startedAt: "now" });
      await announce(file, said(1), parts);
      await disk.fill();
      const seen = new Set<number>();
      for (const pid of [99_999, 7, 1_234_567]) {
        let announced = false;
        const announcing = announce(file, said(pid), parts).finally(() => {
          announced = true;
        });
        while (!announced) {
          seen.add(JSON.parse(readFileSync(file, "utf8")).pid);
          await new Promise(setImmediate);
        }
        await announcing;
        expect(JSON.parse(readFileSync(file, "utf8"))).toEqual(said(pid));
      }
      expect(told.length).toBe(3);
      expect([...seen]).toEqual(expect.arrayContaining([1, 99_999, 7]));
    } finally {
      await disk.unmount();
    }
  },
);
