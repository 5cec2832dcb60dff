/** What stands on the wire behind a head, towards the host and back: THREATS 24, A2. */
import { once } from "node:events";
import { connect, createServer, type Server, type Socket } from "node:net";
import { createServer as createSecureServer } from "node:tls";
import { afterEach, describe, expect, it } from "vitest";
import { createAuthority } from "../../daemon/gateway/authority.ts";
import { listening, proxy, said, tunnel } from "./hosts.ts";
import { type Keeping, keeperUnderTest, LOOPBACK } from "./keeper.ts";
import { before, endAll, ends, setRaw, sized } from "./setting.ts";

afterEach(endAll);

interface Message {
  readonly method: string;
  readonly target: string;
  readonly body: string;
}

/** Bytes as a host reads them that goes by the framing alone: whole messages, and what is left over. */
function read(bytes: string): { readonly messages: readonly Message[]; readonly rest: string } {
  const end = bytes.indexOf("\r\n\r\n");
  if (end < 0) return { messages: [], rest: bytes };
  const [line = "", ...fields] = bytes.slice(0, end).split("\r\n");
  const behind = bytes.slice(end + 4);
  const chunked = fields.some((field) => /^transfer-encoding: chunked$/i.test(field));
  const [length = "0"] = fields.flatMap((field) => field.match(/^content-length: (\d+)$/i)?.[1] ?? []);
  const taken = chunked ? dechunked(behind) : { body: behind.slice(0, Number(length)), used: Number(length) };
  if (taken === undefined || taken.used > behind.length) return { messages: [], rest: bytes };
  const [method = "", target = ""] = line.split(" ");
  const { messages, rest } = read(behind.slice(taken.used));
  return { messages: [{ method, target, body: taken.body }, ...messages], rest };
}

function dechunked(bytes: string, body = "", used = 0): { body: string; used: number } | undefined {
  const line = bytes.indexOf("\r\n", used);
  if (line < 0) return undefined;
  const size = Number.parseInt(bytes.slice(used, line), 16);
  const next = line + 2 + size + 2;
  if (next > bytes.length) return undefined;
  return size === 0 ? { body, used: next } : dechunked(bytes, body + bytes.slice(line + 2, next - 2), next);
}

const OK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n";

/** A host that keeps every byte, and answers each message that it reads out of them. */
async function recordingHost(secured: boolean) {
  const connections: string[] = [];
  const closed: Promise<unknown>[] = [];
  const serve = (socket: Socket) => {
    const at = connections.push("") - 1;
    let answered = 0;
    closed.push(new Promise((resolve) => socket.on("error", () => {}).once("close", resolve)));
    socket.on("data", (piece) => {
      connections[at] += piece.toString("latin1");
      const { messages } = read(connections[at] ?? "");
      for (const { method } of messages.slice(answered)) socket.write(method === "HEAD" ? OK : `${OK}ok`);
      answered = messages.length;
    });
  };
  const authority = await createAuthority("upstream");
  const context = await authority.contextFor("api.test");
  const server: Server = secured
    ? createSecureServer({ SNICallback: (_name, done) => done(null, context) }, serve)
    : createServer(serve);
  const { port, close } = await listening(server);
  ends.push(close);
  return { port, connections, closed, ca: authority.certificate };
}

async function setRecording(secured: boolean, keeping: Keeping = {}) {
  const host = await recordingHost(secured);
  const keeper = await keeperUnderTest(keeping);
  const through = await proxy(keeper, { lookup: async () => ["127.0.0.1"], ca: host.ca });
  ends.push(through.close);
  const at = `api.test:${host.port}`;
  const opened = () =>
    secured
      ? tunnel(through.port, at, { ca: keeper.authority.certificate, servername: "api.test" })
      : Promise.resolve(connect(through.port, "127.0.0.1"));
  const request = (method: string, path: string, more: string, body = "") =>
    `${method} ${secured ? "" : `http://${at}`}${path} HTTP/1.1\r\nHost: ${at}\r\n${more}\r\n${body}`;
  return { host, keeper, opened, request };
}

const SMUGGLED = "DELETE /secret HTTP/1.1\r\nHost: other\r\nContent-Length: 0\r\n\r\n";
const CHUNKED = "Transfer-Encoding: chunked\r\n";
const inChunks = (body: string, trailers = "") =>
  `${body.length.toString(16)}\r\n${body}\r\n0\r\n${trailers}\r\n`;

