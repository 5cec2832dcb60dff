import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { packageRoot } from "../../daemon/package-root.ts";
import { DaemonUnderTest } from "./daemon-under-test.ts";
import { bashScript, dataOf, UNTIL_TOLD } from "./runs.ts";

const FULL = process.env.CAISSON_TEST_FULL !== undefined;

describe.skipIf(!FULL)(
  "a sandbox's disk limit (the measurement takes its time: with CAISSON_TEST_FULL)",
  () => {
    let daemon: DaemonUnderTest;
    beforeAll(async () => {
      daemon = await DaemonUnderTest.start();
    });
    afterAll(async () => daemon?.cleanUp());

    test("S2: what is written beyond it ends the run with a typed reason in words, and the changes are kept", async () => {
      const coding = await readFile(join(packageRoot, "policies", "coding.yaml"), "utf8");
      const policy = coding.replace(/disk: \w+/, "disk: 32MiB");
      expect(policy).toContain("disk: 32MiB");
      const client = await daemon.client();
      const fill = "for i in 1 2 3; do head -c 20000000 /dev/zero > /tmp/$i; done; echo kept > kept";
      const { run } = await client.submit({
        task: "Fill.",
        policy,
        model: bashScript(`${fill}; ${UNTIL_TOLD}`),
      });
      const events = await daemon.untilEnded(run);
      expect(events.at(-1)).toMatchObject({
        type: "run.failed",
        data: {
          code: "limit",
          reason: expect.stringMatching(
            /^The sandbox has written 6\d\.\d MB to disk; the policy allows 33\.6 MB \(sandbox\.disk\)\. What it changed so far is in the diff\.$/,
          ),
        },
      });
      expect(dataOf(events, "sandbox.stopped")[0]?.diff).toContain("kept");
    });

    test("S2: a path too long for the engine to measure ends the run too, and the changes are kept (threat 18)", async () => {
      const deep =
        'mkdir /tmp/deep; cd /tmp/deep; perl -e \'for (1..10000) { mkdir "d" x 60; chdir "d" x 60 }\'';
      const { run } = await (await daemon.client()).submit({
        task: "Hide.",
        model: bashScript(`echo kept > kept; ${deep}; ${UNTIL_TOLD}`),
      });
      const events = await daemon.untilEnded(run, 120_000);
      expect(events.at(-1)).toMatchObject({
        type: "run.failed",
        data: { code: "limit", reason: expect.stringContaining("can't be measured") },
      });
      expect(dataOf(events, "sandbox.stopped")[0]?.diff).toContain("kept");
    }, 180_000);
  },
);
