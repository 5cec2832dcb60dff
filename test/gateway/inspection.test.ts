/** What is looked at on its way out and in: THREATS 25 to 27, the gateway's part. */
import { createHash } from "node:crypto";
import type { RequestListener } from "node:http";
import { brotliCompressSync, deflateSync, gzipSync } from "node:zlib";
import { afterEach, describe, expect, it } from "vitest";
import type { Inspection, Violation } from "../../daemon/gateway/port.ts";
import { plainHost, proxy, unchunked } from "./hosts.ts";
import { type Keeping, keeperUnderTest, LOOPBACK } from "./keeper.ts";

const SECRET = "s3cr3t-value-0123456789";
const PLACEHOLDER = "caisson-placeholder-vcs-1";

/** Finds the secret in whatever pieces it comes, and replaces it in the same way. */
const LOOKING: Inspection = {
  outgoing: () => {
    let tail = "";
    const look = (text: string): Violation[] =>
      text.includes(SECRET) ? [{ rule: "secrets.vcs", reason: "the secret vcs would leave" }] : [];
    return {
      text: look,
      push: (piece) => {
        tail = (tail + piece.toString("latin1")).slice(-piece.length - SECRET.length);
        return look(tail);
      },
      end: () => [],
    };
  },
  incoming: () => {
    let held = "";
    return {
      push: (piece) => {
        held = (held + piece.toString("latin1")).replaceAll(SECRET, PLACEHOLDER);
        const safe = Math.max(0, held.length - SECRET.length + 1);
        const out = held.slice(0, safe);
        held = held.slice(safe);
        return Buffer.from(out, "latin1");
      },
      end: () => Buffer.from(held, "latin1"),
    };
  },
};

const ends: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0)) await end();
});

async function set(
  keeping: Keeping,
  answer: RequestListener = (_request, response) => response.end("answer"),
) {
  const host = await plainHost(answer);
  const keeper = await keeperUnderTest({ inspection: LOOKING, ...keeping });
  const through = await proxy(keeper, { lookup: async () => ["127.0.0.1"] });
  ends.push(host.close, through.close);
  const at = `api.test:${host.port}`;
  const send = (head: string, body = "", path = "/", method = "POST") =>
    through.raw(
      `${method} http://${at}${path} HTTP/1.1\r\nHost: ${at}\r\nConnection: close\r\n${head}\r\n${body}`,
    );
  return { host, keeper, send };
}

const sized = (body: string) => `Content-Length: ${Buffer.byteLength(body)}\r\n`;

describe("what goes out", () => {
  it.each([
    ["its target", "", "", `/?q=${SECRET}`],
    ["a header", `X-A: ${SECRET}\r\n`, "", "/"],
    ["its held body", sized(`a=${SECRET}`), `a=${SECRET}`, "/"],
    [
      "its body, in chunks",
      "Transfer-Encoding: chunked\r\n",
      `9\r\n${SECRET.slice(0, 9)}\r\ne\r\n${SECRET.slice(9)}\r\n0\r\n\r\n`,
      "/",
    ],
  ])("a finding in %s denies the request before anything leaves", async (_where, head, body, path) => {
    const { host, keeper, send } = await set({ body: "whole" });
    const answer = await send(head, body, path);
    expect(answer).toContain("403 Forbidden");
    expect(answer).toContain("secrets.vcs");
    expect(keeper.judged.map(({ violation }) => violation?.rule)).toEqual(["secrets.vcs"]);
    expect(host.received).toEqual([]);
  });

  it("a finding in a streamed body breaks off the request, and is journalled as its end", async () => {
    const { host, keeper, send } = await set({ body: "streamed" });
    const body = `${"x".repeat(200_000)}${SECRET}`;
    const answer = await send(sized(body), body);
    expect(answer).toContain("secrets.vcs");
    expect((await keeper.outcome(1)).error).toContain("secret vcs");
    expect(host.received).toEqual([]);
  });

  it("a body that must be known is judged with its hash and its beginning, and leaves as it was judged (A2)", async () => {
    const { host, keeper, send } = await set({ body: "whole" });
    const body = "name=é&x=1";
    await send(
      "Transfer-Encoding: chunked\r\n",
      `3\r\nnam\r\n8\r\n${Buffer.from(body.slice(3)).toString("latin1")}\r\n0\r\n\r\n`,
    );
    expect(keeper.judged[0]).toMatchObject({
      bodyBytes: 11,
      bodyHash: createHash("sha256").update(body).digest("hex"),
      bodyPreview: body,
    });
    expect(host.received[0]).toMatchObject({ body, headers: { "content-length": "11" } });
  });

  it("a body that must be known and is over 1 MiB is denied", async () => {
    const { host, keeper, send } = await set({ body: "whole" });
    const body = "x".repeat(2 * 1024 * 1024);
    const answers = [
      await send(sized(body), body),
      await send("Transfer-Encoding: chunked\r\n", `200000\r\n${body}`),
    ];
    for (const answer of answers) expect(answer).toContain("gateway.body");
    expect(keeper.judged.map(({ violation }) => violation?.rule)).toEqual(["gateway.body", "gateway.body"]);
    expect(host.received).toEqual([]);
  });

  it("a body that is no text has no preview, an absent one no hash", async () => {
    const { keeper, send } = await set({ body: "whole" });
    await send(sized("\0\0"), "\0\0");
    await send("", "", "/", "GET");
    expect(keeper.judged[0]).not.toHaveProperty("bodyPreview");
    expect(keeper.judged[1]).toEqual({ method: "GET", url: expect.any(String), bodyBytes: 0 });
  });

  it("a client that waits for leave to send its body gets it", async () => {
    const { host, send } = await set({ body: "whole" });
    const answer = await send(`Expect: 100-continue\r\n${sized("abc")}`, "abc");
    expect(answer).toMatch(/^HTTP\/1.1 100 Continue\r\n\r\nHTTP\/1.1 200/);
    expect(host.received[0]?.headers).not.toHaveProperty("expect");
  });

  it("injected credentials stand where the sandbox's were, once (S3)", async () => {
    const { host, send } = await set({
      judge: (_request, request) => ({
        allowed: true,
        request,
        terms: LOOPBACK,
        headers: { Authorization: `Bearer ${SECRET}` },
      }),
    });
    await send(`authorization: Bearer ${PLACEHOLDER}\r\nAUTHORIZATION: Basic other\r\n`, "", "/", "GET");
    expect(host.received[0]?.headers.authorization).toBe(`Bearer ${SECRET}`);
  });
});

