import { createServer, type IncomingMessage } from "node:http";
import { type AddressInfo, connect } from "node:net";
import { Readable } from "node:stream";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Admission } from "../../daemon/http/admission.ts";
import { depthOf, pacedBytesOf, readJson } from "../../daemon/http/body.ts";
import { RawHttp } from "../servers/raw-http.ts";
import { startDaemon, type TestDaemon, TOKEN } from "./daemon.ts";

let daemon: TestDaemon;
beforeAll(async () => {
  daemon = await startDaemon();
});
afterAll(() => daemon.stop());

describe("attack 34: slow, broken and endless bodies", () => {
  it("a body that trickles is given up at its deadline", async () => {
    const outcome = new Promise((resolve) => {
      const server = createServer((request: IncomingMessage, response) => {
        void readJson(request, new Admission(), 50).catch((error: unknown) => {
          resolve(error);
          response.destroy();
          server.close();
        });
      });
      server.listen(0, "127.0.0.1", () => {
        const socket = connect((server.address() as AddressInfo).port, "127.0.0.1");
        socket.on("error", () => undefined);
        socket.write(
          "POST / HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{",
        );
      });
    });
    expect(await outcome).toMatchObject({
      code: "request_timeout",
      message: expect.stringContaining("longer than"),
    });
  });

  it("a refused body that never ends is cut, after its sender could read why", async () => {
    const socket = connect(daemon.port, "127.0.0.1");
    let text = "";
    const cut = new Promise<void>((resolve) => socket.once("close", () => resolve()));
    socket.on("error", () => undefined);
    socket.on("data", (chunk) => {
      text += chunk;
    });
    socket.write(
      `PUT /v1/workspaces HTTP/1.1\r\nhost: 127.0.0.1:${daemon.port}\r\ncontent-type: application/x-tar\r\ntransfer-encoding: chunked\r\n\r\n`,
    );
    await cut;
    expect(text).toMatch(/^HTTP\/1\.1 401 /);
  });

  it("a client that goes away while it sends costs nothing but its request", async () => {
    const socket = connect(daemon.port, "127.0.0.1");
    await new Promise<void>((resolve) => {
      socket.write(
        `POST /v1/runs HTTP/1.1\r\nhost: 127.0.0.1:${daemon.port}\r\nauthorization: Bearer ${TOKEN}\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{`,
        () => resolve(),
      );
    });
    socket.destroy();
    expect((await daemon.call("GET", "/healthz")).status).toBe(200);
    expect(daemon.harness.calls).toEqual([]);
  });

  it("whatever JSON comes, the answer is a problem or an acceptance, never a 500", async () => {
    const odd = fc.oneof(
      fc.json({ maxDepth: 4 }),
      fc.string(),
      fc
        .record({ task: fc.jsonValue(), limits: fc.jsonValue(), model: fc.jsonValue() })
        .map((one) => JSON.stringify(one)),
      fc.constant('{"__proto__":{"task":"x"}}'),
      fc.constant('{"task":"x","limits":{"__proto__":1}}'),
    );
    await fc.assert(
      fc.asyncProperty(odd, async (body) => {
        const response = await daemon.call("POST", "/v1/runs", { body });
        expect([202, 400]).toContain(response.status);
        await response.arrayBuffer();
      }),
      { numRuns: 100 },
    );
    expect(daemon.logged).toEqual([]);
  });
});

describe("depthOf", () => {
  const depth = (value: unknown): number =>
    typeof value === "object" && value !== null
      ? 1 + Math.max(0, ...Object.values(value).map((inner) => depth(inner)))
      : 0;
  it("agrees with the parsed value for all JSON", () => {
    fc.assert(
      fc.property(fc.jsonValue({ maxDepth: 8 }), (value) => {
        expect(depthOf(Buffer.from(JSON.stringify(value)))).toBe(depth(value));
      }),
    );
  });
  it("is not fooled by brackets and quotes in strings", () => {
    for (const text of ['"[[["', '"\\"[["', '"\\\\"', '{"[{":"}]\\\\"}'])
      expect(depthOf(Buffer.from(text))).toBe(depth(JSON.parse(text)));
  });
});

/** A byte now and then, each well within any deadline. */
async function* drip() {
  for (let at = 0; at < 30; at++) {
    await new Promise((resolve) => setTimeout(resolve, 10));
    yield Buffer.from("a");
  }
}

