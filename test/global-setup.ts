import { execFileSync } from "node:child_process";
import { rmSync } from "node:fs";
import { join } from "node:path";
import type { TestProject } from "vitest/node";
import { packageRoot } from "../daemon/package-root.ts";

const BUILD_MS = 120_000;

/** Labels every container and checkpoint image of ours carries; what is left after a suite is a leak. */
const OURS = ["--filter", "label=caisson.owner"];

/**
 * Compiles the sources once, for the tests that start programs. After all suites nothing of ours may be left: each
 * test run has owners of its own and removes what it made.
 */
export default function setUp(project: TestProject): () => void {
  const built = join(packageRoot, "dist-test", String(process.pid));
  const words = [join(packageRoot, "scripts", "build.mjs"), built];
  execFileSync(process.execPath, words, { timeout: BUILD_MS, stdio: "inherit" });
  project.provide("built", built);
  const before = new Set([...containers(), ...checkpointImages()]);
  return () => {
    rmSync(built, { recursive: true, force: true });
    for (const [what, ids] of [
      ["container", containers()],
      ["checkpoint image", checkpointImages()],
    ] as const) {
      const left = ids.filter((id) => !before.has(id));
      if (left.length > 0)
        throw new Error(`the tests left ${left.length} ${what}(s) behind: ${left.join(" ")}`);
    }
  };
}

function containers(): string[] {
  return listed("ps", "--all", "--quiet", ...OURS);
}

function checkpointImages(): string[] {
  return listed("images", "--quiet", "--no-trunc", ...OURS);
}

function listed(...words: string[]): string[] {
  try {
    const text = execFileSync("docker", words, {
      encoding: "utf8",
      timeout: 20_000,
      stdio: ["ignore", "pipe", "ignore"],
    });
    return text.split("\n").filter((line) => line !== "");
  } catch {
    return [];
  }
}
