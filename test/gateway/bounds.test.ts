/** Bounds on what passes, and who is gone or fails: THREATS 27, P1, L1. */
import { once } from "node:events";
import { connect, createServer } from "node:net";
import { gzipSync } from "node:zlib";
import { afterEach, describe, expect, it } from "vitest";
import { listening, plainHost, proxy, said } from "./hosts.ts";
import { type Keeping, keeperUnderTest, NOTHING_TO_HIDE } from "./keeper.ts";
import { allowing, before, endAll, ends, set, setRaw, sized } from "./setting.ts";

afterEach(endAll);

describe("bytes out", () => {
  it.each(["whole", "streamed"] as const)(
    "a rule's maxBytesOut holds for target, headers and a %s body",
    async (body) => {
      const { send, host, keeper } = await set({ body, judge: allowing(5_000) });
      expect(await send(sized("x".repeat(4_000)), "x".repeat(4_000), "POST")).toContain("200 OK");
      expect(host.received).toHaveLength(1);
      expect(await send(sized("x".repeat(5_000)), "x".repeat(5_000), "POST")).toContain("maxBytesOut");
      expect(await send(`X-Long: ${"x".repeat(6_000)}\r\n`)).toContain("maxBytesOut");
      expect(host.received).toHaveLength(1);
      expect((await keeper.outcome(1)).bytesOut).toBeGreaterThan(4_000);
    },
  );

  it("many small requests use up what the run may send (L1)", async () => {
    const { send, host } = await set({ bytesLeft: 300 });
    const answers = [];
    for (let i = 0; i < 5; i++) answers.push(await send(`X-Part: ${"x".repeat(60)}\r\n`));
    expect(answers.filter((answer) => answer.includes("200 OK"))).toHaveLength(host.received.length);
    expect(answers.at(-1)).toContain("limits.bytesOut");
    expect(host.received.length).toBeLessThan(5);
  });

  it("how a request ended is told with its bytes and its status", async () => {
    const { send, keeper } = await set();
    await send(sized("abc"), "abc", "POST");
    const outcome = await keeper.outcome(1);
    expect(outcome).toMatchObject({ status: 200 });
    expect(outcome.bytesOut).toBeGreaterThan(3);
    expect(outcome.bytesIn).toBeGreaterThan("answer".length);
    expect(outcome).not.toHaveProperty("error");
  });
});