const METHODS = ["GET", "HEAD", "DELETE", "OPTIONS", "POST", "PUT", "PATCH", "PROPFIND"];
const WAYS = [false, true].flatMap((secured) =>
  (["streamed", "whole"] as const).flatMap((body) =>
    METHODS.map((method) => [method, body, secured ? "in a tunnel" : "in plain"] as const),
  ),
);

describe("THREATS 24: a body is never a request", () => {
  it.each(WAYS)("%s, its body %s, %s: one that looks like a request arrives as a body", async (...way) => {
    const [method, body, where] = way;
    const { host, keeper, opened, request } = await setRecording(where === "in a tunnel", { body });
    const texts = [
      request(method, "/chunked", CHUNKED, inChunks(SMUGGLED)),
      request(method, "/sized", sized(SMUGGLED), SMUGGLED),
      request(method, "/empty-chunks", CHUNKED, "0\r\n\r\n"),
      request(method, "/empty", "Content-Length: 00\r\n"),
      request(method, "/last", "Connection: close\r\n"),
    ];
    const answer = await said(await opened(), texts.join(""));
    expect(answer.match(/HTTP\S+ \d+/g)).toEqual(Array(5).fill("HTTP/1.1 200"));
    const arrived = host.connections.map(read);
    expect(arrived.map(({ rest }) => rest).join("")).toBe("");
    expect(arrived.flatMap(({ messages }) => messages)).toEqual([
      { method, target: "/chunked", body: SMUGGLED },
      { method, target: "/sized", body: SMUGGLED },
      { method, target: "/empty-chunks", body: "" },
      { method, target: "/empty", body: "" },
      { method, target: "/last", body: "" },
    ]);
    expect(keeper.judged).toHaveLength(5);
  });

  it.each(["Content-Length", "transfer-encoding", "x-a, HOST", "close\r\nConnection: Content-Length"])(
    "a Connection header that names %s is refused, and nothing leaves",
    async (named) => {
      for (const body of ["streamed", "whole"] as const) {
        const { host, keeper, opened, request } = await setRecording(false, { body });
        for (const framed of [sized(SMUGGLED), CHUNKED]) {
          const text = framed === CHUNKED ? inChunks(SMUGGLED) : SMUGGLED;
          const head = `Connection: ${named}\r\n${framed}Connection: close\r\n`;
          const answer = await said(await opened(), request("GET", "/", head, text));
          expect(answer).toContain("403 Forbidden");
          expect(answer.match(/^HTTP/gm)).toHaveLength(1);
        }
        expect(keeper.judged.map(({ violation }) => violation?.rule)).toEqual([
          "gateway.framing",
          "gateway.framing",
        ]);
        expect(host.connections).toEqual([]);
      }
    },
  );

  it("one that ends before its time ends its connection, and is no whole one to its host", async () => {
    const breakOff = async (head: string, part: string) => {
      const { host, keeper, opened, request } = await setRecording(false);
      const socket = await opened();
      socket.on("error", () => {}).resume();
      socket.end(request("GET", "/", head, part));
      expect((await keeper.outcome(1)).error).toBeDefined();
      await Promise.all(host.closed);
      expect(host.connections).toHaveLength(1);
      expect(host.connections.flatMap((bytes) => read(bytes).messages)).toEqual([]);
    };
    await Promise.all([
      breakOff(sized(SMUGGLED), SMUGGLED.slice(0, 20)),
      breakOff(CHUNKED, inChunks(SMUGGLED).slice(0, 20)),
    ]);
  });

  it("trailers and an Expect stay behind", async () => {
    const { host, opened, request } = await setRecording(false);
    const head = `${CHUNKED}Trailer: X-Late\r\nExpect: 100-continue\r\nConnection: close\r\n`;
    const answer = await said(await opened(), request("GET", "/", head, inChunks("a", "X-Late: b\r\n")));
    expect(answer).toMatch(/^HTTP\/1.1 100 Continue\r\n\r\nHTTP\/1.1 200/);
    expect(host.connections).toHaveLength(1);
    expect(host.connections[0]).not.toMatch(/x-late|expect/i);
  });

  it("no header that is set over the sandbox's frames the body", async () => {
    const { host, opened, request } = await setRecording(false, {
      judge: (_request, id) => ({
        allowed: true,
        request: id,
        terms: LOOPBACK,
        headers: { "Content-Length": "3", "Transfer-Encoding": "gzip", Connection: "upgrade", "X-Kept": "a" },
      }),
    });
    const last = "Connection: close\r\n";
    await said(await opened(), request("GET", "/", CHUNKED + last, inChunks(SMUGGLED)));
    await said(await opened(), request("GET", "/", last));
    for (const bytes of host.connections) {
      expect(bytes).toContain("x-kept: a");
      expect(bytes).not.toMatch(/gzip|upgrade|^content-length: 3/m);
    }
    expect(host.connections.flatMap((bytes) => read(bytes).messages)).toHaveLength(2);
  });

  it("headers named like what every object has are headers", async () => {
    const { host, opened, request } = await setRecording(false);
    const head = "Constructor: a\r\n__proto__: b\r\nConnection: close\r\n";
    expect(await said(await opened(), request("GET", "/", head))).toContain("200 OK");
    expect(host.connections[0]).toContain("constructor: a\r\n__proto__: b\r\n");
  });
});

