import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { packageRoot } from "../../daemon/package-root.ts";
import type { EventOf, EventType } from "../../daemon/protocol/events.ts";
import { createDockerHost } from "../../daemon/sandbox/docker-host.ts";
import type { ImageSource } from "../../daemon/sandbox/docker-host-options.ts";
import type { SandboxHost } from "../../daemon/sandbox/host.ts";
import { LIMITS } from "../contracts/sandbox-host.ts";
import { bashScript, dataOf, scripted, UNTIL_TOLD } from "../e2e/runs.ts";
import { type HarnessUnderTest, harnessUnderTest } from "../harness/harness-under-test.ts";
import { closeAll } from "./close-all.ts";
import { type DockerHosts, dockerHosts } from "./docker-hosts.ts";

let hosts: DockerHosts;
let host: SandboxHost;
let under: HarnessUnderTest;

beforeAll(async () => {
  hosts = await dockerHosts();
  host = hosts.host("held", { poolSize: 0, heartbeatMs: 100, answerMs: 1_000 });
  under = await harnessUnderTest(host);
});
afterAll(() => closeAll(under, host, hosts), 60_000);

const tell = (id: string, what: "pause" | "unpause" | "kill"): Promise<unknown> =>
  hosts.engine.call(`test: ${what}`, 20_000, (docker) => docker.getContainer(id)[what]());

async function untilType<T extends EventType>(run: string, type: T): Promise<EventOf<T>> {
  return (await under.until(run, (event) => event.type === type)) as EventOf<T>;
}

async function exec(id: string, ...argv: string[]): Promise<void> {
  await hosts.engine.call("test: exec", 20_000, async (docker) => {
    const made = await docker.getContainer(id).exec({ Cmd: argv, AttachStdout: true });
    const stream = await made.start({ hijack: true, stdin: false });
    stream.resume();
    await new Promise((resolve) => stream.once("end", resolve));
  });
}

const OUTCOMES: ReadonlySet<string> = new Set(["action.finished", "action.unknown"]);

describe("somebody pauses a sandbox", () => {
  test("in the middle of an action: silence is noticed, it is set going again, and the action ran once (A3, S6)", async () => {
    const { run } = await under.harness.submit({
      task: "Work.",
      model: bashScript(`echo ran >> /tmp/ran; ${UNTIL_TOLD}`, "cat /tmp/ran"),
    });
    const { data } = await untilType(run, "sandbox.started");
    await untilType(run, "action.started");
    await tell(data.sandbox, "pause");
    await expect
      .poll(async () => (await hosts.inspect(data.sandbox)).State.Paused, { timeout: 20_000 })
      .toBe(false);
    await exec(data.sandbox, "/.caisson/busybox", "touch", "/tmp/go");
    const events = await under.ended(run);
    expect(events.at(-1)).toMatchObject({ type: "run.completed" });
    expect(dataOf(events, "sandbox.lost")).toEqual([]);
    expect(dataOf(events, "action.finished").at(-1)?.output).toBe("ran\n");
  });

  test("under a person's command: its outcome is taken from the runner again, and it ran once (A3)", async () => {
    const { run } = await under.harness.submit({ task: "Work.", model: bashScript(UNTIL_TOLD) });
    const { data } = await untilType(run, "sandbox.started");
    await untilType(run, "action.started");
    const command = "cd /tmp; echo once >> times; until [ -e on ]; do sleep 0.02; done; cat times";
    const { action } = await under.harness.shell(run, { command });
    await tell(data.sandbox, "pause");
    await expect
      .poll(async () => (await hosts.inspect(data.sandbox)).State.Paused, { timeout: 20_000 })
      .toBe(false);
    await exec(data.sandbox, "/.caisson/busybox", "touch", "/tmp/on");
    const told = await under.until(
      run,
      ({ type, data }) => OUTCOMES.has(type) && "action" in data && data.action === action,
    );
    expect(told).toMatchObject({
      type: "action.finished",
      data: { ok: true, output: "once\n", directory: "/tmp" },
    });
    await exec(data.sandbox, "/.caisson/busybox", "touch", "/tmp/go");
    expect((await under.ended(run)).at(-1)).toMatchObject({ type: "run.completed" });
  });
});

