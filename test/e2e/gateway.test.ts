import { readFile, stat } from "node:fs/promises";
import type { ServerResponse } from "node:http";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { packageRoot } from "../../daemon/package-root.ts";
import { type Host, plainHost } from "../gateway/hosts.ts";
import { DaemonUnderTest } from "./daemon-under-test.ts";
import { eventually } from "./eventually.ts";
import { dataOf, scripted } from "./runs.ts";

let daemon: DaemonUnderTest;
let server: Host;
/** Requests that the server does not answer, by path. */
const held = new Map<string, ServerResponse>();

beforeAll(async () => {
  server = await plainHost((request, response) => {
    const { url = "" } = request;
    if (url.startsWith("/held")) held.set(url, response);
    else response.end("answered\n");
  });
  daemon = await DaemonUnderTest.start();
});

afterAll(async () => {
  await daemon?.cleanUp();
  await server?.close();
});

const at = (path: string) => `http://api.test:${server.port}${path}`;

async function policy(decision: "allow" | "ask"): Promise<string> {
  const coding = await readFile(join(packageRoot, "policies", "coding.yaml"), "utf8");
  return `${coding}
network:
  - { id: api, host: api.test, addresses: [127.0.0.0/8], methods: [GET, POST], paths: ["/**"], decision: ${decision} }
`;
}

const bash = (command: string) => ({ use: [{ tool: "bash", input: { command } }] });

async function isHeld(path: string): Promise<void> {
  await eventually(`${path} has arrived`, async () => held.has(path));
}

const arrived = (path: string) => server.received.filter(({ url }) => url === path).length;

test("the daemon is killed while requests are under way: they fail closed, none is sent again, and the model is told (A3, J1)", async () => {
  const client = await daemon.client();
  const { run } = await client.submit({
    task: "Send.",
    policy: await policy("allow"),
    model: scripted([
      bash(
        `curl -sS -m 100 -d one ${at("/held-by-curl")} || echo cut off; curl -sS -m 5 ${at("/after")} || echo alone`,
      ),
      { use: [{ tool: "fetch", input: { url: at("/held-by-fetch"), method: "POST", body: "two" } }] },
      { expect: { output: "/may have been sent.*not sent again/" }, say: "Done." },
    ]),
  });
  await isHeld("/held-by-curl");
  await daemon.kill();
  await eventually(
    "the server has lost its connection",
    async () => held.get("/held-by-curl")?.destroyed === true,
  );
  await daemon.startAgain();
  await isHeld("/held-by-fetch");
  await daemon.kill();
  await daemon.startAgain();
  const events = await daemon.untilEnded(run);
  expect(events.at(-1)?.type).toBe("run.completed");
  expect(await daemon.outputOf(run, "a1")).toMatch(/cut off\n/);
  expect(arrived("/held-by-curl")).toBe(1);
  expect(arrived("/held-by-fetch")).toBe(1);
  expect(dataOf(events, "action.unknown")).toMatchObject([{ action: "a2" }]);
  const lost = dataOf(events, "egress.finished").filter(({ error }) => error?.includes("not known"));
  expect(lost.map(({ request }) => request)).toEqual(["q1", dataOf(events, "egress.judged").at(-1)?.request]);
  // The run's authority is for the daemon's eyes alone, and goes with the run.
  const authority = join(daemon.state, "runs", run, "authority.json");
  expect((await stat(authority)).mode & 0o777).toBe(0o600);
  await (await daemon.client()).remove(run);
  await expect(stat(authority)).rejects.toThrow(/ENOENT/);
});

test("a request that asks stands among the approvals, and a person's answer by its short name lets it go (P3)", async () => {
  const client = await daemon.client();
  const { run } = await client.submit({
    task: "Send.",
    policy: await policy("ask"),
    model: scripted([bash(`curl -sS -d title=x ${at("/pulls")}`), { say: "Done." }]),
  });
  const asked = await daemon.untilType(run, "approval.requested");
  const { items } = await client.approvals();
  expect(items).toMatchObject([
    {
      id: `${run}.a1.q1`,
      request: "q1",
      tool: "fetch",
      input: { method: "POST", url: at("/pulls"), preview: "title=x" },
    },
  ]);
  expect(await client.run(run)).toMatchObject({ status: "waiting", waitingFor: asked.data.approval });
  await client.decideApproval(asked.data.approval, { decision: "allow", for: "once" });
  await daemon.untilEnded(run);
  expect(await daemon.outputOf(run, "a1")).toBe("answered\n");
  expect(arrived("/pulls")).toBe(1);
});
