import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import type { JournalEvent } from "../../daemon/protocol/events.ts";
import { Flood } from "../servers/flood.ts";
import { HealthWatch, percentile } from "../servers/health.ts";
import { RawHttp } from "../servers/raw-http.ts";
import { RawSocket } from "../servers/raw-socket.ts";
import { DaemonUnderTest } from "./daemon-under-test.ts";
import { eventually } from "./eventually.ts";
import { openFiles, residentBytes } from "./process.ts";
import { bashScript, isEnd, UNTIL_TOLD } from "./runs.ts";

const FULL = process.env.CAISSON_TEST_FULL !== undefined;
const SOCKETS = FULL ? 10_000 : 2_000;
/** What the daemon holds of connections that show no token, and of WebSockets. */
const IDLE_BOUND = 1_024;
const STREAM_BOUND = 256;
const UPLOAD_BOUND = 8;
const REQUESTS_A_CONNECTION = 16;

let daemon: DaemonUnderTest;
let token: string;

beforeAll(async () => {
  daemon = await DaemonUnderTest.start();
  token = await daemon.token();
});
afterAll(async () => daemon?.cleanUp());

function head(line: string, ...headers: readonly string[]): string {
  return `${[`${line} HTTP/1.1`, `host: ${daemon.address}`, `authorization: Bearer ${token}`, ...headers].join("\r\n")}\r\n\r\n`;
}

async function code(connection: RawHttp): Promise<string | undefined> {
  const answer = await connection.answer();
  return answer && `${answer.status} ${(JSON.parse(answer.body) as { code?: string }).code}`;
}

async function answers(text: string): Promise<string | undefined> {
  const connection = await RawHttp.open(daemon.address);
  connection.socket.write(text, "latin1");
  const told = await code(connection);
  connection.socket.destroy();
  return told;
}