describe("a sandbox that runs out of memory", () => {
  test("kills the command, not itself: the model is told so, with the limit, and the run goes on", async () => {
    const coding = await readFile(join(packageRoot, "policies", "coding.yaml"), "utf8");
    const policy = coding.replace(/memory: \w+/, "memory: 64MiB");
    const { run } = await under.harness.submit({
      task: "Eat.",
      policy,
      model: bashScript("tail /dev/zero", "exec tail /dev/zero", "exit 3", "echo alive"),
    });
    const events = await under.ended(run);
    expect(events.at(-1)).toMatchObject({ type: "run.completed" });
    const limit = 64 * 2 ** 20;
    expect(dataOf(events, "action.finished")).toMatchObject([
      { ok: false, exitCode: 137, outOfMemory: limit },
      { ok: false, signal: "SIGKILL", outOfMemory: limit },
      { ok: false, exitCode: 3 },
      { ok: true, output: "alive\n" },
    ]);
    expect(dataOf(events, "action.finished")[2]).not.toHaveProperty("outOfMemory");
  });
});

test("an acceptance check that runs out of memory is told so, in the journal and to the model", async () => {
  const coding = await readFile(join(packageRoot, "policies", "coding.yaml"), "utf8");
  const { run } = await under.harness.submit({
    task: "Eat.",
    policy: coding.replace(/memory: \w+/, "memory: 64MiB"),
    accept: ["[ -e /tmp/done ] || tail /dev/zero"],
    model: scripted([
      { say: "Done." },
      {
        expect: { output: "/out of memory: the sandbox may use 64 MiB; exit status/" },
        use: [{ tool: "bash", input: { command: "touch /tmp/done" } }],
      },
      { say: "Done." },
    ]),
  });
  const events = await under.ended(run);
  expect(events.at(-1)).toMatchObject({ type: "run.completed" });
  const [failed, passed] = dataOf(events, "acceptance.checked");
  expect(failed?.checks).toMatchObject([{ ok: false, outOfMemory: 64 * 2 ** 20 }]);
  expect(passed?.checks[0]).not.toHaveProperty("outOfMemory");
});

describe("somebody removes an image", () => {
  const TAG = "caisson-test-removed:1";
  const tag = async () => {
    const base = await hosts.images.ensureImage("base", () => undefined);
    const [repo = "", version = ""] = TAG.split(":");
    await hosts.engine.call("test: tag", 10_000, (docker) =>
      docker.getImage(base).tag({ repo, tag: version }),
    );
  };
  const untag = () =>
    hosts.engine.call("test: untag", 10_000, (docker) => docker.getImage(TAG).remove({ noprune: true }));

  test("under a living daemon: it is made again, for the run and for the pool", async () => {
    let made = 0;
    let known: Promise<string> | undefined;
    const images: ImageSource = {
      ensureImage: () => {
        known ??= tag().then(() => {
          made += 1;
          return TAG;
        });
        return known;
      },
      forgetImages: () => {
        known = undefined;
      },
    };
    const said: string[] = [];
    const removed = createDockerHost({
      owner: hosts.ownerOf("held"),
      engine: hosts.engine,
      images,
      kitPath: () => hosts.images.ensureKit(() => undefined),
      config: { poolSize: 0 },
      log: { info: () => undefined, warn: (fields, message) => said.push(`${message} ${fields.image}`) },
    });
    const spec = { run: "removed", image: "removed", limits: LIMITS };
    await (await removed.acquire(spec)).destroy();
    await untag();
    await (await removed.acquire(spec)).destroy();
    expect(made).toBe(2);
    expect(said).toEqual([`the image is gone; it is made again ${TAG}`]);
    await removed.close();
    await untag();
  });

  test("that is a person's own: the run fails and says what to do", async () => {
    await tag();
    const coding = await readFile(join(packageRoot, "policies", "coding.yaml"), "utf8");
    const policy = coding.replace(/image: base/, `image: "${TAG}"`).replace(/images: \[[^\]]*\], /, "");
    const first = await under.harness.submit({ task: "Once.", policy, model: bashScript("echo here") });
    expect((await under.ended(first.run)).at(-1)).toMatchObject({ type: "run.completed" });
    await untag();
    const { run } = await under.harness.submit({ task: "Again.", policy, model: bashScript("echo here") });
    expect((await under.ended(run)).at(-1)).toMatchObject({
      type: "run.failed",
      data: { code: "sandbox", reason: expect.stringContaining("pull or build it, then try again") },
    });
  });
});
