import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, rm, statfs, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** Mounting takes root on Linux; elsewhere tests that need it are skipped. */
export const MAY_MOUNT = process.platform === "linux" && process.getuid?.() === 0;

/** A disk of its own (a tmpfs), so small that a test can fill it. */
export class SmallDisk {
  readonly folder: string;
  readonly #ballast: string;
  #readOnly = false;

  private constructor(folder: string) {
    this.folder = folder;
    this.#ballast = join(folder, "ballast");
  }

  static async mount(options = "size=8m"): Promise<SmallDisk> {
    const folder = await mkdtemp(join(tmpdir(), "caisson-disk-"));
    execFileSync("mount", ["-t", "tmpfs", "-o", `mode=700,${options}`, "tmpfs", folder]);
    return new SmallDisk(folder);
  }

  async freeBytes(): Promise<number> {
    const { bavail, bsize } = await statfs(this.folder);
    return bavail * bsize;
  }

  /** Takes all the room but for so many bytes. */
  async fill(leave = 0): Promise<void> {
    const free = (await this.freeBytes()) - leave;
    if (free <= 0) return;
    await writeFile(this.#ballast, Buffer.alloc(free), { flag: "a" }).catch(
      (error: NodeJS.ErrnoException) => {
        if (error.code !== "ENOSPC") throw error;
      },
    );
  }

  /** Takes all files (inodes) there may be. */
  async fillFiles(): Promise<void> {
    const folder = `${this.#ballast}.files`;
    await mkdir(folder, { recursive: true });
    for (let made = 0; ; made += 1) {
      try {
        await writeFile(join(folder, String(made)), "");
      } catch {
        return;
      }
    }
  }

  /** Makes room again. */
  async empty(): Promise<void> {
    if (existsSync(this.#ballast)) await truncate(this.#ballast, 0);
    await rm(`${this.#ballast}.files`, { recursive: true, force: true });
  }

  /**
   * Nothing new can be written through its folder any more, as on a disk that failed; what is open for writing can,
   * which is why a mount over it is needed.
   */
  readOnly(on: boolean): void {
    this.#readOnly = on;
    if (!on) {
      execFileSync("umount", ["-l", this.folder]);
      return;
    }
    execFileSync("mount", ["--bind", this.folder, this.folder]);
    execFileSync("mount", ["-o", "remount,bind,ro", this.folder]);
  }

  async unmount(): Promise<void> {
    if (this.#readOnly) this.readOnly(false);
    execFileSync("umount", ["-l", this.folder]);
    await rm(this.folder, { recursive: true, force: true });
  }
}
