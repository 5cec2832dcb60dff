import { afterEach, describe, expect, test } from "vitest";
import { FAULT_POINTS, injectedFaults } from "../../daemon/faults.ts";
import { ENGINE_CALLS } from "../../daemon/sandbox/engine-calls.ts";
import { DaemonUnderTest } from "./daemon-under-test.ts";
import { eventually } from "./eventually.ts";
import { FaultFile } from "./fault-file.ts";
import { bashScript } from "./runs.ts";

describe("the registry of fault points", () => {
  test("has a point before and after every engine call, and those of journal and blobs, each once", () => {
    expect(new Set(FAULT_POINTS).size).toBe(FAULT_POINTS.length);
    expect(FAULT_POINTS.filter((point) => point.startsWith("engine."))).toHaveLength(2 * ENGINE_CALLS.length);
    expect([...FAULT_POINTS].sort()).toMatchInlineSnapshot(`
      [
        "blob.after-sync",
        "blob.after-write",
        "blob.before-write",
        "catalogue.after-write",
        "catalogue.before-write",
        "engine.attach.after",
        "engine.attach.before",
        "engine.build-image.after",
        "engine.build-image.before",
        "engine.commit-container.after",
        "engine.commit-container.before",
        "engine.copy-kit.after",
        "engine.copy-kit.before",
        "engine.create-container.after",
        "engine.create-container.before",
        "engine.create-kit-container.after",
        "engine.create-kit-container.before",
        "engine.import-image.after",
        "engine.import-image.before",
        "engine.inspect-container.after",
        "engine.inspect-container.before",
        "engine.inspect-image.after",
        "engine.inspect-image.before",
        "engine.list-build-stages.after",
        "engine.list-build-stages.before",
        "engine.list-containers.after",
        "engine.list-containers.before",
        "engine.list-images.after",
        "engine.list-images.before",
        "engine.look-at-path.after",
        "engine.look-at-path.before",
        "engine.measure-container.after",
        "engine.measure-container.before",
        "engine.probe.after",
        "engine.probe.before",
        "engine.pull-image.after",
        "engine.pull-image.before",
        "engine.put-owned-files.after",
        "engine.put-owned-files.before",
        "engine.remove-build-stage.after",
        "engine.remove-build-stage.before",
        "engine.remove-container.after",
        "engine.remove-container.before",
        "engine.remove-kit-container.after",
        "engine.remove-kit-container.before",
        "engine.rename-container.after",
        "engine.rename-container.before",
        "engine.start-container.after",
        "engine.start-container.before",
        "engine.tag-image.after",
        "engine.tag-image.before",
        "engine.unpause-container.after",
        "engine.unpause-container.before",
        "engine.untag-image.after",
        "engine.untag-image.before",
        "engine.update-container.after",
        "engine.update-container.before",
        "engine.upload-archive.after",
        "engine.upload-archive.before",
        "engine.version.after",
        "engine.version.before",
        "engine.weigh-container.after",
        "engine.weigh-container.before",
        "journal.append.after-sync",
        "journal.append.after-write",
        "journal.append.before-sync",
        "journal.append.before-write",
        "output.after-write",
        "output.before-write",
      ]
    `);
  });
});

describe("faults in a daemon of its own process", () => {
  let faults: FaultFile | undefined;
  let daemon: DaemonUnderTest | undefined;
  afterEach(async () => {
    await daemon?.cleanUp();
    await faults?.remove();
  });

  test("are refused where nobody says that it is a test, and a rule for no point is an error", async () => {
    faults = await FaultFile.create();
    const { CAISSON_TEST_FAULTS } = faults.env;
    expect(injectedFaults({ NODE_ENV: "production" })).toBeUndefined();
    expect(() => injectedFaults({ NODE_ENV: "production", CAISSON_TEST_FAULTS })).toThrow(/Unset it/);
    expect(injectedFaults({ NODE_ENV: "test", CAISSON_TEST_FAULTS })).toBeDefined();
    await faults.set({ at: "engine.nothing.before", do: "kill" });
    expect(() => injectedFaults({ NODE_ENV: "test", CAISSON_TEST_FAULTS })).toThrow(/no fault point/);
  });

  test("kill it where they are told to: the run goes on with the next daemon (A3, J3)", async () => {
    faults = await FaultFile.create();
    daemon = await DaemonUnderTest.start({ env: { ...faults.env, CAISSON_POOL: "0" } });
    await faults.set({ at: "engine.start-container.after", do: "kill" });
    const { run } = await (await daemon.client()).submit({ task: "Start.", model: bashScript("echo here") });
    await daemon.died();
    expect((await faults.passed()).at(-1)).toBe("engine.start-container.after");
    await faults.clear();
    await daemon.startAgain();
    expect((await daemon.untilEnded(run)).at(-1)).toMatchObject({ type: "run.completed" });
    await eventually("every sandbox is gone", async () => (await daemon?.containers())?.length === 0);
  });
});
