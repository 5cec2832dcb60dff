/** What a policy says of files holds for commands too, by the kernel: tried from inside of a real sandbox (THREATS 11). */
import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import type { EventData, JournalEvent } from "../../daemon/protocol/events.ts";
import type { Sandbox, SandboxHost, SandboxSpec } from "../../daemon/sandbox/host.ts";
import { dataOf, scripted } from "../e2e/runs.ts";
import { type HarnessUnderTest, harnessUnderTest } from "../harness/harness-under-test.ts";
import { type DockerHosts, dockerHosts } from "./docker-hosts.ts";

let hosts: DockerHosts;
let under: HarnessUnderTest;
let landlock = 0;

/** What only the kernel can hold is not tried where it has no Landlock. */
function needsLandlock(skip: (note: string) => void): void {
  if (landlock === 0) skip("this kernel has no Landlock");
}

beforeAll(async () => {
  hosts = await dockerHosts();
  const host = hosts.host("kernel-files");
  const limits = { memoryBytes: 2 ** 28, cpus: 1, pids: 32, diskBytes: 2 ** 28 };
  const probe = await host.acquire({ run: randomUUID(), image: "python", limits });
  landlock = probe.facts.landlock;
  await probe.destroy();
  under = await harnessUnderTest(host);
}, 300_000);

afterAll(async () => {
  await under?.close();
  await hosts?.cleanUp();
});

/** The same host over a kernel without Landlock, as far as its sandboxes tell. */
function withoutLandlock(host: SandboxHost): SandboxHost {
  const blind = (sandbox: Sandbox): Sandbox =>
    bound(sandbox, (name) => (name === "facts" ? { ...sandbox.facts, landlock: 0 } : undefined));
  return bound(host, (name) =>
    name === "acquire" ? async (spec: SandboxSpec) => blind(await host.acquire(spec)) : undefined,
  );
}