describe("a run that goes on, and who watches it, notice nothing of it (attack 34)", () => {
  let run: string;
  let watched: Promise<JournalEvent[]>;
  let health: HealthWatch;
  let filesBefore: number;

  beforeAll(async () => {
    const client = await daemon.client();
    ({ run } = await client.submit({ task: "Go on.", model: bashScript(UNTIL_TOLD, "echo done") }));
    watched = (async () => {
      const seen: JournalEvent[] = [];
      for await (const one of client.watch(run, 0, { signal: AbortSignal.timeout(600_000) })) {
        if (one.kind === "event") seen.push(one.event);
        if (one.kind === "reconnecting") throw new Error("the watcher lost its connection");
        if (one.kind === "event" && isEnd(one.event)) return seen;
      }
      return seen;
    })();
    await daemon.begun(run);
    filesBefore = await openFiles(daemon.pid);
    health = new HealthWatch(daemon.address);
  });

  afterAll(async () => {
    await daemon.tell(run);
    const events = await watched;
    expect(events.at(-1)?.type).toBe("run.completed");
    expect(events.map(({ seq }) => seq)).toEqual(events.map((_, at) => at + 1));
    const ms = await health.stop();
    console.info(
      `GET /healthz meanwhile: p50 ${percentile(ms, 0.5).toFixed(1)} ms, p95 ${percentile(ms, 0.95).toFixed(1)} ms, worst ${Math.max(...ms).toFixed(1)} ms of ${ms.length}; daemon ${Math.round((await residentBytes(daemon.pid)) / 1e6)} MB`,
    );
    expect(daemon.log).not.toContain("request failed");
    expect(daemon.log).not.toContain(token);
  });

  beforeEach(
    () => () =>
      eventually("what was opened is closed", async () => (await openFiles(daemon.pid)) <= filesBefore + 8),
  );

  test(`${SOCKETS} idle connections: the oldest make room, whoever asks is answered (attack 34)`, async () => {
    const flood = new Flood();
    await flood.open(daemon.address, SOCKETS);
    await eventually("no more than the bound are held", () => flood.held <= IDLE_BOUND);
    expect(await openFiles(daemon.pid)).toBeLessThan(filesBefore + IDLE_BOUND + 50);
    const client = await daemon.client();
    expect((await client.run(run)).status).toBe("running");
    flood.reset();
  });

  test("WebSockets: one more than the daemon takes is refused with 429, ones without a token take nobody's place", async () => {
    const strangers = new Flood();
    const upgrade = [
      "upgrade: websocket",
      "connection: upgrade",
      "sec-websocket-version: 13",
      "sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==",
    ];
    await strangers.open(
      daemon.address,
      STREAM_BOUND * 2,
      `${[`GET /v1/stream HTTP/1.1`, `host: ${daemon.address}`, ...upgrade].join("\r\n")}\r\n\r\n`,
    );
    const sockets: RawSocket[] = [];
    // The watcher has the place that is missing.
    for (let at = 1; at < STREAM_BOUND; at++) sockets.push(await RawSocket.open(daemon.address, token));
    expect(await answers(head("GET /v1/stream", ...upgrade))).toBe("429 too_many_requests");
    for (const socket of sockets) socket.destroy();
    strangers.reset();
    await eventually("there is a place again", async () => {
      const again = await RawSocket.open(daemon.address, token).catch(() => undefined);
      again?.destroy();
      return again !== undefined;
    });
  });

  test("headers that come a byte at a time are cut off at their deadline with 408", async () => {
    const slow = await RawHttp.open(daemon.address);
    slow.socket.write("GET /healthz HTTP/1.1\r\nx: ");
    const drip = setInterval(() => slow.socket.write("a"), 200);
    expect(await code(slow)).toBe("408 request_timeout");
    clearInterval(drip);
    await slow.closed();
  });

  test.skipIf(!FULL)(
    "a body that comes a byte a second is cut off at its deadline (CAISSON_TEST_FULL)",
    async () => {
      const slow = await RawHttp.open(daemon.address);
      slow.socket.write(head("POST /v1/runs", "content-type: application/json", "content-length: 1000"));
      const upload = await RawHttp.open(daemon.address);
      upload.socket.write(
        head("PUT /v1/workspaces", "content-type: application/x-tar", "content-length: 100000"),
      );
      const drip = setInterval(() => {
        slow.socket.write(" ");
        upload.socket.write("a");
      }, 1_000);
      const [body, tar] = await Promise.all([slow.answer({ ms: 60_000 }), upload.answer({ ms: 60_000 })]);
      clearInterval(drip);
      expect([body?.status, tar?.status]).toEqual([408, 408]);
    },
  );

  test("connections that reset or half-close in the middle of a request leave nothing behind", async () => {
    const parts = head("PUT /v1/workspaces", "content-type: application/x-tar", "content-length: 100000");
    for (const text of [
      parts,
      parts.slice(0, 40),
      `${parts}some of it`,
      head("POST /v1/runs", "content-length: 9"),
    ]) {
      const reset = new Flood();
      await reset.open(daemon.address, 20, text);
      reset.reset();
      const half = await RawHttp.open(daemon.address);
      half.socket.end(text);
      await half.closed();
    }
  });

  test("pipelined requests are answered in order, and only so many at once are worked on", async () => {
    const one = await RawHttp.open(daemon.address);
    const asked = 200;
    one.socket.write(head(`GET /v1/runs/${run}`).repeat(asked));
    const statuses: number[] = [];
    for (let at = 0; at < asked; at++) statuses.push((await one.answer())?.status ?? 0);
    // All of them come in one read, and are there before the first is answered.
    expect(statuses).toContain(429);
    expect(statuses.filter((status) => status === 200).length).toBeGreaterThanOrEqual(REQUESTS_A_CONNECTION);
    expect(statuses.every((status) => status === 200 || status === 429)).toBe(true);
    one.socket.destroy();
  });

  test("uploads at once are bounded: one more is 429; one announced beyond the bound is 413 before a byte of it", async () => {
    const begin = (length: number) =>
      head("PUT /v1/workspaces", "content-type: application/x-tar", `content-length: ${length}`);
    const uploads = new Flood();
    await uploads.open(daemon.address, UPLOAD_BOUND, `${begin(1_000_000)}a`);
    await eventually(
      "all places are taken",
      async () => (await answers(begin(10))) === "429 too_many_requests",
    );
    expect(await answers(begin(2 ** 40))).toBe("413 body_too_large");
    uploads.reset();
    await eventually(
      "there is a place again",
      async () => (await answers(`${begin(10)}0123456789`)) !== "429 too_many_requests",
    );
  });

  test("bombs: compressed bodies, a hundred thousand headers, endless lines, deep documents", async () => {
    const json = "content-type: application/json";
    expect(
      await answers(`${head("POST /v1/runs", json, "content-encoding: gzip", "content-length: 2")}ab`),
    ).toBe("415 unsupported_media_type");
    expect(
      await answers(
        `${head(
          "PUT /v1/workspaces",
          "content-type: application/x-tar",
          "content-encoding: gzip",
          "content-length: 2",
        )}ab`,
      ),
    ).toBe("415 unsupported_media_type");
    expect(
      await answers(head("GET /healthz", ...Array.from({ length: 100_000 }, (_, at) => `x-${at}: 1`))),
    ).toBe("431 headers_too_large");
    expect(await answers(head(`GET /${"a".repeat(1_000_000)}`))).toBe("431 headers_too_large");
    const deep = JSON.stringify({ text: "[".repeat(5_000) });
    const check = await RawHttp.open(daemon.address);
    check.socket.write(head("POST /v1/policies/check", json, `content-length: ${deep.length}`) + deep);
    expect((await check.answer())?.body).toContain("deeper than");
    check.socket.destroy();
    const script = JSON.stringify({ task: "x", model: { script: "[".repeat(5_000) } });
    expect(await answers(head("POST /v1/runs", json, `content-length: ${script.length}`) + script)).toBe(
      "400 script_invalid",
    );
  });
});
