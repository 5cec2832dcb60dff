import { randomUUID } from "node:crypto";
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { extract } from "tar-stream";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { packageRoot } from "../../daemon/package-root.ts";
import { Engine } from "../../daemon/sandbox/engine.ts";
import { Images } from "../../daemon/sandbox/images.ts";
import { readKitArchive } from "../../daemon/sandbox/kit-archive.ts";

// An image that is not there yet is built by the first test that needs it.
vi.setConfig({ testTimeout: 600_000 });

const owner = `test-images-${randomUUID()}`;
const silent = (): void => undefined;
const CALL_MS = 60_000;

let engine: Engine;
let images: Images;
let scratch: string;

beforeAll(async () => {
  engine = await Engine.connect();
  images = new Images(engine);
  scratch = mkdtempSync(join(tmpdir(), "caisson-images-"));
});

afterAll(async () => {
  rmSync(scratch, { recursive: true, force: true });
  const filters = JSON.stringify({ label: [`caisson.owner=${owner}`] });
  const left = await engine.call("test: list", CALL_MS, (docker) =>
    docker.listContainers({ all: true, filters }),
  );
  expect(left.map((container) => container.Id)).toEqual([]);
});

/** Runs a command in a labelled container without a network, removed afterwards. */
async function runIn(
  image: string,
  command: readonly string[],
  prepare?: (id: string) => Promise<void>,
): Promise<{ status: number; output: string }> {
  const container = await engine.call("test: create", CALL_MS, (docker) =>
    docker.createContainer({
      Image: image,
      Cmd: [...command],
      Labels: { "caisson.owner": owner },
      // With a terminal the log is plain bytes instead of framed streams.
      Tty: true,
      HostConfig: { NetworkMode: "none" },
    }),
  );
  try {
    await prepare?.(container.id);
    await engine.call("test: start", CALL_MS, () => container.start());
    const { StatusCode: status } = await engine.call("test: wait", CALL_MS, () => container.wait());
    const log = await engine.call("test: logs", CALL_MS, () =>
      container.logs({ stdout: true, stderr: true }),
    );
    return { status, output: log.toString().replaceAll("\r\n", "\n") };
  } finally {
    await engine.call("test: remove", CALL_MS, () => container.remove({ force: true }));
  }
}

function copyOfFolders(): string {
  const folder = mkdtempSync(join(scratch, "sandbox-images-"));
  cpSync(join(packageRoot, "sandbox-images"), folder, { recursive: true });
  return folder;
}

describe("tags", () => {
  test("are the same for the same content, wherever the folder lies", () => {
    const elsewhere = new Images(engine, { folder: copyOfFolders() });
    for (const name of ["rootfs", "base", "node", "python"]) {
      const tag = images.resolveImage(name);
      const kit = name === "rootfs" ? "" : "-[0-9a-f]{12}";
      expect(tag).toMatch(new RegExp(`^caisson/${name}:[0-9a-f]{12}${kit}$`));
      expect(elsewhere.resolveImage(name)).toBe(tag);
    }
  });

  test("change with the folder's content, and with a parent's", () => {
    const folder = copyOfFolders();
    writeFileSync(join(folder, "base", "added.txt"), "one more file");
    const changed = new Images(engine, { folder });
    expect(changed.resolveImage("base")).not.toBe(images.resolveImage("base"));
    expect(changed.resolveImage("node")).not.toBe(images.resolveImage("node"));
    expect(changed.resolveImage("rootfs")).toBe(images.resolveImage("rootfs"));
    expect(changed.resolveImage("builder")).toBe(images.resolveImage("builder"));
  });

  test("change with the kit, behind what the folder is named by", () => {
    const folder = copyOfFolders();
    writeFileSync(join(folder, "runner", "added.c"), "int added;");
    const [now, then] = [new Images(engine, { folder }), images].map((one) =>
      one.resolveImage("node").split("-"),
    );
    expect(now?.[0]).toBe(then?.[0]);
    expect(now?.[1]).not.toBe(then?.[1]);
  });

  test("do not change with what a compiler leaves behind", () => {
    const folder = copyOfFolders();
    writeFileSync(join(folder, "base", "left.o"), "object code");
    expect(new Images(engine, { folder }).resolveImage("base")).toBe(images.resolveImage("base"));
  });

  test.each(["alpine:3", "registry.example/team/tool@sha256:00", "../base", "base/", ""])(
    "a user's own image passes through: %j",
    (name) => {
      expect(images.resolveImage(name)).toBe(name);
    },
  );

  test("a user's image that the engine lacks is an error that names it", async () => {
    const name = `caisson-test-absent:${randomUUID()}`;
    await expect(images.ensureImage(name, silent)).rejects.toThrow(name);
  });

  test("a folder of a user's own becomes an image name", () => {
    const folder = copyOfFolders();
    cpSync(join(folder, "python"), join(folder, "mine"), { recursive: true });
    cpSync(join(folder, "python", "python.dockerfile"), join(folder, "mine", "mine.dockerfile"));
    const extended = new Images(engine, { folder });
    expect(extended.sandboxImageNames()).toEqual(["base", "mine", "node", "python"]);
    expect(extended.resolveImage("mine")).toMatch(/^caisson\/mine:/);
  });
});