describe("answers", () => {
  it("a head that is too large is refused", async () => {
    const { send } = await set({
      answer: (_request, response) => response.writeHead(200, { a: "x".repeat(70_000) }).end(),
    });
    expect(await send()).toMatch(/^HTTP\/1.1 502/);
  });

  it("a body beyond the bound breaks off, and what was taken of it is told", async () => {
    const { send, keeper } = await set({
      limits: { responseBytes: 10_000 },
      answer: (_request, response) => response.end("x".repeat(50_000)),
    });
    expect((await send()).length).toBeLessThan(50_000);
    expect((await keeper.outcome(1)).error).toContain("10000 bytes");
  });

  it("a small body that unpacks to a huge one is bounded as what it becomes", async () => {
    const bomb = gzipSync(Buffer.alloc(64 * 1024 * 1024));
    const { send, keeper } = await set({
      limits: { responseBytes: 1_000_000 },
      inspection: {
        ...NOTHING_TO_HIDE,
        incoming: () => ({ push: (piece) => piece, end: () => Buffer.alloc(0) }),
      },
      answer: (_request, response) => response.writeHead(200, { "content-encoding": "gzip" }).end(bomb),
    });
    expect((await send()).length).toBeLessThan(2_000_000);
    expect((await keeper.outcome(1)).error).toContain("1000000 bytes");
  });

  it.each([
    [
      "switches protocols unasked",
      "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n",
    ],
    [
      "has a length and an encoding",
      "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ],
    ["is no HTTP", "SSH-2.0-x\r\n"],
    ["breaks off in its head", "HTTP/1.1 200 OK\r\nA:"],
  ])("one that %s is a failure of the gateway's", async (_what, bytes) => {
    const { send, keeper } = await setRaw((socket) => socket.end(bytes));
    expect(await send()).toMatch(/^HTTP\/1.1 502/);
    expect((await keeper.outcome(1)).error).toBeDefined();
  });

  it("one that breaks off in its body breaks off here too: it is not taken for whole", async () => {
    const { through, text, keeper } = await setRaw((socket) =>
      socket.end("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"),
    );
    const answer = await through.raw(text());
    expect(answer).not.toMatch(/\r\n0\r\n\r\n$/);
    expect((await keeper.outcome(1)).error).toBeDefined();
  });

  it("one that is silent at first: its head comes at once", async () => {
    let goOn = () => {};
    const { through, text } = await set({
      answer: (_request, response) => {
        response.writeHead(200, { "content-type": "text/event-stream" }).flushHeaders();
        goOn = () => response.end("data: late\n\n");
      },
    });
    const socket = connect(through.port, "127.0.0.1", () => socket.write(text()));
    const [head] = (await once(socket, "data")) as [Buffer];
    expect(head.toString()).toMatch(/^HTTP\/1.1 200.*event-stream.*\r\n\r\n$/s);
    const rest = once(socket, "data");
    goOn();
    expect(String(await rest)).toContain("data: late");
    socket.destroy();
  });

  it("none in time is told as that", async () => {
    const { send, keeper } = await setRaw(() => {}, { limits: { firstByteMs: 50 } });
    expect(await send()).toMatch(/^HTTP\/1.1 504/);
    expect((await keeper.outcome(1)).error).toContain("50 ms");
  });

  it("one that stands still breaks off", async () => {
    const { send, keeper } = await setRaw(
      (socket) => socket.write("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"),
      {
        limits: { idleMs: 50 },
      },
    );
    await send();
    expect((await keeper.outcome(1)).error).toContain("50 ms");
  });

  it("a refused connection is told", async () => {
    const { close, port } = await listening(createServer());
    await close();
    const { send, keeper } = await before(port, {}, {});
    expect(await send()).toMatch(/^HTTP\/1.1 502/);
    expect((await keeper.outcome(1)).error).toContain("ECONNREFUSED");
  });
});

describe("sandboxes", () => {
  it("a head that never comes whole is not waited for", async () => {
    const { through } = await set({ limits: { headMs: 50 } });
    expect(await through.raw("GET http://api.test/ HTTP/1.1\r\nHost")).toBe("");
    expect(await through.raw("")).toBe("");
    expect(await through.raw("CONNECT api.test:443 HTTP/1.1\r\nHost: api.test:443\r\n\r\n")).toMatch(
      /^HTTP\/1.1 200/,
    );
  });

  it("a held body that stands still is not waited for", async () => {
    const { send, keeper } = await set({ body: "whole", limits: { idleMs: 50 } });
    expect(await send(sized("abc"), "a", "POST")).toBe("");
    expect(keeper.judged).toEqual([]);
  });

  it("a head that is too large is refused", async () => {
    const { send, keeper } = await set();
    expect(await send(`A: ${"x".repeat(40_000)}\r\n`)).toMatch(/^HTTP\/1.1 400/);
    expect(keeper.judged).toEqual([]);
  });

  it("who leaves while a person is asked: the keeper hears of it, and nothing is sent", async () => {
    let asking = (_gone: AbortSignal) => {};
    const asked = new Promise<AbortSignal>((resolve) => {
      asking = resolve;
    });
    const keeper = await keeperUnderTest();
    const host = await plainHost((_request, response) => response.end());
    const waiting = {
      ...keeper,
      judge: (_request: unknown, gone: AbortSignal) => {
        asking(gone);
        return new Promise<never>((_resolve, reject) =>
          gone.addEventListener("abort", () => reject(gone.reason)),
        );
      },
    };
    const through = await proxy(waiting, { lookup: async () => ["127.0.0.1"] });
    ends.push(host.close, through.close);
    const socket = connect(through.port, "127.0.0.1");
    socket.write(`GET http://api.test:${host.port}/ HTTP/1.1\r\nHost: api.test:${host.port}\r\n\r\n`);
    const gone = await asked;
    const left = new Promise((resolve) => gone.addEventListener("abort", resolve));
    socket.destroy();
    await left;
    expect(host.received).toEqual([]);
  });

  it("who leaves in the middle of an answer: the host is let go, and the end is told", async () => {
    let hostClosed = () => {};
    const closed = new Promise<void>((resolve) => {
      hostClosed = resolve;
    });
    const { through, text, keeper } = await set({
      answer: (_request, response) => {
        response.on("close", () => hostClosed());
        response.write("begun");
      },
    });
    const socket = connect(through.port, "127.0.0.1", () => socket.write(text()));
    socket.once("data", () => socket.destroy());
    await closed;
    expect((await keeper.outcome(1)).error).toContain("closed the connection");
  });
});

describe("a keeper that fails resets the connection (P1)", () => {
  it.each([
    ["judging", { judge: () => Promise.reject(new Error("the run has stopped")) }],
    ["the body's kind", {}],
    ["what arrives", { arriving: () => Promise.reject(new Error("no disk")) }],
    ["what has ended", { finished: () => Promise.reject(new Error("no disk")) }],
  ] as [string, Keeping][])("%s", async (what, keeping) => {
    const keeper = await keeperUnderTest(keeping);
    const host = await plainHost((_request, response) => response.end("never seen"));
    const failing = what === "the body's kind" ? { ...keeper, body: () => fail() } : keeper;
    const through = await proxy(failing, { lookup: async () => ["127.0.0.1"] });
    ends.push(host.close, through.close);
    const at = `api.test:${host.port}`;
    const socket = connect(through.port, "127.0.0.1");
    const answer = await said(
      socket,
      `POST http://${at}/ HTTP/1.1\r\nHost: ${at}\r\nContent-Length: 1\r\n\r\nx`,
    );
    if (what !== "what has ended") expect(answer).toBe("");
  });

  function fail(): never {
    throw new Error("broken");
  }

  it("and closing the gateway resets all of them", async () => {
    const { through, text, host } = await set({ answer: () => {} });
    const answer = through.raw(text());
    await expect.poll(() => host.received.length).toBe(1);
    through.gateway.close();
    expect(await answer).toBe("");
  });
});
