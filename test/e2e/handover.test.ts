import { mkdtemp, readFile, rm } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { CaissonClient } from "../../client/api/client.ts";
import { ENDED } from "../../daemon/protocol/views.ts";
import { version } from "../../daemon/version.ts";
import { CommandLine } from "./command-line.ts";
import { eventually } from "./eventually.ts";
import { otherPackage } from "./other-package.ts";

const FULL = process.env.CAISSON_TEST_FULL === "1";
const OLD = "0.0.1-old";
const QUICK = `turns: [{ say: Done. }]\n`;
const TOLD = `turns:
  - use: [{ tool: bash, input: { command: "until [ -e /tmp/go ]; do echo begun; sleep 0.05; done" } }]
  - say: Done.
`;
const ASKS = `turns:
  - use: [{ tool: bash, input: { command: git push origin main } }]
  - say: Done.
`;

let cli: CommandLine;
let folder: string;
let old: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "caisson-old-"));
  old = await otherPackage(folder, OLD);
});
afterAll(() => rm(folder, { recursive: true, force: true }));

beforeEach(async () => {
  cli = await CommandLine.open();
  await cli.file("quick.yaml", QUICK);
  await cli.file("told.yaml", TOLD);
  await cli.file("asks.yaml", ASKS);
});
afterEach(async () => {
  const client = await daemonClient().catch(() => undefined);
  if (client)
    for (const { run, status } of await runsOf(client)) if (!ENDED.has(status)) await client.cancel(run);
  await cli.close();
});

async function daemonClient(): Promise<CaissonClient> {
  const token = (await readFile(join(cli.folder, "home", "token"), "utf8")).trim();
  return new CaissonClient({ address: cli.env.CAISSON_ADDRESS ?? "", token });
}

async function runsOf(client: CaissonClient) {
  return (await client.runs({ limit: 10 })).items;
}

const task = (script: string, ...more: string[]) => [
  "run",
  "Do it.",
  "--model",
  `script:${script}.yaml`,
  ...more,
];

async function daemonNow(): Promise<{ pid: number; version: string }> {
  return JSON.parse(await readFile(join(cli.folder, "home", "daemon.json"), "utf8"));
}

/** How many daemons have begun to listen over this home. */
async function daemonsSoFar(): Promise<number> {
  const log = await readFile(join(cli.folder, "home", "daemon.log"), "utf8");
  return log.split("\n").filter((line) => line.includes('"listening"')).length;
}

describe("a daemon of another version", () => {
  test("that is idle is replaced; its runs are all there, and an interrupted one goes on with the new one", async () => {
    const first = await cli.run(task("quick", "--json"), {}, old);
    expect(first).toMatchObject({ status: 0 });
    const slow = cli.start(task("told"), {}, old);
    await slow.says(/begun/);
    slow.child.kill("SIGINT");
    expect(await slow.ended).toMatchObject({ status: 130 });
    const before = await daemonNow();
    expect(before.version).toBe(OLD);

    const listed = await cli.run(["ls", "--json"]);
    expect(listed.error).toMatch(/is version 0\.0\.1-old, this is .*replaces it when it is idle/);
    const { items } = JSON.parse(listed.out) as { items: { run: string; status: string }[] };
    expect(items.map(({ status }) => status)).toEqual(["interrupted", "completed"]);

    const ran = await cli.run(task("quick"));
    expect(ran.error).toMatch(/version 0\.0\.1-old, this is .*it was idle and is replaced/);
    expect(ran.status).toBe(0);
    expect(await daemonNow()).toMatchObject({ version });
    expect((await daemonNow()).pid).not.toBe(before.pid);

    const interrupted = items[0]?.run ?? "";
    const client = await daemonClient();
    await client.resume(interrupted);
    expect((await client.run(interrupted)).status).not.toBe("interrupted");
    expect((await runsOf(client)).map(({ run }) => run)).toContain(items[1]?.run);
  });

  test("with a run in progress or waiting stays, says so, and takes the task", async () => {
    const asked = await cli.run(task("asks"), {}, old);
    expect(asked.status).toBe(3);
    const before = await daemonNow();
    const second = await cli.run(task("told", "--detach", "--json"));
    expect(second.error).toMatch(/version 0\.0\.1-old, this is .*1 run under way, so it stays.*caisson down/);
    expect(second.status).toBe(0);
    const third = await cli.run(task("quick"));
    expect(third.error).toMatch(/2 runs under way, so it stays/);
    expect(third.status).toBe(0);
    expect(await daemonNow()).toEqual(before);
  });

  test("two command lines at once make one new daemon between them, and both get their run", async () => {
    await cli.run(task("quick"), {}, old);
    expect(await daemonsSoFar()).toBe(1);
    const both = await Promise.all([cli.run(task("quick")), cli.run(task("quick"))]);
    expect(both.map(({ status, error }) => (status === 0 ? 0 : error))).toEqual([0, 0]);
    expect(await daemonsSoFar()).toBe(2);
    expect(await daemonNow()).toMatchObject({ version });
    expect(await runsOf(await daemonClient())).toHaveLength(3);
  });
});

test.skipIf(!FULL)("two command lines at once without a daemon start one (in test:full)", async () => {
  const both = await Promise.all([cli.run(task("quick")), cli.run(task("quick"))]);
  expect(both.map(({ status, error }) => (status === 0 ? 0 : error))).toEqual([0, 0]);
  await eventually("one daemon", async () => (await daemonsSoFar()) === 1);
});

describe("a daemon that speaks another protocol", () => {
  const server = createServer((request, response) => {
    response.setHeader("content-type", "application/json");
    const health = request.url === "/healthz";
    response.end(JSON.stringify(health ? { ok: true, version: "9.0.0", pid: 1, protocol: 9 } : { runs: 3 }));
  });
  let env: NodeJS.ProcessEnv;
  beforeAll(async () => {
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    env = { CAISSON_ADDRESS: `127.0.0.1:${(server.address() as AddressInfo).port}`, CAISSON_TOKEN: "t" };
  });
  afterAll(() => new Promise((resolve) => server.close(resolve)));

  test.each([
    ["ls", ["ls"], /version 9\.0\.0, this is .* and speaks another protocol\. .*caisson down/],
    [
      "run",
      task("quick"),
      /speaks another protocol; what it has under way can't be told.*Nothing was submitted/,
    ],
  ])("%s says so and stops with 4", async (_name, words, message) => {
    const ended = await cli.run(words, env);
    expect(ended.error).toMatch(message);
    expect(ended).toMatchObject({ status: 4, out: "" });
  });
});
