import { afterEach, describe, expect, test } from "vitest";
import { EngineUnreachable, type Sandbox, type SandboxHost, SandboxLost } from "../../daemon/sandbox/host.ts";
import { dataOf, scripted } from "../e2e/runs.ts";
import { type HarnessUnderTest, harnessUnderTest } from "./harness-under-test.ts";

const SETTINGS = {
  runsAtOnce: 4,
  sandboxes: 16,
  defaultModel: "claude-sonnet-5-5",
  modelAttempts: 3,
  modelRetryMs: 1,
  enginePatienceMs: 150,
  maximumWorkspaceBytes: 2 ** 20,
  checkpoints: "off" as const,
};

let under: HarnessUnderTest | undefined;
afterEach(() => under?.close());

/** A sandbox whose stream breaks when told; nothing can be done in it. */
function breakable(id: string): { sandbox: Sandbox; break: (reason: string) => void } {
  let settle = (_reason: string): void => undefined;
  const lost = new Promise<string>((resolve) => {
    settle = resolve;
  });
  const refuse = () => Promise.reject(new SandboxLost("it is a double"));
  const sandbox: Sandbox = {
    id,
    runnerVersion: "1",
    facts: { landlock: 0, proxyPort: 0 },
    onConnection: () => undefined,
    env: {},
    start: refuse,
    resume: refuse,
    processes: async () => [],
    forget: () => undefined,
    putTar: async () => undefined,
    putOwned: async () => undefined,
    commit: () => Promise.reject(new Error("not asked")),
    fingerprint: async () => "",
    volatileFiles: async () => [],
    lost,
    detach: () => undefined,
    destroy: async () => settle("destroyed"),
  };
  return { sandbox, break: settle };
}

async function withHost(host: Pick<SandboxHost, "acquire" | "reattach">) {
  const removed: string[] = [];
  const unreachable = () => Promise.reject(new EngineUnreachable("connect ECONNREFUSED"));
  under = await harnessUnderTest(
    {
      probe: unreachable,
      leases: async () => [],
      remove: async (id) => void removed.push(id),
      checkpoints: async () => [],
      checkpointLayers: async () => [],
      copyCheckpoint: async () => undefined,
      removeCheckpoint: async () => undefined,
      squash: () => Promise.reject(new Error("not asked")),
      warm: async () => undefined,
      close: async () => undefined,
      ...host,
    },
    { settings: SETTINGS, log: { info: quiet, warn: quiet, error: quiet } },
  );
  return { under, removed };
}

const THINKING = scripted([{ delayMs: 600_000, say: "Done." }]);
const away = () => Promise.reject(new EngineUnreachable("connect ECONNREFUSED"));

const AWAY = /^the Docker engine could not be reached for 0 s \(connect ECONNREFUSED\)$/;

describe("an engine that does not come back", () => {
  test("before the run has a sandbox: the run fails with code sandbox and the engine's word", async () => {
    const { under } = await withHost({ acquire: away, reattach: away });
    const { run } = await under.harness.submit({ task: "Wait.", model: THINKING });
    expect((await under.ended(run)).at(-1)).toMatchObject({
      type: "run.failed",
      data: { code: "sandbox", reason: expect.stringMatching(AWAY) },
    });
  });

  test("under a run: the sandbox is lost after the patience, and what may be left of it is removed", async () => {
    const { sandbox, break: cut } = breakable("c1");
    const sandboxes = [sandbox];
    const acquire = async () => sandboxes.pop() ?? away();
    const { under, removed } = await withHost({ acquire, reattach: away });
    const { run } = await under.harness.submit({ task: "Think.", model: THINKING });
    await under.until(run, ({ type }) => type === "model.requested");
    cut("the engine can't be reached");
    const events = await under.ended(run);
    expect(dataOf(events, "sandbox.lost")).toEqual([{ sandbox: "c1", reason: expect.stringMatching(AWAY) }]);
    expect(events.at(-1)).toMatchObject({ type: "run.failed", data: { code: "sandbox" } });
    expect(removed).toEqual(["c1"]);
  });
});

test("a stream that breaks again and again is not attached for ever: the run goes on in another sandbox (S6)", async () => {
  const first = breakable("c1");
  const sandboxes = [breakable("c2").sandbox, first.sandbox];
  let attached = 0;
  const { under } = await withHost({
    acquire: async () => sandboxes.pop() ?? away(),
    reattach: async () => {
      attached += 1;
      const again = breakable("c1");
      again.break("the runner broke the protocol");
      return again.sandbox;
    },
  });
  const { run } = await under.harness.submit({ task: "Think.", model: THINKING });
  await under.until(run, ({ type }) => type === "model.requested");
  first.break("the runner broke the protocol");
  await under.until(run, ({ type, data }) => type === "sandbox.started" && data.because === "lost");
  const lost = dataOf(await under.events(run), "sandbox.lost");
  expect(lost).toEqual([{ sandbox: "c1", reason: "the runner broke the protocol" }]);
  expect(attached).toBe(3);
});

test("a sandbox that is dead before the journal has it is lost as any other: another is tried, three in all (S6)", async () => {
  let made = 0;
  const { under } = await withHost({
    acquire: async () => {
      const { sandbox, break: die } = breakable(`c${++made}`);
      die("its container was killed");
      return sandbox;
    },
    reattach: async () => undefined,
  });
  const { run } = await under.harness.submit({ task: "Think.", model: THINKING });
  const events = await under.ended(run);
  expect(dataOf(events, "sandbox.lost").map(({ sandbox }) => sandbox)).toEqual(["c1", "c2", "c3"]);
  expect(events.at(-1)).toMatchObject({
    type: "run.failed",
    data: {
      code: "sandbox",
      reason: expect.stringMatching(/lost 3 times in a row.*its container was killed/),
    },
  });
});

test("a daemon that stops while a run's end waits for its sandbox leaves the end to the next one", async () => {
  const { sandbox } = breakable("c1");
  let asked = (): void => undefined;
  const ending = new Promise<void>((resolve) => {
    asked = resolve;
  });
  const processes = () => {
    asked();
    return Promise.reject(new SandboxLost("its stream broke"));
  };
  const { under } = await withHost({ acquire: async () => ({ ...sandbox, processes }), reattach: away });
  const { run } = await under.harness.submit({ task: "Think.", model: THINKING });
  await under.until(run, ({ type }) => type === "model.requested");
  void under.harness.cancel(run).catch(() => undefined);
  await ending;
  await under.harness.stop();
  expect((await under.events(run)).at(-1)).toMatchObject({ type: "model.requested" });
});

function quiet(): void {}
