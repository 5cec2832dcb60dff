import { createServer, type IncomingMessage } from "node:http";
import { type AddressInfo, connect } from "node:net";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Admission } from "../../daemon/http/admission.ts";
import { depthOf, readJson } from "../../daemon/http/body.ts";
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
