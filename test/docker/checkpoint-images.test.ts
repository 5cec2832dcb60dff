import { randomUUID } from "node:crypto";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { CheckpointGone, checkpointImage } from "../../daemon/sandbox/checkpoints.ts";
import {
  BASE_LABEL,
  KIND_LABEL,
  KIT_LABEL,
  LINKS_LABEL,
  NO_LINKS,
  OWNER_LABEL,
} from "../../daemon/sandbox/container-options.ts";
import type { Sandbox, SandboxHost } from "../../daemon/sandbox/host.ts";
import { shellIn } from "../contracts/run-in-sandbox.ts";
import { LIMITS } from "../contracts/sandbox-host.ts";
import { type DockerHosts, dockerHosts } from "./docker-hosts.ts";

const FULL = process.env.CAISSON_TEST_FULL !== undefined;

/** Every fact of every file that an image carries, and which names are one file. */
const LISTING = `cd /; export LC_ALL=C
list() {
  find workspace home/agent tmp var/tmp -type d -printf '%p %y %m %U %G %T@\\n' | sort
  find workspace home/agent tmp var/tmp ! -type d -printf '%p %y %m %U %G %s %T@ %l %n\\n' | sort
}
list 2>/dev/null
chmod -R u+rwX workspace home/agent
list
find workspace home/agent tmp -type f -links +1 -printf '%i %p\\n' | sort -k2 |
  awk '{ g[$1] = g[$1] " " $2 } END { for (i in g) print "links:" g[i] }' | sort
find workspace home/agent tmp var/tmp -type f -print0 | sort -z | xargs -0 -r sha256sum`;

