import { randomUUID } from "node:crypto";
import { Readable } from "node:stream";
import { pack } from "tar-stream";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  BASE_LABEL,
  CHECKPOINT_KIND,
  KIND_LABEL,
  KIT_LABEL,
  OWNER_LABEL,
} from "../../daemon/sandbox/container-options.ts";
import type { SandboxHost } from "../../daemon/sandbox/host.ts";
import { readKitArchive } from "../../daemon/sandbox/kit-archive.ts";
import { runIn, shellIn } from "../contracts/run-in-sandbox.ts";
import { LIMITS, tarOf } from "../contracts/sandbox-host.ts";
import { type DockerHosts, dockerHosts } from "./docker-hosts.ts";

/** An image with nothing in it but one empty file: no shell, no tar, no users, no /tmp. */
describe("any Linux image", () => {
  const repository = `caisson-test-${randomUUID().slice(0, 8)}`;
  let hosts: DockerHosts;
  let host: SandboxHost;

  beforeAll(async () => {
    hosts = await dockerHosts();
    host = hosts.host("any-image");
    await importImage("1", { marker: "x" });
  }, 60_000);

  async function importImage(tag: string, files: Record<string, string>, changes: string[] = []) {
    const archive = pack();
    for (const [name, text] of Object.entries(files)) archive.entry({ name, mode: 0o755 }, text);
    archive.finalize();
    const bytes: Uint8Array[] = [];
    for await (const piece of archive) bytes.push(piece as Uint8Array);
    await hosts.engine.call("test: import", 30_000, async (docker) => {
      const output = await docker.importImage(Readable.from(bytes), { repo: repository, tag, changes });
      for await (const _ of output);
    });
  }

  async function removeImage(tag: string): Promise<void> {
    const name = `${repository}:${tag}`;
    await hosts.engine.call("test: remove image", 30_000, (docker) => docker.getImage(name).remove());
  }

  afterAll(async () => {
    await host.close();
    await removeImage("1");
    expect(await hosts.cleanUp(), "containers left behind").toBe(0);
  }, 60_000);

  it("makes a sandbox, with a workspace, a home, a /tmp and names for loopback", async () => {
    const sandbox = await host.acquire({ run: randomUUID(), image: `${repository}:1`, limits: LIMITS });
    try {
      const made = await shellIn(
        sandbox,
        "echo a > /workspace/f && echo b > ~/f && echo c > /tmp/f; read -r l < /etc/hosts; echo $l",
      );
      expect(made).toMatchObject({ stdout: "127.0.0.1 localhost\n", stderr: "" });
      await sandbox.putTar("/workspace", tarOf({ "deep/er": "content" }));
      expect((await shellIn(sandbox, "read -r l < /workspace/deep/er; echo $l")).stdout).toBe("content\n");
      expect(sandbox.env.PATH).toContain("/usr/bin");
    } finally {
      await sandbox.destroy();
    }
  });

  it("S2: one that says it has the kit already, and is a checkpoint, gets the kit all the same", async () => {
    const { id } = await readKitArchive(await hosts.images.ensureKit(() => undefined));
    const labels = {
      [KIT_LABEL]: id,
      [KIND_LABEL]: CHECKPOINT_KIND,
      [BASE_LABEL]: "sha256:0",
      [OWNER_LABEL]: hosts.ownerOf("any-image"),
    };
    const changes = Object.entries(labels).map(([key, value]) => `LABEL ${key}=${value}`);
    await importImage("2", { ".caisson/runner": "#!/somebody's own" }, changes);
    const sandbox = await host.acquire({ run: randomUUID(), image: `${repository}:2`, limits: LIMITS });
    try {
      expect((await shellIn(sandbox, "echo alive > /tmp/f; read -r l < /tmp/f; echo $l")).stdout).toBe(
        "alive\n",
      );
    } finally {
      await sandbox.destroy();
      await removeImage("2");
    }
  });

  it("tells a program that the image has not", async () => {
    const sandbox = await host.acquire({ run: randomUUID(), image: `${repository}:1`, limits: LIMITS });
    try {
      const { outcome } = await runIn(sandbox, ["git", "status"]);
      expect(outcome.startError).toMatch(/^ENOENT/);
    } finally {
      await sandbox.destroy();
    }
  });

  it("S6: a start that fails leaves nothing behind", async () => {
    const spec = { run: randomUUID(), image: "base", limits: LIMITS, runtime: "no-such-runtime" };
    await expect(host.acquire(spec)).rejects.toThrow("no-such-runtime");
    expect(await host.leases()).toEqual([]);
  });
});
