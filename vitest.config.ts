import { configDefaults, defineConfig } from "vitest/config";

/** They measure memory or latency, or make 100,000 files: beside others they would measure those, or starve them. */
const HEAVY = [
  "test/e2e/abuse.test.ts",
  "test/e2e/abuse-*.test.ts",
  "test/e2e/fuzz.test.ts",
  "test/e2e/many-runs.test.ts",
  "test/e2e/sandbox-disk.test.ts",
  "test/e2e/workspace-sizes.test.ts",
];

const full = process.env.CAISSON_TEST_FULL !== undefined;
/** With their full counts, one after the other when all others are done. */
const alone = full ? HEAVY : [];
/** On two cores: beside two files an eighth of the time stood idle. The full counts are given the room instead. */
const maxWorkers = full ? 2 : 3;

const shared = {
  testTimeout: 60_000,
  hookTimeout: 120_000,
  setupFiles: ["test/setup.ts"],
  // Kills, clocks and engines in earnest: in CI one that fails has a second try, and the report says `retry x1`.
  retry: process.env.CI ? 1 : 0,
};

export default defineConfig({
  test: {
    globalSetup: ["test/global-setup.ts"],
    maxWorkers,
    projects: [
      {
        test: {
          ...shared,
          name: "tests",
          include: ["test/**/*.test.ts"],
          exclude: [...configDefaults.exclude, ...alone],
          maxWorkers,
          // No module of ours keeps state, so files may share them: loading them anew for each takes a tenth of the time.
          isolate: false,
          sequence: { groupOrder: 0 },
        },
      },
      {
        test: {
          ...shared,
          name: "alone",
          include: alone,
          maxWorkers: 1,
          sequence: { groupOrder: 1 },
        },
      },
    ],
  },
});