describe("what is counted (attack 34)", () => {
  async function open(text: string): Promise<RawHttp> {
    const connection = await RawHttp.open(`127.0.0.1:${daemon.port}`);
    connection.socket.write(text);
    return connection;
  }
  const head = (line: string, ...more: string[]) =>
    `${[`${line} HTTP/1.1`, `host: 127.0.0.1:${daemon.port}`, `authorization: Bearer ${TOKEN}`, ...more].join("\r\n")}\r\n\r\n`;

  it("an upload that comes too slowly is given up, one whose bytes are taken slowly is not", async () => {
    const source = Readable.from([Buffer.alloc(100), Buffer.alloc(100)]) as unknown as IncomingMessage;
    const pace = { bytes: 50, ms: 30 };
    let taken = 0;
    for await (const chunk of pacedBytesOf(source, pace)) {
      taken += chunk.length;
      await new Promise((resolve) => setTimeout(resolve, 40));
    }
    expect(taken).toBe(200);
    const endless = new Readable({ read: () => undefined });
    endless.push(Buffer.alloc(10));
    const slow = async () => {
      for await (const _chunk of pacedBytesOf(endless as unknown as IncomingMessage, pace));
    };
    await expect(slow()).rejects.toMatchObject({ code: "request_timeout" });
    endless.destroy();
    const dripping = Readable.from(drip()) as unknown as IncomingMessage;
    const all = async () => {
      for await (const _chunk of pacedBytesOf(dripping, { bytes: 50, ms: 60 }));
    };
    await expect(all()).rejects.toMatchObject({ code: "request_timeout" });
  });

  it("the oldest connection that asked nothing makes room; one with a request under way stays", async () => {
    const few = await startDaemon({ admission: { idleConnections: 2 } });
    try {
      const address = `127.0.0.1:${few.port}`;
      const busy = await RawHttp.open(address);
      busy.socket.write(
        `POST /v1/runs HTTP/1.1\r\nhost: ${address}\r\nauthorization: Bearer ${TOKEN}\r\ncontent-type: application/json\r\ncontent-length: 12\r\n\r\n{"task"`,
      );
      expect((await few.call("GET", "/healthz", { headers: { connection: "close" } })).status).toBe(200);
      const idle = [await RawHttp.open(address), await RawHttp.open(address), await RawHttp.open(address)];
      await idle[0]?.closed();
      busy.socket.write(':"x"}');
      expect((await busy.answer())?.status).toBe(202);
      for (const one of [busy, ...idle]) one.socket.destroy();
    } finally {
      await few.stop();
    }
  });

  it("bodies in memory are bounded together, and what a broken one took is given back", async () => {
    const few = await startDaemon({ admission: { bodyBytes: 100 } });
    try {
      const body = JSON.stringify({ task: "x".repeat(200) });
      expect((await few.call("POST", "/v1/runs", { body })).status).toBe(429);
      const address = `127.0.0.1:${few.port}`;
      const half = await RawHttp.open(address);
      half.socket.end(
        `POST /v1/runs HTTP/1.1\r\nhost: ${address}\r\nauthorization: Bearer ${TOKEN}\r\ncontent-length: 99\r\n\r\n${"a".repeat(60)}`,
      );
      await half.closed();
      expect((await few.call("POST", "/v1/runs", { body: { task: "x".repeat(60) } })).status).toBe(202);
    } finally {
      await few.stop();
    }
  });

  it("what is no request gets a problem document; one that expects more than HTTP has is served", async () => {
    const broken = await open("GET\r\n\r\n");
    expect(JSON.parse((await broken.answer())?.body ?? "{}")).toMatchObject({
      code: "invalid_request",
      status: 400,
    });
    const large = await open(head("GET /healthz", `x: ${"a".repeat(20_000)}`));
    expect(JSON.parse((await large.answer())?.body ?? "{}")).toMatchObject({ code: "headers_too_large" });
    const expecting = await open(head("GET /healthz", "expect: the unexpected"));
    expect((await expecting.answer())?.status).toBe(200);
    const upgrade = await open(head("GET /v1/stream", "upgrade: websocket", "connection: upgrade"));
    expect(JSON.parse((await upgrade.answer())?.body ?? "{}")).toMatchObject({ code: "invalid_request" });
    for (const one of [broken, large, expecting, upgrade]) one.socket.destroy();
  });

  it("who takes the daemon for a proxy, or asks for another protocol, is told", async () => {
    const tunnel = await open("CONNECT example.org:443 HTTP/1.1\r\nhost: example.org:443\r\n\r\n");
    const refused = await tunnel.answer();
    expect([refused?.status, JSON.parse(refused?.body ?? "{}").code]).toEqual([405, "method_not_allowed"]);
    const other = await open(head("GET /healthz", "upgrade: h2c", "connection: upgrade, http2-settings"));
    expect(JSON.parse((await other.answer())?.body ?? "{}")).toMatchObject({
      status: 400,
      detail: expect.stringContaining("without Upgrade"),
    });
    await Promise.all([tunnel.closed(), other.closed()]);
  });

  it("who sends megabytes behind a broken head, and reads only then, still finds the answer", async () => {
    const connection = await open("");
    connection.socket.pause();
    const text = `${head("GET /healthz", "content-length: 4000000", ": no name")}${"x".repeat(4_000_000)}`;
    // A connection that was cut off has forgotten what it was sent.
    await new Promise<void>((resolve) => connection.socket.write(text, () => resolve()));
    connection.socket.resume();
    expect((await connection.answer())?.status).toBe(400);
    connection.socket.destroy();
  });

  it("a body that nobody reads is cut after its answer, which is read first", async () => {
    const connection = await open(head("GET /healthz", "content-length: 1000000"));
    expect((await connection.answer())?.status).toBe(200);
    await connection.closed();
  });
});
