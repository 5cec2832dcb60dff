import { request } from "node:http";
import { afterAll, beforeAll, expect, test } from "vitest";
import { WebSocket } from "ws";
import { DaemonUnderTest } from "./daemon-under-test.ts";
import { bashScript, dataOf } from "./runs.ts";

const API_KEY = "sk-ant-test-0c5e9d1f7a3b4862";

let daemon: DaemonUnderTest;
let token: string;

beforeAll(async () => {
  daemon = await DaemonUnderTest.start({ env: { ANTHROPIC_API_KEY: API_KEY } });
  token = await daemon.token();
});
afterAll(async () => daemon?.cleanUp());

type Headers = Readonly<Record<string, string>>;

/** The status and body of a raw request; `fetch` would not let a test forge Host. */
function get(path: string, headers: Headers): Promise<{ status: number | undefined; body: string }> {
  const [hostname, port] = daemon.address.split(":");
  return new Promise((resolve, reject) => {
    const sent = request({ hostname, port, path, headers }, (response) => {
      let body = "";
      response.on("data", (part) => {
        body += part;
      });
      response.on("end", () => resolve({ status: response.statusCode, body }));
    });
    sent.on("error", reject);
    sent.end();
  });
}

/** How an upgrade ends: the status that refused it, or the code that closed it; `"open"` when it is let in. */
function upgrade(
  headers: Headers,
  protocols: string[] = ["caisson.v1"],
): Promise<number | "open" | undefined> {
  return new Promise((resolve) => {
    const socket = new WebSocket(`ws://${daemon.address}/v1/stream`, protocols, { headers });
    socket.once("unexpected-response", (_request, response) => {
      resolve(response.statusCode);
      socket.terminate();
    });
    socket.once("close", resolve);
    socket.once("error", () => undefined);
    socket.once("message", () => {
      resolve("open");
      socket.terminate();
    });
  });
}

const own = () => ({ authorization: `Bearer ${token}` });

test("without the token or with a wrong one: 401 over HTTP, 4401 over WebSocket; with it, both let in (H1)", async () => {
  expect((await get("/v1/runs", {})).status).toBe(401);
  expect((await get("/v1/runs", { authorization: `Bearer ${token}x` })).status).toBe(401);
  expect((await get("/v1/runs?token=1", { cookie: `token=${token}` })).status).toBe(401);
  expect((await get("/v1/runs", own())).status).toBe(200);
  expect((await get("/healthz", {})).status).toBe(200);
  expect(await upgrade({})).toBe(4401);
  expect(await upgrade({ authorization: "Bearer wrong" })).toBe(4401);
  expect(await upgrade(own())).toBe("open");
  expect(await upgrade({ origin: `http://${daemon.address}` }, ["caisson.v1", `bearer.${token}`])).toBe(
    "open",
  );
});

test("from a foreign Origin or Host even the token does not help: 403, HTTP and WebSocket alike (H1)", async () => {
  const port = daemon.address.split(":").at(-1);
  const foreign: Headers[] = [
    { origin: "https://evil.example" },
    { origin: "null" },
    { origin: `http://127.0.0.1.evil.example:${port}` },
    { host: "evil.example" },
    { host: `evil.example:${port}` },
    { host: "127.0.0.1:1" },
  ];
  for (const headers of foreign) {
    const { status, body } = await get("/v1/runs", { ...own(), ...headers });
    expect([status, JSON.parse(body).code], JSON.stringify(headers)).toEqual([
      403,
      headers.host ? "forbidden_host" : "forbidden_origin",
    ]);
    expect((await get("/healthz", headers)).status).toBe(403);
    expect(await upgrade({ ...own(), ...headers }), JSON.stringify(headers)).toBe(403);
  }
});

/** Under most policies the kernel does not even let a command look around. */
const EVERYWHERE = `version: 1
name: everywhere
default: deny
exec: { shell: contained, rules: [{ id: any, argv: ["..."], decision: allow }] }
files: { read: { allow: ["/**"] }, write: { allow: ["/**"] } }
`;

test("an action finds neither the daemon's token nor its API key anywhere in its sandbox, nor the daemon (S3, H1)", async () => {
  const port = daemon.address.split(":").at(-1);
  // The pattern does not match itself, so that the search does not find the search.
  const patterns = [token, API_KEY].map((secret) => `'[${secret[0]}]${secret.slice(1)}'`);
  const commands = patterns.flatMap((pattern) => [
    `env | grep -c ${pattern}`,
    `cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline 2>/dev/null | grep -ac ${pattern}`,
    `grep -rl --exclude-dir=proc --exclude-dir=sys --devices=skip ${pattern} / 2>/dev/null | wc -l`,
  ]);
  const planted = `echo '${API_KEY.slice(0, 9)}''${API_KEY.slice(9)}' > /tmp/planted; ${commands.at(-1)}`;
  const reach = `(exec 3<>/dev/tcp/127.0.0.1/${port}) 2>/dev/null && echo reached || echo unreachable`;
  const { run, events } = await daemon.ended({
    task: "Search.",
    policy: EVERYWHERE,
    model: bashScript(...commands, reach, planted),
  });
  expect(events.at(-1)).toMatchObject({ type: "run.completed" });
  const outputs = await Promise.all(
    dataOf(events, "action.started").map(({ action }) => daemon.outputOf(run, action)),
  );
  expect(outputs.map((output) => output.trim())).toEqual([...commands.map(() => "0"), "unreachable", "1"]);
});
