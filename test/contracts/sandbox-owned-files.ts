import { randomUUID } from "node:crypto";
import { pack } from "tar-stream";
import { afterEach, describe, expect, it } from "vitest";
import { checkpointImage } from "../../daemon/sandbox/checkpoints.ts";
import type { Sandbox } from "../../daemon/sandbox/host.ts";
import { shellIn } from "./run-in-sandbox.ts";
import { LIMITS, type SandboxHostUnderTest, tarOf } from "./sandbox-host.ts";

interface Context {
  subject(): SandboxHostUnderTest;
  /** A new sandbox, destroyed after the test. */
  acquire(): Promise<Sandbox>;
  /** What is destroyed after the test. */
  readonly open: Sandbox[];
}

/** Nobody in the sandbox has this id. */
const GUARD = 10_002;

/** A tar archive of one file that belongs to somebody else than the sandbox's user. */
async function* ownedTar(name: string, text: string, uid: number = GUARD): AsyncGenerator<Uint8Array> {
  const archive = pack();
  archive.entry({ name, mode: 0o600, uid, gid: uid }, text);
  archive.finalize();
  for await (const piece of archive) yield piece as Uint8Array;
}

/** The part of the contract that is about files the sandbox's user has no part in (S4). */
export function describeOwnedFiles({ subject, acquire, open }: Context): void {
  describe("owned files", () => {
    afterEach(async () => {
      await Promise.all(open.splice(0).map((sandbox) => sandbox.destroy()));
      for (const { reference } of await subject().host.checkpoints())
        await subject().host.removeCheckpoint(reference);
    }, 60_000);

    it("S4: are nobody's to read in the sandbox", async () => {
      const sandbox = await acquire();
      await sandbox.putOwned("/workspace", ownedTar("list.csv", "Ada,1815"));
      const ran = await shellIn(sandbox, "stat -c '%u %g %a' /workspace/list.csv; cat /workspace/list.csv");
      expect(ran).toMatchObject({ stdout: "10002 10002 600\n", outcome: { exitCode: 1 } });
      expect(ran.stderr).toMatch(/Permission denied/);
    });

    it("S4: no symlink leads the engine elsewhere, and it writes nothing while processes run", async () => {
      const sandbox = await acquire();
      const script = "cd /workspace; mkdir -p real/deep; ln -s real link";
      await shellIn(sandbox, script);
      await expect(sandbox.putOwned("/workspace/link", ownedTar("b", "B"))).rejects.toThrow("is a symlink");
      for (const [folder, why] of [
        ["/workspace/link/deep", "is a symlink"],
        ["/workspace/none", "nothing is at"],
        ["/workspace/../etc", "plain form"],
      ] as const)
        await expect(sandbox.putOwned(folder, ownedTar("b", "B"))).rejects.toThrow(why);
      await shellIn(sandbox, "/.caisson/busybox sleep 1000 > /dev/null 2>&1 &");
      const refused = sandbox.putOwned("/workspace", ownedTar("b", "B"));
      await expect(refused).rejects.toThrow("while processes run");
      const { stdout } = await shellIn(sandbox, "find /workspace -name b");
      expect(stdout).toBe("");
    });

    it("tells why an archive of them ended early", async () => {
      const sandbox = await acquire();
      async function* broken(): AsyncGenerator<Uint8Array> {
        yield* tarOf({ a: "A" });
        throw new Error("the archive can't be read");
      }
      await expect(sandbox.putOwned("/workspace", broken())).rejects.toThrow(/^the archive can't be read$/);
    });

    it("C2: keep their owners in checkpoints, those made of fewer layers too, and in digests", async () => {
      const first = await acquire();
      await first.putOwned("/workspace", ownedTar("list.csv", "Ada,1815"));
      const before = await first.fingerprint();
      await shellIn(first, "touch /workspace/a");
      expect(await first.fingerprint()).not.toBe(before);
      let from = first;
      let image = "";
      const run = randomUUID();
      for (const id of ["c1", "c2", "c3"]) {
        image = checkpointImage(run, id);
        await shellIn(from, `echo ${id} > /workspace/${id}`);
        await from.commit(image, { pause: false });
        from = await subject().host.acquire({
          run,
          image: subject().image,
          checkpoint: image,
          limits: LIMITS,
        });
        open.push(from);
      }
      await subject().host.squash(image, checkpointImage(run, "c1"));
      const squashed = await subject().host.acquire({
        run,
        image: subject().image,
        checkpoint: image,
        limits: LIMITS,
      });
      open.push(squashed);
      for (const sandbox of [from, squashed]) {
        const ran = await shellIn(sandbox, "cd /workspace; stat -c '%u %a' list.csv; cat c3 list.csv");
        expect(ran.stdout).toBe("10002 600\nc3\n");
      }
    }, 120_000);
  });
}
