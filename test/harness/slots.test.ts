import { afterEach, describe, expect, test } from "vitest";
import { Notices } from "../../daemon/harness/notices.ts";
import { Slots } from "../../daemon/harness/slots.ts";
import type { Sandbox, SandboxHost } from "../../daemon/sandbox/host.ts";
import { dataOf, scripted } from "../e2e/runs.ts";
import { type HarnessUnderTest, harnessUnderTest } from "./harness-under-test.ts";

/** Work that goes on until it is told to end. */
function works(slots: Slots, order: string[]) {
  return (who: "new" | "back", run: string) => {
    let end = (): void => undefined;
    const until = new Promise<void>((resolve) => {
      end = resolve;
    });
    const done = slots.with(who, run, () => {
      order.push(run);
      return until;
    });
    return { end: () => end(), done };
  };
}

describe("slots and places for sandboxes", () => {
  test("who comes back goes first and needs no place; who comes new waits for one", async () => {
    const order: string[] = [];
    const told: string[] = [];
    const slots = new Slots({ atOnce: 1, sandboxes: 2 }, (run, held) => told.push(`${run} ${held}`));
    const work = works(slots, order);
    const first = work("new", "a");
    const second = work("new", "b");
    const third = work("new", "c");
    first.end();
    await first.done;
    expect(order).toEqual(["a", "b"]);
    expect(told).toEqual(["c true"]);
    const back = work("back", "a");
    second.end();
    await second.done;
    expect(order).toEqual(["a", "b", "a"]);
    back.end();
    await back.done;
    expect(order).toHaveLength(3);
    slots.release();
    third.end();
    await third.done;
    expect(order.at(-1)).toBe("c");
    expect(told).toEqual(["c true", "c false"]);
  });

  test("runs that were taken up keep their sandboxes beyond the bound, and new ones wait for them to go", async () => {
    const order: string[] = [];
    const slots = new Slots({ atOnce: 4, sandboxes: 1 });
    slots.hold();
    slots.hold();
    const fresh = works(slots, order)("new", "c");
    slots.release();
    expect(order).toEqual([]);
    slots.release();
    fresh.end();
    await fresh.done;
    expect(order).toEqual(["c"]);
  });

  test("one that leaves the queue is waited for no more, and told of no more", async () => {
    const order: string[] = [];
    const told: string[] = [];
    const slots = new Slots({ atOnce: 4, sandboxes: 1 }, (run, held) => told.push(`${run} ${held}`));
    const work = works(slots, order);
    work("new", "a");
    work("new", "b");
    const third = work("new", "c");
    slots.leave("b");
    slots.release();
    third.end();
    await third.done;
    expect(order).toEqual(["a", "c"]);
    expect(told).toEqual(["b true", "c true", "b false", "c false"]);
  });
});

let under: HarnessUnderTest | undefined;
afterEach(() => under?.close());

/** Nothing can be done in it, and it is there until it is destroyed. */
function idle(id: string, gone: (id: string) => void): Sandbox {
  const refuse = () => Promise.reject(new Error("it is a double"));
  return {
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
    lost: new Promise(() => undefined),
    detach: () => undefined,
    destroy: async () => gone(id),
  };
}

test("runs that wait for a person hold no more sandboxes than daemon.sandboxes; the next one says what it waits for", async () => {
  const living = new Set<string>();
  let made = 0;
  const make = () => {
    made += 1;
    const id = `s${made}`;
    living.add(id);
    return idle(id, (one) => living.delete(one));
  };
  const host: SandboxHost = {
    probe: () => Promise.reject(new Error("not asked")),
    acquire: async () => make(),
    reattach: async (id) => idle(id, (one) => living.delete(one)),
    leases: async () => [],
    remove: async (id) => void living.delete(id),
    checkpoints: async () => [],
    checkpointLayers: async () => [],
    copyCheckpoint: async () => undefined,
    removeCheckpoint: async () => undefined,
    squash: () => Promise.reject(new Error("not asked")),
    warm: async () => undefined,
    close: async () => undefined,
  };
  const notices = new Notices();
  const settings = {
    runsAtOnce: 4,
    sandboxes: 2,
    defaultModel: "claude-sonnet-5-5",
    modelAttempts: 3,
    modelRetryMs: 1,
    maximumWorkspaceBytes: 2 ** 20,
    checkpoints: "off" as const,
  };
  under = await harnessUnderTest(host, { settings, notices });
  const model = scripted([{ delayMs: 600_000, say: "Done." }]);
  const submit = async () => (await under?.harness.submit({ task: "Think.", model }))?.run ?? "";
  const waiting = [await submit(), await submit()];
  for (const run of waiting) {
    await under.until(run, ({ type }) => type === "model.requested");
    await under.harness.interrupt(run);
  }
  const third = await submit();
  const queued = await submit();
  expect(notices.of(third)).toMatchObject({
    waitingFor: "sandbox",
    detail: expect.stringContaining("daemon.sandboxes: 2"),
  });
  await under.harness.cancel(queued);
  expect(notices.of(queued)).toBeUndefined();

  under = await under.restart();
  expect((await under.events(third)).map(({ type }) => type)).toEqual(["run.submitted"]);
  expect(notices.of(third)).toMatchObject({ waitingFor: "sandbox" });
  expect(living.size).toBe(2);
  await under.harness.resume(waiting[0] ?? "");
  await under.harness.cancel(waiting[0] ?? "");
  await under.until(third, ({ type }) => type === "model.requested");
  expect(notices.of(third)).toBeUndefined();
  expect(dataOf(await under.events(third), "sandbox.started")).toMatchObject([{ sandbox: "s3" }]);
  expect(living).toEqual(new Set(["s2", "s3"]));
  for (const run of [third, waiting[1] ?? ""]) await under.harness.cancel(run);
});
