import { execFileSync } from "node:child_process";

/** Labels every container of ours carries; what is left after a suite is a leak. */
const OURS = ["--filter", "label=caisson.owner"];

/** After all suites nothing of ours may be left: each test run has owners of its own and removes what it made. */
export default function setUp(): () => void {
  const before = new Set(containers());
  return () => {
    const left = containers().filter((id) => !before.has(id));
    if (left.length > 0)
      throw new Error(`the tests left ${left.length} container(s) behind: ${left.join(" ")}`);
  };
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
