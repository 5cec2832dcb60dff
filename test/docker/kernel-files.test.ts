/** What a policy says of files holds for commands too, by the kernel: tried from inside of a real sandbox (THREATS 11). */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import type { SandboxHost, SandboxSpec } from "../../daemon/sandbox/host.ts";
import { dataOf, scripted } from "../e2e/runs.ts";
import { bash, ConfinedRuns, NARROW, PREPARE, policyOf, python, textOf } from "./confined-runs.ts";
import { over } from "./over.ts";

let runs: ConfinedRuns;

beforeAll(async () => {
  runs = await ConfinedRuns.open("kernel-files");
}, 300_000);
afterAll(() => runs?.close());

/** Everything beyond what commands may write: names, links, contents. */
const LOOK =
  "find . -path ./out -prune -o -name 'go*' -o -printf '%p %y %n %s\\n' | sort; cat kept.txt src/* private/*";

const WRITES: readonly (readonly [what: string, command: string])[] = [
  ["a redirect", "echo x > kept.txt"],
  ["an appending one", "echo x >> src/a.txt"],
  ["a new file", "echo x > new.txt"],
  ["a new folder", "mkdir new"],
  ["removal", "rm -f kept.txt"],
  ["truncation", "truncate -s 0 kept.txt"],
  ["sed -i", "sed -i s/a/b/ src/a.txt"],
  ["python", python("open('/workspace/kept.txt', 'r+').write('x')")],
  ["truncate(2)", python("os.truncate('/workspace/kept.txt', 0)")],
  ["a shared mapping", python("f = os.open('/workspace/src/a.txt', os.O_RDWR); mmap.mmap(f, 1)[0] = 120")],
  ["a symlink", "ln -sf ../kept.txt out/link; echo x > out/link"],
  ["a hard link", "ln kept.txt out/hard && echo x > out/hard"],
  ["a hard link the other way", "echo x > out/x; ln out/x linked.txt"],
  ["a rename", "echo x > out/x; mv out/x kept.txt"],
  ["a rename out", "mv kept.txt out/"],
  ["a rename of the folder that may be written", "mv out elsewhere"],
  ["an exchange", python("call(316, -100, b'/workspace/out', -100, b'/workspace/private', 2)")],
  [
    "an unnamed file",
    python(
      "f = os.open('/workspace/out', os.O_TMPFILE | os.O_RDWR); os.link(f'/proc/self/fd/{f}', '/workspace/new', follow_symlinks=True)",
    ),
  ],
  ["/proc/self/root", "echo x > /proc/self/root/workspace/kept.txt"],
  ["/proc/self/cwd", "cd /workspace; echo x > /proc/self/cwd/kept.txt"],
  ["a descriptor opened for reading", "exec 3< src/a.txt; echo x > /proc/self/fd/3"],
  ["/dev/fd", "exec 3< src/a.txt; echo x > /dev/fd/3"],
  ["a process of a person's", "echo x > /proc/$(cat out/person)/cwd/kept.txt"],
  ["a bound socket", python("socket.socket(socket.AF_UNIX).bind('/workspace/s')")],
  ["a pipe", "mkfifo pipe"],
  ["a mount", "mount -t tmpfs none src"],
  ["a namespace", "unshare -rm sh -c 'mount --bind out src'"],
  ["io_uring", python("call(425, 1, 0)")],
  ["a detached child", "(setsid sh -c 'echo x > kept.txt; echo x > new.txt' &) ; sleep 0.1; [ -e new.txt ]"],
];

const READS: readonly (readonly [what: string, command: string])[] = [
  ["cat", "cat private/secret.txt"],
  ["a listing", "ls private"],
  ["grep -r", "grep -r HIDDEN ."],
  ["python", python("print(open('/workspace/private/secret.txt').read())")],
  ["a redirect", "read -r x < private/secret.txt && echo $x"],
  ["a symlink", "ln -sfn ../private out/p; cat out/p/secret.txt"],
  ["a hard link", "ln private/secret.txt out/hs; cat out/hs"],
  ["a rename", "mv private out/; cat out/private/secret.txt"],
  ["/proc/self/root", "cat /proc/self/root/workspace/private/secret.txt"],
  ["a descriptor of a person's process", "cat /proc/$(cat out/person)/fd/0"],
  ["the root of a person's process", "cat /proc/$(cat out/person)/root/workspace/private/secret.txt"],
  ["the memory of a person's process", "head -c 1 /proc/$(cat out/person)/mem"],
  ["running it", ". private/secret.txt"],
  ["outside of the workspace", "cat /var/lib/dpkg/status"],
];

describe("a command stays within its policy's folders, whatever it does", () => {
  beforeEach(({ skip }) => runs.needLandlock(skip));

  test("files that it may not write stay as they are; files that it may not read stay unread", async () => {
    const attacks = [...WRITES, ...READS];
    const { outcomes, before, seen } = await runs.worked(
      NARROW,
      `${PREPARE}\n${LOOK}`,
      attacks.map(([, command]) => bash(command)),
      LOOK,
    );
    const through = attacks.filter((_attack, at) => {
      const outcome = outcomes[at];
      return outcome === undefined || outcome.exitCode === 0 || textOf(outcome).includes("HIDDEN");
    });
    expect(through.map(([what]) => what)).toEqual([]);
    expect(seen).toBe(before);
    expect(seen).toContain("HIDDEN");
  });
});

test("acceptance commands are held to the same folders", async ({ skip }) => {
  runs.needLandlock(skip);
  const { run } = await runs.under.harness.submit({
    task: "Try.",
    policy: policyOf(NARROW),
    model: scripted([{ say: "Done." }]),
    accept: ["echo x > ~/x && ! echo x > /workspace/x"],
  });
  const [checked] = dataOf(await runs.under.ended(run), "acceptance.checked");
  expect(checked).toMatchObject({
    passed: true,
    checks: [{ output: expect.stringContaining("Permission denied") }],
  });
});

/** The same host over a kernel without Landlock, as far as its sandboxes tell. */
function withoutLandlock(host: SandboxHost): SandboxHost {
  return over(host, "acquire", async (spec: SandboxSpec) => {
    const sandbox = await host.acquire(spec);
    return over(sandbox, "facts", { ...sandbox.facts, landlock: 0 });
  });
}

describe("a kernel without Landlock", () => {
  let blind: ConfinedRuns;
  beforeAll(async () => {
    blind = await ConfinedRuns.open("no-landlock", withoutLandlock);
  });
  afterAll(() => blind?.close());

  test("confines no command, and the journal says so; the file tools hold all the same", async () => {
    const { events, outcomes } = await blind.worked(
      NARROW,
      PREPARE,
      [
        bash("cat private/secret.txt && echo x > kept.txt"),
        { tool: "read", input: { path: "src/a.txt" } },
        { tool: "read", input: { path: "private/secret.txt" } },
      ],
      "true",
    );
    expect(dataOf(events, "sandbox.started")).toMatchObject([{ landlock: 0 }]);
    expect(outcomes.map(textOf)).toEqual(["HIDDEN\n", "     1\ta source"]);
    expect(dataOf(events, "action.judged").filter(({ verdict }) => verdict === "deny")).toHaveLength(1);
  });
});