describe("checkpoint images on an engine", () => {
  let hosts: DockerHosts;
  let host: SandboxHost;
  const open: Sandbox[] = [];

  beforeAll(async () => {
    hosts = await dockerHosts();
    host = hosts.host("checkpoints");
  });
  afterEach(async () => {
    await Promise.all(open.splice(0).map((sandbox) => sandbox.destroy()));
    for (const { reference } of await host.checkpoints()) await host.removeCheckpoint(reference);
    expect(await host.leases()).toEqual([]);
    expect(await layersLeft()).toEqual([]);
  }, 60_000);
  afterAll(async () => {
    await host.close();
    expect(await hosts.cleanUp(), "left behind").toBe(0);
  }, 60_000);

  async function acquire(checkpoint?: string): Promise<Sandbox> {
    const from = checkpoint === undefined ? {} : { checkpoint };
    const sandbox = await host.acquire({ run: "run", image: "base", limits: LIMITS, ...from });
    open.push(sandbox);
    return sandbox;
  }

  /** A chain: each script runs in a sandbox made from the checkpoint before. Resolves to the checkpoints' names. */
  async function chain(...scripts: string[]): Promise<string[]> {
    const run = randomUUID();
    const made: string[] = [];
    for (const [at, script] of scripts.entries()) {
      const sandbox = await acquire(made.at(-1));
      const ran = await shellIn(sandbox, script, { cwd: "/workspace", deadlineMs: 120_000 });
      expect(ran.stderr).toBe("");
      made.push(checkpointImage(run, `c${at}`));
      await sandbox.commit(made.at(-1) ?? "", { pause: false });
      await sandbox.destroy();
    }
    return made;
  }

  async function listing(checkpoint: string): Promise<string> {
    const { stdout, stderr } = await shellIn(await acquire(checkpoint), LISTING);
    expect(stderr).toBe("");
    return stdout;
  }

  const inspect = (reference: string) =>
    hosts.engine.call("test: inspect image", 10_000, (docker) => docker.getImage(reference).inspect());

  /** Ids of all images of this owner, those included that only hold layers for others. */
  async function layersLeft(): Promise<string[]> {
    const filters = JSON.stringify({ label: [`${OWNER_LABEL}=${hosts.ownerOf("checkpoints")}`] });
    const found = await hosts.engine.call("test: list images", 10_000, (docker) =>
      docker.listImages({ all: true, filters }),
    );
    return found.map(({ Id }) => Id).sort();
  }

  it("C2: labels are afresh and the environment is the first image's", async () => {
    const [c0 = "", c1 = ""] = await chain("echo 0 > f", "echo 1 > f");
    const first = await inspect(await hosts.images.ensureImage("base", () => undefined));
    expect(first.Config.Labels).toMatchObject({ "caisson.image": "base" });
    for (const image of [c0, c1]) {
      const { Config } = await inspect(image);
      expect(Config.Labels).toEqual({
        "caisson.image": "",
        [OWNER_LABEL]: hosts.ownerOf("checkpoints"),
        [KIND_LABEL]: "checkpoint",
        [KIT_LABEL]: expect.stringMatching(/^[0-9a-f]{16}$/),
        [BASE_LABEL]: first.Id,
        [LINKS_LABEL]: NO_LINKS,
      });
      expect(Config.Env).toEqual(first.Config.Env);
    }
  });

  it("tells a volume that the image declares: the engine keeps its files out of every checkpoint", async () => {
    const own = `caisson-test-${randomUUID().slice(0, 8)}`;
    const base = await hosts.images.ensureImage("base", () => undefined);
    const container = await hosts.engine.call("test: create", 20_000, (docker) =>
      docker.createContainer({ Image: base, Volumes: { "/var/lib/own": {} } }),
    );
    await container.commit({ repo: own, tag: "1" });
    await container.remove({ v: true });
    try {
      const sandbox = await host.acquire({ run: "run", image: `${own}:1`, limits: LIMITS });
      open.push(sandbox);
      expect(await sandbox.volatileFiles()).toEqual(["the volume /var/lib/own"]);
      await sandbox.destroy();
    } finally {
      await hosts.engine.call("test: untag", 10_000, (docker) => docker.getImage(`${own}:1`).remove());
    }
  });

  it("S5: a container that somebody made from a checkpoint by hand is nobody's leftover", async () => {
    const [image = ""] = await chain("echo 0 > f");
    const byHand = await hosts.engine.call("test: create", 20_000, (docker) =>
      docker.createContainer({ Image: image }),
    );
    try {
      expect(await host.leases()).toEqual([]);
      await expect(host.remove(byHand.id)).rejects.toThrow("left alone");
    } finally {
      await byHand.remove({ force: true });
    }
  });

  it("S5: nor is an image that somebody made from one", async () => {
    const [image = ""] = await chain("echo 0 > f");
    const theirs = `caisson-test-${randomUUID().slice(0, 8)}`;
    const tagged = hosts.engine.call("test: tag", 10_000, (docker) =>
      docker.getImage(image).tag({ repo: theirs, tag: "1" }),
    );
    await tagged;
    try {
      expect((await host.checkpoints()).map(({ reference }) => reference)).toEqual([image]);
      await expect(host.removeCheckpoint(`${theirs}:1`)).rejects.toThrow(RangeError);
    } finally {
      await hosts.engine.call("test: untag", 10_000, (docker) => docker.getImage(`${theirs}:1`).remove());
    }
  });

  it("C2: a name in the middle can go; its layers stay as long as a later checkpoint needs them, and no longer", async () => {
    const [c0 = "", c1 = "", c2 = "", c3 = ""] = await chain(
      "echo 0 > a",
      "echo 1 > b",
      "echo 2 > c",
      "rm a",
    );
    await host.removeCheckpoint(c1);
    await host.removeCheckpoint(c3);
    expect((await host.checkpoints()).map(({ reference }) => reference).sort()).toEqual([c0, c2].sort());
    expect((await shellIn(await acquire(c2), "cat /workspace/*")).stdout).toBe("0\n1\n2\n");
    await Promise.all(open.splice(0).map((sandbox) => sandbox.destroy()));
    expect(await layersLeft()).toHaveLength(3);
    await host.removeCheckpoint(c2);
    expect(await layersLeft()).toEqual([(await inspect(c0)).Id]);
    await host.removeCheckpoint(c0);
    expect(await layersLeft()).toEqual([]);
  });

  it("C2: a name goes while a sandbox made from it lives; what is left has the engine's id for a name", async () => {
    const [image = ""] = await chain("echo 0 > a");
    const { Id } = await inspect(image);
    const sandbox = await acquire(image);
    await host.removeCheckpoint(image);
    await expect(acquire(image)).rejects.toBeInstanceOf(CheckpointGone);
    expect((await shellIn(sandbox, "cat /workspace/a")).stdout).toBe("0\n");
    expect((await host.checkpoints()).map(({ reference }) => reference)).toEqual([Id]);
    await sandbox.destroy();
    await host.removeCheckpoint(Id);
    expect(await host.checkpoints()).toEqual([]);
  });

  describe("squashed", () => {
    const INGEST = `mkdir -p kept/deep emptied replaced gone/x gone/y; umask 022
      for n in {1..40}; do echo $n > kept/f$n; echo $n > gone/x/f$n; done
      echo one > replaced/f; ln kept/f1 kept/deep/l1; ln kept/f2 kept/l2; ln -s ../kept/f3 gone/s
      echo a > emptied/a; touch -d @1000 kept kept/f5 gone; chmod 2770 kept/deep; mkdir -m 000 shut`;
    const CHANGES = [
      "echo more >> kept/f1; chmod 4755 kept/f4; rm -r gone; mkdir -m 1777 new; touch -d @2000.5 new",
      "rm -r replaced; echo file > replaced; rm emptied/a; echo x > 'new/a name\n'; mkfifo -m 640 new/fifo; ln new/a* new/b",
      "rm kept/f7; mkdir kept/f7; echo in > kept/f7/in; ln -sfn /nowhere kept/f8; mv kept/f9 kept/deep/f9; touch -d @3000 kept",
      "ln kept/f2 new/l3; echo secret > kept/f10; chmod 000 kept/f10; chmod 500 kept/f7; chgrp 10001 kept/f11",
      "head -c 300000 /dev/urandom > new/big; printf '' > new/empty; mkdir -p ~/.cache/d; touch -h -d @4000 kept/f8; chmod 700 shut; echo i > shut/i; chmod 000 shut",
      "echo x > /var/tmp/x; echo t > /tmp/t; chmod 600 /tmp/t; rm new/b; mkdir gone; echo new > gone/x; touch -d @5000 gone",
    ];

    it("C2: holds the same files in one layer, and the others' space comes back", async () => {
      const made = await chain(INGEST, ...CHANGES);
      const [onto = "", last = ""] = [made[0], made.at(-1)];
      const before = await listing(last);
      const old = await inspect(last);
      await Promise.all(open.splice(0).map((sandbox) => sandbox.destroy()));
      for (const middle of made.slice(1, -1)) await host.removeCheckpoint(middle);
      expect(await layersLeft()).toHaveLength(made.length);

      const squashed = await host.squash(last, onto);
      const now = await inspect(last);
      expect(now.Id).not.toBe(old.Id);
      expect(now.RootFS.Layers).toHaveLength(squashed.layers);
      expect((await inspect(onto)).RootFS.Layers).toHaveLength(squashed.layers - 1);
      expect(squashed.bytes).toBeGreaterThan(300_000);
      expect(squashed.bytes).toBeLessThan(310_000);
      expect(await layersLeft()).toHaveLength(2);
      expect(now.Config.Labels).toEqual(old.Config.Labels);
      expect(now.Config.Env).toEqual(old.Config.Env);
      expect(now.Config.User).toBe("10001:10001");
      expect(await listing(last)).toBe(before);
      expect(await host.squash(last, onto)).toEqual(squashed);
    }, 120_000);

    it("C2: what needs the old layers keeps them: a sandbox, a fork's name, a later checkpoint", async () => {
      const [onto = "", c1 = "", c2 = "", c3 = ""] = await chain(
        "echo 0 > a",
        "echo 1 > b",
        "echo 2 > c",
        "echo 3 > d",
      );
      const fork = checkpointImage(randomUUID(), "c1");
      await host.copyCheckpoint(c2, fork);
      const sandbox = await acquire(c2);
      await host.squash(c2, onto);
      expect((await shellIn(sandbox, "cat /workspace/*")).stdout).toBe("0\n1\n2\n");
      for (const image of [c2, fork]) {
        expect((await shellIn(await acquire(image), "cat /workspace/*")).stdout).toBe("0\n1\n2\n");
      }
      expect((await shellIn(await acquire(c3), "cat /workspace/*")).stdout).toBe("0\n1\n2\n3\n");
      expect((await shellIn(await acquire(c1), "cat /workspace/*")).stdout).toBe("0\n1\n");
    });

    it("refuses what it was not made from, and an image that is gone", async () => {
      const [one = "", two = ""] = await chain("echo 0 > a", "echo 1 > b");
      const [other = ""] = await chain("echo 2 > a");
      await expect(host.squash(two, other)).rejects.toThrow("was not made from");
      await expect(host.squash(one, two)).rejects.toThrow("was not made from");
      await expect(host.squash(checkpointImage("r", "c9"), one)).rejects.toBeInstanceOf(CheckpointGone);
    });

    it.skipIf(!FULL)(
      "holds 30,000 files and 60 layers; prints how long it took (CAISSON_TEST_FULL)",
      async () => {
        const fill = "for d in {1..300}; do mkdir d$d; for f in {1..100}; do echo $f$d > d$d/f$f; done; done";
        const changes = Array.from(
          { length: 60 },
          (_, at) => `echo ${at} >> d${at + 1}/f1; echo ${at} > new${at}`,
        );
        const made = await chain(fill, ...changes);
        const [onto = "", last = ""] = [made[0], made.at(-1)];
        const before = await listing(last);
        const began = performance.now();
        const squashed = await host.squash(last, onto);
        console.log(
          `squash of 60 layers over 30,000 files: ${Math.round(performance.now() - began)} ms`,
          squashed,
        );
        expect(await listing(last)).toBe(before);
      },
      600_000,
    );
  });
});