describe("what comes in", () => {
  it("a credential that comes back, in a header or the body, is its placeholder again", async () => {
    const { send, host } = await set({}, (request, response) => {
      response.writeHead(200, `OK ${SECRET}`, { "x-echo": `a ${SECRET} b`, "content-type": "text/plain" });
      response.write(`one ${SECRET.slice(0, 7)}`);
      response.end(`${SECRET.slice(7)} two ${request.headers["accept-encoding"]}`);
    });
    const answer = await send("Accept-Encoding: gzip\r\n", "", "/", "GET");
    expect(answer).not.toContain(SECRET);
    expect(answer).toContain(`x-echo: a ${PLACEHOLDER} b`);
    expect(answer.replace(/\r\n[0-9a-f]+\r\n/g, "")).toContain(`one ${PLACEHOLDER} two identity`);
    expect(host.received[0]?.headers["accept-encoding"]).toBe("identity");
  });

  it.each([
    ["gzip", gzipSync],
    ["deflate", deflateSync],
    ["br", brotliCompressSync],
  ])("an answer that is compressed all the same (%s) is looked through", async (encoding, compress) => {
    const { send } = await set({}, (_request, response) => {
      response.writeHead(200, { "content-encoding": encoding });
      response.end(compress(Buffer.from(`one ${SECRET} two`)));
    });
    const answer = await send("", "", "/", "GET");
    expect(unchunked(answer.split(/\r\n\r\n(.*)/s)[1] ?? "")).toBe(`one ${PLACEHOLDER} two`);
    expect(answer.toLowerCase()).not.toContain("content-encoding");
  });

  it("one that can't be opened is not passed on", async () => {
    const { send, keeper } = await set({}, (_request, response) => {
      response.writeHead(200, { "content-encoding": "zstd" });
      response.end(SECRET);
    });
    expect(await send("", "", "/", "GET")).toMatch(/^HTTP\/1.1 502/);
    expect((await keeper.outcome(1)).error).toContain("zstd");
  });

  it("where the run has nothing to hide, compressed answers pass as they are", async () => {
    const packed = gzipSync("plenty");
    const { send, host } = await set(
      { inspection: { ...LOOKING, incoming: () => undefined } },
      (_request, response) => {
        response.writeHead(200, { "content-encoding": "gzip", "content-length": packed.length });
        response.end(packed);
      },
    );
    const answer = await send("Accept-Encoding: gzip\r\n", "", "/", "GET");
    expect(answer).toContain("content-encoding: gzip");
    expect(Buffer.from(answer.split("\r\n\r\n")[1] ?? "", "latin1")).toEqual(packed);
    expect(host.received[0]?.headers["accept-encoding"]).toBe("gzip");
  });

  it("what leads to another protocol, or speaks for the gateway, is left out", async () => {
    const { send } = await set({}, (_request, response) => {
      response.writeHead(200, {
        "alt-svc": 'h3=":443"',
        "proxy-authenticate": "Basic",
        "x-caisson-verdict": "allow",
      });
      response.end();
    });
    const answer = (await send("", "", "/", "GET")).toLowerCase();
    for (const name of ["alt-svc", "proxy-authenticate", "x-caisson-verdict"])
      expect(answer).not.toContain(name);
  });
});
