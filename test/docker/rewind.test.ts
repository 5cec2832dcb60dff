import { afterAll, beforeAll, expect, test } from "vitest";
import type { ModelRequest } from "../../daemon/model/port.ts";
import type { JournalEvent } from "../../daemon/protocol/events.ts";
import { dataOf, scripted } from "../e2e/runs.ts";
import { type HarnessUnderTest, harnessUnderTest } from "../harness/harness-under-test.ts";
import { overheard } from "../harness/overheard.ts";
import { type DockerHosts, dockerHosts } from "./docker-hosts.ts";

const TURNS = 20;
/** Kept out of what is compared: a person's own shell writes it. */
const LOOK = [
  "cd /workspace",
  "find . -printf '%p %y %m %s %l %n\\n' | sort",
  "find . -type f -print0 | sort -z | xargs -0 sha256sum",
  "cat /home/agent/.caisson-shell",
].join("; ");

let hosts: DockerHosts;
let under: HarnessUnderTest;
const requests: ModelRequest[] = [];

beforeAll(async () => {
  hosts = await dockerHosts();
  under = await harnessUnderTest(hosts.host("rewind", { poolSize: 1 }), {
    openModel: overheard((request) => requests.push(request)),
  });
});

afterAll(async () => {
  await under?.close();
  await hosts?.cleanUp();
});

/** Files changed by commands and by tools, of every kind; the shell's directory and variables change as well. */
function turn(index: number): unknown {
  const commands = [
    `cd /workspace; mkdir -p d${index % 3}/e; echo ${index} >> log; export N=${index} "Q=a'b\\"${index}"`,
    [
      `head -c ${1000 * index} /dev/zero | tr '\\0' ${index % 10} > d${index % 3}/big`,
      `ln -sfn log link${index % 4}`,
      `ln -f log hard${index % 5}`,
      `chmod ${index % 2 ? 600 : 755} log`,
      `mkdir -p empty${index}; rmdir empty${index - 1} 2>/dev/null`,
      `printf x > "odd \\$'name ${index}"; rm -f "odd \\$'name ${index - 2}"`,
      `cd /workspace/d${index % 3}`,
      "true",
    ].join("; "),
  ];
  return {
    use: [
      ...commands.map((command) => ({ tool: "bash", input: { command } })),
      { tool: "write", input: { path: `notes/${index % 6}.md`, content: `turn ${index}\n` } },
      { tool: "bash", input: { command: `(${LOOK})` } },
    ],
  };
}

const look = async (run: string): Promise<string> => {
  const { action } = await under.harness.shell(run, { command: LOOK });
  const ended = await under.until(
    run,
    (event) => event.type === "action.finished" && event.data.action === action,
  );
  if (ended.type !== "action.finished") throw new Error("a person's command did not finish");
  expect(ended.data.exitCode).toBe(0);
  return String(ended.data.output);
};

const sandboxAfter = (run: string, seq: number) =>
  under.until(run, (event: JournalEvent) => event.type === "sandbox.started" && event.seq > seq);

/** Every order with equal chance is not needed; that it is another one each time is. */
function shuffled<T>(values: readonly T[]): T[] {
  return values
    .map((value) => ({ value, order: Math.random() }))
    .sort((a, b) => a.order - b.order)
    .map(({ value }) => value);
}

test(`C1: rewinds to ${TURNS} checkpoints in any order restore files, modes, links, shell and conversation exactly`, async () => {
  const script = [...Array.from({ length: TURNS }, (_, index) => turn(index + 1)), { delayMs: 600_000 }];
  const { run } = await under.harness.submit({ task: "Work.", model: scripted(script) });
  await under.until(run, (event) => event.type === "turn.started" && event.data.turn === TURNS + 1);
  await under.until(
    run,
    (event) => event.type === "checkpoint.taken" && event.data.checkpoint === `c${TURNS}`,
  );
  await under.harness.interrupt(run);
  const forward = requests.slice(0, TURNS + 1);
  const events = await under.events(run);
  const looks = dataOf(events, "action.finished").filter((_, index) => index % 4 === 3);
  const checkpoints = dataOf(events, "checkpoint.taken");
  expect(checkpoints.map(({ checkpoint }) => checkpoint)).toEqual(
    Array.from({ length: TURNS }, (_, index) => `c${index + 1}`),
  );
  // All distinct, so that equal answers mean a restore and not a stand-still.
  expect(new Set(looks.map(({ output }) => String(output))).size).toBe(TURNS);
  for (const { checkpoint } of shuffled(checkpoints)) {
    const { seq } = await under.harness.rewind(run, checkpoint);
    await sandboxAfter(run, seq);
    const tree = await look(run);
    expect(tree).toBe(looks[Number(checkpoint.slice(1)) - 1]?.output);
    expect(tree).toContain(`N="${checkpoint.slice(1)}"`);
  }
  const [{ checkpoint = "c1" } = {}] = shuffled(checkpoints);
  const number = Number(checkpoint.slice(1));
  const asked = requests.length;
  await under.harness.rewind(run, checkpoint);
  await under.harness.resume(run);
  await under.until(
    run,
    (event) => event.type === "turn.started" && event.data.turn === number + 1 && event.seq > 0,
  );
  await expect.poll(() => requests.length).toBeGreaterThan(asked);
  const now = JSON.stringify(requests[asked]?.messages);
  const then = JSON.stringify(forward[number]?.messages);
  expect(now.startsWith(then.slice(0, -3))).toBe(true);
  expect(requests[asked]?.observed.position).toBe(number);
  await under.harness.cancel(run);
}, 120_000);
