import { spawnSync } from "node:child_process";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { Engine } from "../../daemon/sandbox/engine.ts";
import { Images } from "../../daemon/sandbox/images.ts";
import { OwnEngine } from "../servers/own-engine.ts";
import { DaemonUnderTest } from "./daemon-under-test.ts";
import { eventually } from "./eventually.ts";
import { bashScript, dataOf, UNTIL_TOLD } from "./runs.ts";
import { expectSurvived, SURVIVOR } from "./survivor.ts";

const MAY_START = process.getuid?.() === 0 && spawnSync("dockerd", ["--version"]).status === 0;
const PATIENCE_MS = 240_000;
const HELD_UP_MS = 120_000;

/** A second engine, killed, restarted and stopped under a living daemon: a minute or two, so in the large count only. */
describe
  .skipIf(!process.env.CAISSON_TEST_FULL || !MAY_START)
  .each([{ liveRestore: false }, { liveRestore: true }])(
  "an engine of our own, $liveRestore",
  ({ liveRestore }) => {
    let engine: OwnEngine;
    let daemon: DaemonUnderTest;

    beforeEach(async () => {
      const base = await new Images(await Engine.connect()).ensureImage("base", () => undefined);
      engine = await OwnEngine.start({ liveRestore }, [base]);
      daemon = await DaemonUnderTest.start({ engine: engine.address, config: "daemon: { runsAtOnce: 3 }" });
    }, PATIENCE_MS);
    afterEach(async () => {
      try {
        await engine?.begin();
        await daemon?.cleanUp();
      } finally {
        await engine?.cleanUp();
      }
    }, PATIENCE_MS);

    test.each([
      ["restarted", "SIGTERM"],
      ["killed and started again", "SIGKILL"],
    ] as const)(
      "is %s: runs go on, in their sandboxes if those live, else from their checkpoints; queued ones too; the pool fills again (A3, S5, S6)",
      async (_how, signal) => {
        const client = await daemon.client();
        const acting = await client.submit({
          task: "Act.",
          model: bashScript(`echo ran >> /tmp/ran; ${UNTIL_TOLD}`, "cat /tmp/ran"),
        });
        // In whatever it does when the engine goes.
        const surviving = await client.submit(SURVIVOR);
        const asking = await client.submit({ task: "Ask.", model: bashScript("git push; echo asked") });
        await daemon.begun(acting.run);
        const asked = await daemon.untilType(asking.run, "approval.requested");
        await engine.end(signal);
        const queued = await client.submit({ task: "Queue.", model: bashScript("echo here") });
        // An engine that is told to end stops its containers first: then there is nothing left to wait for.
        if (liveRestore || signal === "SIGKILL") {
          await eventually("the run says what it waits for", async () => {
            return (await client.run(acting.run)).waitingFor === "engine";
          });
        }
        expect((await fetch(`http://${daemon.address}/healthz`)).ok).toBe(true);
        await engine.begin();
        await daemon.begun(acting.run, { again: !liveRestore });
        await daemon.tell(acting.run);
        await eventually(
          "the question stands",
          async () => (await client.run(asking.run)).waitingFor === asked.data.approval,
          HELD_UP_MS,
        );
        await client.decideApproval(asked.data.approval, { decision: "allow" });
        for (const { run } of [acting, asking, surviving]) {
          const events = await daemon.untilEnded(run, HELD_UP_MS);
          expect(events.at(-1)).toMatchObject({ type: "run.completed" });
          if (run === surviving.run) continue;
          expect(dataOf(events, "sandbox.lost").map(({ reason }) => reason)).toEqual(
            liveRestore ? [] : [expect.stringMatching(/engine was away|its container/)],
          );
        }
        await expectSurvived(daemon, surviving.run);
        expect(await daemon.outputOf(acting.run, "a2")).toBe("ran\n");
        expect((await daemon.untilEnded(queued.run, HELD_UP_MS)).at(-1)).toMatchObject({
          type: "run.completed",
        });
        await eventually(
          "only a full pool is left",
          async () => (await daemon.containers()).length === 1,
          HELD_UP_MS,
        );
        await eventually(
          "and that is told",
          () => daemon.log.includes("sandbox pool: filled again"),
          HELD_UP_MS,
        );
      },
      PATIENCE_MS,
    );

    test.skipIf(liveRestore)(
      "hangs: the daemon answers, runs wait and say so, and all go on when it wakes (S6)",
      async () => {
        const client = await daemon.client();
        const acting = await client.submit({ task: "Act.", model: bashScript(UNTIL_TOLD, "echo on") });
        await daemon.begun(acting.run);
        await eventually("the pool is full", async () => (await daemon.containers()).length === 2);
        engine.hang();
        const queued = await client.submit({ task: "Queue.", model: bashScript("echo here") });
        await eventually(
          "the run says what it waits for",
          async () => (await client.run(acting.run)).waitingFor === "engine",
          HELD_UP_MS,
        );
        expect((await fetch(`http://${daemon.address}/healthz`)).ok).toBe(true);
        engine.wake();
        await daemon.tell(acting.run);
        for (const { run } of [acting, queued]) {
          expect((await daemon.untilEnded(run, HELD_UP_MS)).at(-1)).toMatchObject({ type: "run.completed" });
        }
      },
      PATIENCE_MS,
    );
  },
);
