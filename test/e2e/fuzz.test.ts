import { readdir } from "node:fs/promises";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import { CLOSE, ServerFrame } from "../../daemon/protocol/frames.ts";
import { ENDED } from "../../daemon/protocol/views.ts";
import { AnswerCheck } from "../servers/answers.ts";
import { conversations } from "../servers/frames.ts";
import { Fuzzer } from "../servers/fuzzer.ts";
import type { OpenApi, Operation } from "../servers/openapi.ts";
import { RawSocket } from "../servers/raw-socket.ts";
import { requests } from "../servers/requests.ts";
import { DaemonUnderTest } from "./daemon-under-test.ts";
import { eventually } from "./eventually.ts";
import { openFiles, residentBytes } from "./process.ts";
import { bashScript } from "./runs.ts";

const FULL = process.env.CAISSON_TEST_FULL !== undefined;
const REQUESTS = FULL ? 60_000 : 1_000;
const FRAMES = FULL ? 40_000 : 500;
const MINUTES = 60_000;
/** The daemon's own codes, those of RFC 6455 for broken frames, and 1000 to 1005 for a client that said goodbye. */
const CLOSES = [...Object.values(CLOSE), 1000, 1002, 1003, 1005, 1006, 1007, 1008, 1009];
/** One submission in so many is let become a run. */
const RUN_IN = 12;

let daemon: DaemonUnderTest;
let token: string;
let document: OpenApi;

beforeAll(async () => {
  daemon = await DaemonUnderTest.start();
  token = await daemon.token();
  const response = await fetch(`http://${daemon.address}/v1/openapi.json`, {
    headers: { authorization: `Bearer ${token}` },
  });
  document = (await response.json()) as OpenApi;
});
afterAll(async () => daemon?.cleanUp());

/** Submissions mostly name an image that there isn't, so that the fuzz is not about starting containers. */
function tamed(operation: Operation, body: unknown, at: number): unknown {
  if (operation.operationId !== "postRuns" || typeof body !== "object" || body === null) return body;
  const script = { script: JSON.stringify({ turns: [{ say: "Done." }] }) };
  return at % RUN_IN === 0 ? { task: "fuzzed", model: script } : { ...body, image: "none-such" };
}

async function removeRuns(): Promise<void> {
  const client = await daemon.client();
  for (;;) {
    const { items } = await client.runs({ limit: 100 });
    if (items.length === 0) return;
    for (const { run, status } of items) {
      if (!ENDED.has(status)) await client.cancel(run).catch(() => undefined);
      await eventually("the run has ended", async () => ENDED.has((await client.run(run)).status));
      await client.remove(run);
    }
  }
}

test(
  `${REQUESTS} fuzzed requests: each gets an answer that the document declares, and nothing stays (attack 34)`,
  async () => {
    const runs: string[] = [];
    const statuses = new Map<number, number>();
    const fuzzer = new Fuzzer({
      address: daemon.address,
      check: new AnswerCheck(document, [token]),
      answered: ({ operation }, status, body) => {
        statuses.set(status, (statuses.get(status) ?? 0) + 1);
        if (status === 202 && operation.operationId === "postRuns")
          runs.push((JSON.parse(body) as { run: string }).run);
      },
    });
    const known = () => ({
      run: runs.slice(-20),
      approval: runs.slice(-5).map((run) => `${run}.a1`),
      question: runs.slice(-5).map((run) => `${run}.a1`),
    });
    const cases = requests({ document, address: daemon.address, token, known, tamed });
    const filesBefore = await openFiles(daemon.pid);
    const began = performance.now();
    await fc.assert(
      fc.asyncProperty(cases, (request) => fuzzer.send(request)),
      { numRuns: REQUESTS, endOnFailure: true },
    );
    const seconds = (performance.now() - began) / 1_000;
    fuzzer.close();
    console.info(
      `${REQUESTS} requests in ${seconds.toFixed(1)} s; ${runs.length} runs; statuses ${[...statuses]
        .sort()
        .map(([status, count]) => `${status}: ${count}`)
        .join(", ")}; daemon ${Math.round((await residentBytes(daemon.pid)) / 1e6)} MB`,
    );
    expect(daemon.log).not.toContain("request failed");
    expect(daemon.log).not.toContain(token);
    await removeRuns();
    await eventually(
      "all files are closed again",
      async () => (await openFiles(daemon.pid)) <= filesBefore + 4,
    );
    expect(await readdir(join(daemon.state, "runs"))).toEqual([]);
    expect((await readdir(join(daemon.state, "blobs"))).filter((name) => name.startsWith("."))).toEqual([]);
    await eventually("only the pool is left", async () => (await daemon.containers()).length <= 1);
  },
  30 * MINUTES,
);

test(
  `${FRAMES} fuzzed conversations over WebSockets: each is answered with frames of the protocol or a close code (attack 34)`,
  async () => {
    const { run } = await daemon.ended({ task: "Be there.", model: bashScript("true") });
    const filesBefore = await openFiles(daemon.pid);
    const codes = new Map<number, number>();
    let socket: RawSocket | undefined;
    const began = performance.now();
    await fc.assert(
      fc.asyncProperty(
        conversations(() => [run]),
        async ({ bytes, cut }) => {
          socket ??= await RawSocket.open(daemon.address, token);
          socket.write(bytes);
          const { texts, closed } = await (cut ? socket.hungUp() : socket.settled());
          for (const text of texts) {
            expect(ServerFrame.safeParse(JSON.parse(text)), text).toMatchObject({ success: true });
            expect(text).not.toMatch(/"code":"internal"/);
            expect(text).not.toContain(token);
          }
          if (closed === undefined) return;
          expect(CLOSES).toContain(closed);
          codes.set(closed, (codes.get(closed) ?? 0) + 1);
          socket.destroy();
          socket = undefined;
        },
      ),
      { numRuns: FRAMES, endOnFailure: true },
    );
    const seconds = (performance.now() - began) / 1_000;
    socket?.destroy();
    console.info(
      `${FRAMES} conversations in ${seconds.toFixed(1)} s; closes ${told(codes)}; daemon ${Math.round((await residentBytes(daemon.pid)) / 1e6)} MB`,
    );
    await eventually("all sockets are closed", async () => (await openFiles(daemon.pid)) <= filesBefore + 4);
    expect((await fetch(`http://${daemon.address}/healthz`)).status).toBe(200);
    await removeRuns();
  },
  30 * MINUTES,
);

function told(counts: ReadonlyMap<number, number>): string {
  return [...counts]
    .sort(([a], [b]) => a - b)
    .map(([what, count]) => `${what}: ${count}`)
    .join(", ");
}
