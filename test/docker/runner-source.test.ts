import { join } from "node:path";
import { PassThrough, Readable } from "node:stream";
import type Dockerode from "dockerode";
import { pack } from "tar-fs";
import { afterAll, beforeAll, expect, test } from "vitest";
import { packageRoot } from "../../daemon/package-root.ts";
import { Engine } from "../../daemon/sandbox/engine.ts";
import { Images } from "../../daemon/sandbox/images.ts";

const CALL_MS = 60_000;
const MAKE_MS = 300_000;
/** Inputs for the frame parser; `npm run test:full` tries many more. */
const INPUTS = process.env.CAISSON_TEST_FULL ? 2_000_000 : 100_000;

let engine: Engine;
let container: Dockerode.Container;

/** Where the runner is compiled: no compiler of the machine's own is needed. */
beforeAll(async () => {
  engine = await Engine.connect();
  const image = await new Images(engine).ensureImage("builder", () => undefined);
  container = await engine.call("test: create", CALL_MS, (docker) =>
    docker.createContainer({
      Image: image,
      Cmd: ["sleep", "600"],
      Labels: { "caisson.owner": `test-runner-source-${process.pid}` },
      HostConfig: { NetworkMode: "none" },
    }),
  );
  await engine.call("test: start", CALL_MS, () => container.start());
  const sources = pack(join(packageRoot, "sandbox-images", "runner"));
  await engine.call("test: upload", CALL_MS, () =>
    container.putArchive(Readable.from(sources, { objectMode: false }), { path: "/opt" }),
  );
}, 180_000);

afterAll(async () => {
  await engine.call("test: remove", CALL_MS, () => container.remove({ force: true }));
});

async function make(...words: string[]): Promise<{ status: number | null; output: string }> {
  return engine.call("test: make", MAKE_MS, async (docker) => {
    const Cmd = ["make", "-s", "-C", "/opt", "OUT=/tmp/out", ...words];
    const exec = await container.exec({ Cmd, AttachStdout: true, AttachStderr: true });
    const stream = await exec.start({ hijack: true, stdin: false });
    const text = new PassThrough();
    const parts: Buffer[] = [];
    text.on("data", (part: Buffer) => parts.push(part));
    docker.modem.demuxStream(stream, text, text);
    await new Promise((resolve) => stream.once("end", resolve));
    return { status: (await exec.inspect()).ExitCode, output: Buffer.concat(parts).toString("utf8") };
  });
}

test(
  "the runner compiles without a warning",
  async () => {
    expect(await make("/tmp/out/runner")).toEqual({ status: 0, output: "" });
  },
  MAKE_MS,
);

test(
  "S4: its frame and start parsers pass their own tests under sanitizers",
  async () => {
    expect(await make("test")).toEqual({ status: 0, output: "ok\n" });
  },
  MAKE_MS,
);

test(
  "S4: no mutated input makes the frame parser misbehave under sanitizers",
  async () => {
    const { status, output } = await make("fuzz", `ITERATIONS=${INPUTS}`);
    expect({ status, output }).toMatchObject({ status: 0 });
    expect(output).not.toContain("ERROR");
  },
  MAKE_MS,
);
