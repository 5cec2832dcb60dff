import { execFileSync } from "node:child_process";
import { rmSync } from "node:fs";
import { join } from "node:path";
import type { TestProject } from "vitest/node";
import { packageRoot } from "../daemon/package-root.ts";

const BUILD_MS = 120_000;

/** Labels every container of ours carries; what is left after a suite is a leak. */
const OURS = ["--filter", "label=caisson.owner"];

/**
 * Compiles the sources once, for the tests that start programs. After all suites nothing of ours may be left: each
 * test run has owners of its own and removes what it made.
 */
export default function setUp(project: TestProject): () => void {
  const built = join(packageRoot, "dist-test", String(process.pid));
  compile(built);
  project.provide("built", built);
  const before = new Set(containers());
  return () => {
    rmSync(built, { recursive: true, force: true });
    const left = containers().filter((id) => !before.has(id));
    if (left.length > 0)
      throw new Error(`the tests left ${left.length} container(s) behind: ${left.join(" ")}`);
  };
}

/** Types are checked elsewhere. */
function compile(into: string): void {
  const tsc = join(packageRoot, "node_modules", "typescript", "bin", "tsc");
  const words = ["-p", "tsconfig.build.json", "--noCheck", "--outDir", into];
  execFileSync(process.execPath, [tsc, ...words], { cwd: packageRoot, timeout: BUILD_MS, stdio: "inherit" });
}

function containers(): string[] {
  try {
    const listed = execFileSync("docker", ["ps", "--all", "--quiet", ...OURS], {
      encoding: "utf8",
      timeout: 20_000,
      stdio: ["ignore", "pipe", "ignore"],
    });
    return listed.split("\n").filter((line) => line !== "");
  } catch {
    return [];
  }
}