describe("images", () => {
  const programs: readonly (readonly [string, readonly string[]])[] = [
    ["base", ["bash", "git", "rg", "patch", "curl", "jq", "ps", "diff", "find", "xargs"]],
    ["python", ["python3", "python", "pip", "git", "rg"]],
    ["node", ["node", "npm", "npx", "git", "rg"]],
  ];

  test.each(programs)("%s has its programs, its user and a workspace", async (name, wanted) => {
    const tag = await images.ensureImage(name, silent);
    const script = `for p in ${wanted.join(" ")}; do command -v $p >/dev/null || echo missing $p; done
      id -u; id -g; echo $HOME; pwd; touch /workspace/x /home/agent/x && stat -c %U:%G /workspace`;
    const { output } = await runIn(tag, ["bash", "-c", script]);
    expect(output).toBe("10001\n10001\n/home/agent\n/workspace\nagent:agent\n");
  });

  test.each(programs)(
    "%s carries the labels of its image and its kit, and no owner's (C2, S5)",
    async (name) => {
      const tag = await images.ensureImage(name, silent);
      const found = await engine.call("test: inspect", CALL_MS, (docker) => docker.getImage(tag).inspect());
      const { id } = await readKitArchive(await images.ensureKit(silent));
      expect(found.Config.Labels).toEqual({ "caisson.image": name, "caisson.kit": id });
    },
  );

  test("node obeys the proxy variables itself, and npm works", async () => {
    const tag = await images.ensureImage("node", silent);
    const { status, output } = await runIn(tag, [
      "bash",
      "-c",
      "node -v; npm -v; npx -v; echo $NODE_USE_ENV_PROXY",
    ]);
    const [node = "", npm, npx, proxy] = output.split("\n");
    const [major = 0, minor = 0] = node.slice(1).split(".").map(Number);
    expect(major > 22 || (major === 22 && minor >= 21)).toBe(true);
    expect({ status, npm, proxy }).toEqual({ status: 0, npm: npx, proxy: "1" });
  });

  test("python makes virtual environments with pip in them", async () => {
    const tag = await images.ensureImage("python", silent);
    const { output } = await runIn(tag, ["bash", "-c", "python -m venv /tmp/v && /tmp/v/bin/pip --version"]);
    expect(output).toMatch(/^pip \d+/);
  });

  test("are listed with tag and size, without those that no sandbox is made from", async () => {
    await images.ensureImage("base", silent);
    const listed = await images.listImages();
    expect(listed.map((image) => image.name)).toEqual(["base", "node", "python"]);
    expect(listed[0]).toMatchObject({ tag: images.resolveImage("base"), bytes: expect.any(Number) });
  });
});

describe("the kit", () => {
  async function entriesOf(path: string): Promise<string[]> {
    const listed: string[] = [];
    const archive = extract();
    archive.on("entry", (header, stream, next) => {
      const { name, mode, uid, gid } = header;
      listed.push(`${name} ${((mode ?? 0) & 0o7777).toString(8)} ${uid}:${gid}`);
      stream.on("end", next).resume();
    });
    await new Promise<void>((resolve, reject) => {
      archive.on("finish", () => resolve()).on("error", reject);
      archive.end(readFileSync(path));
    });
    return listed.sort();
  }

  test("is one folder of executable files that belong to root", async () => {
    expect(await entriesOf(await images.ensureKit(silent))).toEqual([
      ".caisson/ 755 0:0",
      ".caisson/bash 755 0:0",
      ".caisson/busybox 755 0:0",
      ".caisson/runner 755 0:0",
    ]);
  });

  test("is made anew from the image when the cache was deleted (J5), the same programs in it", async () => {
    const again = await new Images(engine, { cacheFolder: join(scratch, "cache") }).ensureKit(silent);
    expect(existsSync(again)).toBe(true);
    expect(await entriesOf(again)).toEqual(await entriesOf(await images.ensureKit(silent)));
  });

  test("its shell and busybox run where there is nothing else", async () => {
    const kit = await images.ensureKit(silent);
    // The kit's own image is built from scratch: no libc, no /bin/sh.
    const command = ["/.caisson/bash", "-c", "/.caisson/busybox echo alive; type -t ls || echo no ls"];
    const ran = await runIn(await images.ensureImage("kit", silent), command, async (id) => {
      await engine.call("test: put kit", CALL_MS, (docker) =>
        docker.getContainer(id).putArchive(readFileSync(kit), { path: "/" }),
      );
    });
    expect(ran).toEqual({ status: 0, output: "alive\nno ls\n" });
  });
});