/** A host that says what a test likes at every request: of which connection, and which on it, from 1. */
async function setTalking(say: (socket: Socket, connection: number, asked: number) => void) {
  let connections = 0;
  const host = await listening(
    createServer((socket) => {
      const connection = ++connections;
      let asked = 0;
      socket.on("data", () => say(socket, connection, ++asked));
    }),
  );
  ends.push(host.close);
  return before(host.port, {}, {});
}

describe("THREATS 24: an answer is only to its own request", () => {
  const STALE = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nstale";
  it.each([
    ["a HEAD", "HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"],
    ["a 204", "GET", "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n"],
    ["a 304", "GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n"],
    ["a length", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfirst"],
  ])(
    "what a host says behind the answer to %s is no answer to the next request",
    async (_what, method, head) => {
      for (const together of [true, false]) {
        let sayMore = () => Promise.resolve();
        const { through, at } = await setTalking((socket, connection, asked) => {
          if (connection > 1) return void socket.write("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnext");
          socket.write(asked > 1 ? STALE : together ? head + STALE : head);
          // Something comes while nothing is asked, the rest once the next request is there.
          if (!together) sayMore = () => new Promise((resolve) => socket.write("x", () => resolve()));
        });
        const socket = connect(through.port, "127.0.0.1").on("error", () => {});
        const request = (which: string, more = "") =>
          `${which} http://${at}/ HTTP/1.1\r\nHost: ${at}\r\n${more}\r\n`;
        socket.write(request(method));
        const [first] = (await once(socket, "data")) as [Buffer];
        expect(first.toString("latin1")).not.toContain("stale");
        await sayMore();
        const rest = await said(socket, request("GET", "Connection: close\r\n"));
        expect(rest).not.toContain("stale");
        if (!together) expect(rest).toMatch(/^HTTP\/1.1 200.*\r\n\r\nnext$/s);
      }
    },
  );

  it("one that comes before a body's end: the rest of the body leaves no more, and the next request is the next", async () => {
    const seen: string[] = [];
    const { through, at, keeper } = await setTalking((socket, connection, asked) => {
      if (asked > 1) return;
      seen.push(`${connection}`);
      socket.write("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nearly");
    });
    const socket = connect(through.port, "127.0.0.1").on("error", () => {});
    const part = "x".repeat(100);
    socket.write(`POST http://${at}/ HTTP/1.1\r\nHost: ${at}\r\nContent-Length: 300000\r\n\r\n${part}`);
    await once(socket, "data");
    await keeper.outcome(1);
    const rest = "x".repeat(300_000 - part.length);
    const next = `GET http://${at}/next HTTP/1.1\r\nHost: ${at}\r\nConnection: close\r\n\r\n`;
    expect(await said(socket, rest + next)).toMatch(/^HTTP\/1.1 200.*early$/s);
    expect(seen).toEqual(["1", "2"]);
    expect(keeper.judged.map(({ method }) => method)).toEqual(["POST", "GET"]);
  });

  it("a 204 has no length, whatever its host says", async () => {
    const { send } = await setRaw((socket) =>
      socket.end("HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n"),
    );
    expect(await send()).not.toMatch(/content-length/i);
  });

  it("one whose body is encoded on its way is not passed on as if it were plain", async () => {
    const { send } = await setRaw((socket) =>
      socket.end("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n"),
    );
    expect(await send()).toMatch(/^HTTP\/1.1 502/);
  });
});
