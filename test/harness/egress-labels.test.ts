/** Ways out that were opened while the run held nothing private (THREATS 27, 28). */
import { once } from "node:events";
import { createServer, type Server } from "node:net";
import { afterEach, beforeEach, expect, test } from "vitest";
import { bashScript, dataOf } from "../e2e/runs.ts";
import { listening } from "../gateway/hosts.ts";
import { type WayOut, wayOut } from "./way-out.ts";

let out: WayOut;
let far: Awaited<ReturnType<typeof listening>>;
let arrived = "";

beforeEach(async () => {
  arrived = "";
  const tcp: Server = createServer((socket) => {
    socket.on("data", (piece) => {
      arrived += piece;
      socket.write("heard");
    });
  });
  far = await listening(tcp);
  out = await wayOut((_request, response) => response.end("the customers\n"));
});

afterEach(async () => {
  await out?.close();
  await far?.close();
});

const policy = `version: 1
name: tunnelling
default: deny
exec:
  shell: contained
  rules: [{ id: shell, argv: ["..."], decision: allow }]
network:
  - { id: inside, host: inside.test, addresses: [127.0.0.0/8], methods: [GET], paths: ["/**"], decision: allow }
  - { id: far, host: far.test, addresses: [127.0.0.0/8], opaque: true, decision: allow }
data:
  labels: [{ host: inside.test, confidentiality: confidential }]
  flow: [{ id: stays, when: { confidentiality: confidential }, to: [host], decision: deny }]
`;

test("an opaque tunnel that was open before the run read something confidential carries nothing of it out", async () => {
  const { server, sandboxes, under } = out;
  const { run } = await under.harness.submit({
    task: "Reach out.",
    model: bashScript("wait for it", "true"),
    policy,
  });
  await under.until(run, ({ type }) => type === "action.started");
  const tunnel = sandboxes.connect();
  const to = `far.test:${far.port}`;
  tunnel.write(`CONNECT ${to} HTTP/1.1\r\nHost: ${to}\r\n\r\n`);
  const [opened] = (await once(tunnel, "data")) as [Buffer];
  expect(String(opened)).toMatch(/^HTTP\/1.1 200/);
  tunnel.write("before");
  await once(tunnel, "data");
  expect(arrived).toBe("before");

  expect((await sandboxes.send(`http://inside.test:${server.port}/`)).status).toBe(200);
  await under.until(run, ({ type }) => type === "label.raised");
  const cut = once(tunnel, "close");
  tunnel.write("the customers");
  await cut;
  await under.until(run, ({ type, data }) => type === "egress.finished" && data.request === "q1");
  expect(arrived).toBe("before");
  sandboxes.endCommands();
  const events = await under.ended(run);
  expect(dataOf(events, "egress.finished").find(({ request }) => request === "q1")).toMatchObject({
    error: expect.stringContaining("stays"),
  });
});