/** An object with something in the place of what it has; its private fields stay its own. */
function bound<T extends object>(whole: T, instead: (name: string | symbol) => unknown): T {
  return new Proxy(whole, {
    get(target, name) {
      const value = instead(name) ?? Reflect.get(target, name, target);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
}

const policy = (files: string): string => `version: 1
name: narrow
default: deny
exec: { shell: contained, rules: [{ id: shell, argv: ["..."], decision: allow }] }
files: ${files}
sandbox: { image: python }
limits: { actions: 1000 }
`;
const NARROW =
  "{ read: { allow: [/workspace/src/**, /workspace/out/**] }, write: { allow: [/workspace/out/**] } }";
const bash = (command: string) => ({ tool: "bash", input: { command } });
const WAIT = bash("until [ -e /workspace/go ]; do sleep 0.02; done");
const END = bash("until [ -e /workspace/gone ]; do sleep 0.02; done");

type Finished = EventData<"action.finished">;

/** A run that waits for a person's `prepare`, does all this, and waits for their `look` at what became of it. */
async function worked(
  files: string,
  prepare: string,
  uses: readonly object[],
  look: string,
): Promise<{ events: JournalEvent[]; outcomes: Finished[]; before: string; seen: string }> {
  const turns = [[WAIT], uses, [END]].map((use) => ({ use }));
  const { run } = await under.harness.submit({
    task: "Try.",
    policy: policy(files),
    model: scripted([...turns, { say: "Done." }]),
  });
  const before = await person(run, WAIT, `${prepare}\ntouch /workspace/go`);
  const seen = await person(run, END, `${look}\ntouch /workspace/gone`);
  const events = await under.ended(run);
  const own = dataOf(events, "action.proposed").filter(({ by }) => by === undefined);
  const finished = new Map(dataOf(events, "action.finished").map((data) => [data.action, data]));
  const outcomes = own.flatMap(({ action }) => finished.get(action) ?? []);
  return { events, outcomes: outcomes.slice(1, -1), before, seen };
}

/** A person's command, once this action of the agent's is proposed; people's shells are not confined. */
async function person(run: string, once: object, command: string): Promise<string> {
  const asked = JSON.stringify(once);
  await under.until(
    run,
    ({ type, data }) =>
      type === "action.proposed" && JSON.stringify({ tool: data.tool, input: data.input }) === asked,
  );
  const { action } = await under.harness.shell(run, { command });
  const event = await under.until(run, (one) => one.type === "action.finished" && one.data.action === action);
  if (event.type !== "action.finished") throw new Error("no outcome");
  return text(event.data);
}

const text = ({ output }: Finished): string => (typeof output === "string" ? output : output.preview);

const PREPARE = `mkdir -p src out private
echo 'a source' > src/a.txt
echo HIDDEN > private/secret.txt
echo kept > kept.txt
sleep 600 < private/secret.txt > /dev/null 2>&1 &
echo $! > out/person`;
/** Everything beyond what commands may write: names, links, contents. */
const LOOK =
  "find . -path ./out -prune -o -name 'go*' -o -printf '%p %y %n %s\\n' | sort; cat kept.txt src/* private/*";

const python = (lines: string) => `python3 - <<'END'
import ctypes, mmap, os, socket
libc = ctypes.CDLL(None, use_errno=True)
def call(*args):
  if libc.syscall(*args) < 0: raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
${lines}
END`;

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
  beforeEach(({ skip }) => needsLandlock(skip));

  test("files that it may not write stay as they are; files that it may not read stay unread", async () => {
    const attacks = [...WRITES, ...READS];
    const { outcomes, before, seen } = await worked(
      NARROW,
      `${PREPARE}\n${LOOK}`,
      attacks.map(([, command]) => bash(command)),
      LOOK,
    );
    if (process.env.KDEBUG)
      for (const o of outcomes) console.log(o.action, o.exitCode, JSON.stringify(text(o)).slice(0, 150));
    const through = attacks.filter((_attack, at) => {
      const outcome = outcomes[at];
      return outcome === undefined || outcome.exitCode === 0 || text(outcome).includes("HIDDEN");
    });
    expect(through.map(([what]) => what)).toEqual([]);
    expect(seen).toBe(before);
    expect(seen).toContain("HIDDEN");
  });
});

/** What each command prints has to match, unless its exit status alone tells. */
const WORK: readonly (readonly [command: string, prints: RegExp | undefined])[] = [
  ["echo a >/dev/null; echo b >/dev/stdout; echo c >&2", /b\nc/],
  [`cat <<< "$(seq 1 40000)" | tail -1`, /^40000$/m],
  ["diff <(echo a) <(echo a) && mktemp", /^\/home\/agent\/tmp\./m],
  [
    "cd /workspace/out && git init -q . && echo a > a && git add . && git commit -qm a && git mv a b && git commit -qam b && git log --oneline | wc -l",
    /^2$/m,
  ],
  ["python3 -m venv --without-pip v && v/bin/python -c 'import json; print(json.dumps(1))'", /^1$/m],
  [
    "python3 -c 'import multiprocessing as m; m.Lock(); p = m.Pool(2); print(sum(p.map(abs, [-1, -2])))'",
    /^3$/m,
  ],
  ["echo shared > /dev/shm/x && cat /dev/shm/x", /shared/],
  ['python3 -c \'import pty; pty.spawn(["echo", "on a terminal"])\'', /on a terminal/],
  ["mkdir -p ~/.cache/pip ~/.npm && touch ~/.npm/a ~/.cache/pip/a", undefined],
  ["cp -a a ~/copy 2>/dev/null; tar -cf ~/all.tar . && tar -tf ~/all.tar | head -1", /^\.\/$/m],
  ["export KEPT=yes; mkdir -p deep && cd deep", undefined],
  ['echo "$KEPT in $PWD"; cd ..', /^yes in \/workspace\/out\/deep$/m],
  [
    "python3 -c \"import socket, os\ns = socket.socket(socket.AF_UNIX); s.bind('path.sock'); s.listen()\nt = socket.socket(socket.AF_UNIX); t.bind('\\0abstract'); t.listen()\nwhile 1: c = s.accept()[0]; c.sendall(b'by path'); c.close(); d = t.accept()[0]; d.sendall(b'abstract'); d.close()\" & echo $! > server",
    undefined,
  ],
  [
    "until [ -S path.sock ]; do sleep 0.02; done; python3 -c \"import socket, time\nfor name in ('path.sock', '\\0abstract'):\n  s = socket.socket(socket.AF_UNIX); s.connect(name); print(s.recv(9).decode())\"",
    /by path\nabstract/,
  ],
  [
    "ps -ef | grep -c 'path.soc[k]'; pgrep -f path.sock; cat /proc/$(cat server)/cmdline | tr '\\0' ' '",
    /^1\n\d+\npython3/,
  ],
  [
    "kill -0 $(cat server) && kill $(cat server); while kill -0 $(cat server) 2>/dev/null; do sleep 0.02; done; echo gone",
    /gone/,
  ],
  ["kill -0 1; kill -9 1; echo still here", /still here/],
];

test("acceptance commands are held to the same folders", async ({ skip }) => {
  needsLandlock(skip);
  const { run } = await under.harness.submit({
    task: "Try.",
    policy: policy(NARROW),
    model: scripted([{ say: "Done." }]),
    accept: ["echo x > ~/x && ! echo x > /workspace/x"],
  });
  const [checked] = dataOf(await under.ended(run), "acceptance.checked");
  expect(checked).toMatchObject({
    passed: true,
    checks: [{ output: expect.stringContaining("Permission denied") }],
  });
});

describe("a confined command does ordinary work", () => {
  beforeEach(({ skip }) => needsLandlock(skip));

  test("without a rule for /tmp: the home folder, devices, processes of earlier actions, and the shell's state", async () => {
    const background = {
      tool: "bash",
      input: { command: "echo said; echo x > /workspace/new", background: true },
    };
    const log = bash("until grep -q denied ~/background-*.log; do sleep 0.02; done; cat ~/background-*.log");
    const { outcomes } = await worked(
      NARROW,
      PREPARE,
      [...WORK.map(([command]) => bash(command)), background, log, bash("echo x > /tmp/x")],
      "true",
    );
    const shown = WORK.map(([command], at) => {
      const outcome = outcomes[at];
      return { command, exitCode: outcome?.exitCode, output: outcome ? text(outcome) : "" };
    });
    for (const [at, { exitCode, ...ran }] of shown.entries()) {
      expect(ran).toMatchObject({ output: expect.stringMatching(WORK[at]?.[1] ?? /^/) });
      expect([ran.command, exitCode]).toEqual([ran.command, 0]);
    }
    const [started, logged, temporary] = outcomes.slice(WORK.length);
    expect(started && text(started)).toMatch(/output in \/home\/agent\/background-a\d+\.log/);
    expect(logged && text(logged)).toMatch(/^said\n.*new: Permission denied/);
    expect(temporary?.exitCode).toBe(1);
  });
});

/** Two names change places as fast as they can, until somebody makes `/tmp/stop`. */
const SWAPPING = python(`while not os.path.exists('/tmp/stop'):
  call(316, -100, b'/workspace/place', -100, b'/workspace/other', 2)`);
const SWAPPED = `mkdir -p private place && echo HIDDEN | tee private/file.txt > private/kept.txt
echo open > place/file.txt && ln -s private other`;
const RACED =
  '{ read: { allow: [/workspace/**, /tmp/**], deny: ["**/private/**"] }, write: { allow: [/workspace/**, /tmp/**], deny: ["**/private/**"] } }';

describe("a path that leads elsewhere while it is used", () => {
  test("the file tools never read or write outside of what was judged (threat 11)", async () => {
    const rounds = Array.from({ length: 12 }, (_, round) => [
      { tool: "read", input: { path: "place/file.txt" } },
      { tool: "write", input: { path: `place/written${round}.txt`, content: "written" } },
      { tool: "edit", input: { path: "place/kept.txt", old: "HIDDEN", new: "changed" } },
      { tool: "grep", input: { pattern: "HIDDEN", path: "place" } },
      { tool: "glob", input: { pattern: "*", path: "place" } },
    ]);
    const swapping = { tool: "bash", input: { command: SWAPPING, background: true } };
    const { outcomes, seen } = await worked(
      RACED,
      SWAPPED,
      [swapping, ...rounds.flat(), bash("touch /tmp/stop")],
      "ls private; cat private/*",
    );
    // An action that is denied has no outcome.
    expect(outcomes.length).toBeGreaterThan(2);
    expect(outcomes.map(text).filter((output) => /HIDDEN|^kept\.txt$/m.test(output))).toEqual([]);
    expect(seen).toBe("file.txt\nkept.txt\nHIDDEN\nHIDDEN\n");
  });

  test("a symlink in the place of a folder that may be read opens nothing", async ({ skip }) => {
    needsLandlock(skip);
    const { outcomes } = await worked(
      "{ read: { allow: [/workspace/src/**] }, write: { allow: [/workspace/**] } }",
      PREPARE,
      [bash("cat src/a.txt"), bash("mv src was && ln -s private src"), bash("cat src/secret.txt; ls src/")],
      "true",
    );
    expect(outcomes.map(({ exitCode }) => exitCode)).toEqual([0, 0, 2]);
  });
});

describe("a kernel without Landlock", () => {
  let confined: HarnessUnderTest;
  beforeAll(async () => {
    confined = under;
    under = await harnessUnderTest(withoutLandlock(hosts.host("no-landlock")));
  });
  afterAll(async () => {
    await under.close();
    under = confined;
  });

  test("confines no command, and the journal says so; the file tools hold all the same", async () => {
    const { events, outcomes } = await worked(
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
    expect(outcomes.map(text)).toEqual(["HIDDEN\n", "     1\ta source"]);
    expect(dataOf(events, "action.judged").filter(({ verdict }) => verdict === "deny")).toHaveLength(1);
  });
});

test("what may not be read is not found by searching either, whatever its name", async () => {
  const { outcomes } = await worked(
    '{ read: { allow: [/workspace/**], deny: ["**/private/**", "**/*.env"] } }',
    `mkdir -p private src; echo HIDDEN | tee private/secret.txt src/a.env 'src/b:1:c.env' > 'src/odd:7:name'
mkdir -p private/x$'\\n'/workspace && echo HIDDEN > private/x$'\\n'/workspace/src`,
    [
      { tool: "grep", input: { pattern: "HIDDEN" } },
      { tool: "grep", input: { pattern: "HIDDEN", path: "src" } },
      { tool: "glob", input: { pattern: "**" } },
      { tool: "grep", input: { pattern: "nowhere" } },
    ],
    "true",
  );
  const leftOut = "[what the policy does not let be read is left out]";
  const found = `/workspace/src/odd:7:name:1:HIDDEN\n${leftOut}`;
  expect(outcomes.map(text)).toEqual([
    found,
    found,
    `/workspace/go\n/workspace/src/odd:7:name\n${leftOut}`,
    "No line matches.",
  ]);
});
