/** What a confined command can do all the same: ordinary work. */
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { bash, ConfinedRuns, NARROW, PREPARE, textOf } from "./confined-runs.ts";

let runs: ConfinedRuns;

beforeAll(async () => {
  runs = await ConfinedRuns.open("confined-work");
}, 300_000);
afterAll(() => runs?.close());

beforeEach(({ skip }) => runs.needLandlock(skip));

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

test("without a rule for /tmp a confined command has the home folder, devices, processes of earlier actions, and the shell's state", async () => {
  const background = {
    tool: "bash",
    input: { command: "echo said; echo x > /workspace/new", background: true },
  };
  const log = bash("until grep -q denied ~/background-*.log; do sleep 0.02; done; cat ~/background-*.log");
  const { outcomes } = await runs.worked(
    NARROW,
    PREPARE,
    [...WORK.map(([command]) => bash(command)), background, log, bash("echo x > /tmp/x")],
    "true",
  );
  const shown = WORK.map(([command], at) => {
    const outcome = outcomes[at];
    return { command, exitCode: outcome?.exitCode, output: outcome ? textOf(outcome) : "" };
  });
  for (const [at, { exitCode, ...ran }] of shown.entries()) {
    expect(ran).toMatchObject({ output: expect.stringMatching(WORK[at]?.[1] ?? /^/) });
    expect([ran.command, exitCode]).toEqual([ran.command, 0]);
  }
  const [started, logged, temporary] = outcomes.slice(WORK.length);
  expect(started && textOf(started)).toMatch(/output in \/home\/agent\/background-a\d+\.log/);
  expect(logged && textOf(logged)).toMatch(/^said\n.*new: Permission denied/);
  expect(temporary?.exitCode).toBe(1);
});
