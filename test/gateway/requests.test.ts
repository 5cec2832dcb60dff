/** What is read of a request, and what is refused before anybody is asked: THREATS 22 to 24. */
import { connect } from "node:net";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { type Host, plainHost, proxy, said, tunnel, upstreamTrust } from "./hosts.ts";
import { type KeeperUnderTest, keeperUnderTest } from "./keeper.ts";

let keeper: KeeperUnderTest;
let through: Awaited<ReturnType<typeof proxy>>;
let secure: Host;
let plain: Host;
let ca: string;
let other: string;

beforeAll(async () => {
  const trust = await upstreamTrust();
  secure = await trust.hostOf("api.test", (_request, response) => response.end("answer"));
  plain = await plainHost((request, response) =>
    request.url === "/moved"
      ? response.writeHead(302, { location: "http://denied.test/" }).end()
      : response.end("answer"),
  );
  keeper = await keeperUnderTest();
  ca = keeper.authority.certificate;
  through = await proxy(keeper, { ca: trust.ca, lookup: async () => ["127.0.0.1"] });
  other = `api.test:${plain.port}`;
});
afterAll(async () => {
  await through?.close();
  await secure?.close();
  await plain?.close();
});
beforeEach(() => {
  keeper.judged.length = 0;
  secure.received.length = 0;
  plain.received.length = 0;
});

const inTunnel = (servername = "api.test") =>
  tunnel(through.port, `api.test:${secure.port}`, { ca, servername });
const rules = () => keeper.judged.map(({ violation }) => violation?.rule);
const nothingLeft = () => expect([...plain.received, ...secure.received]).toEqual([]);

describe("THREATS 22: one host, whoever names it", () => {
  it.each([
    ["a Host header of another host", "Host: evil.test", "gateway.host"],
    ["two Host headers", "Host: API\r\nHost: api.test", "gateway.host"],
    ["the same Host header twice", "Host: HERE\r\nHost: HERE", "gateway.host"],
    ["no Host header", "X-Nothing: 1", "gateway.host"],
    ["another port in the Host header", "Host: api.test:1", "gateway.host"],
    ["a trailing dot", "Host: api.test.", "gateway.host"],
  ])("in a tunnel, %s is refused and nothing leaves", async (_what, header, rule) => {
    const head = header.replaceAll("HERE", `api.test:${secure.port}`);
    const answer = await said(await inTunnel(), `GET / HTTP/1.1\r\n${head}\r\nConnection: close\r\n\r\n`);
    expect(answer).toContain("403 Forbidden");
    expect(rules()).toEqual([rule]);
    nothingLeft();
  });

  it.each([
    ["another name", "evil.test"],
    ["none", ""],
  ])("TLS that names %s than the CONNECT is refused, and says so inside (SNI)", async (_what, servername) => {
    const secured = await inTunnelUnverified(servername);
    const answer = await said(
      secured,
      `GET / HTTP/1.1\r\nHost: api.test:${secure.port}\r\nConnection: close\r\n\r\n`,
    );
    expect(answer).toContain("gateway.sni");
    expect(rules()).toEqual(["gateway.sni"]);
    nothingLeft();
  });

  it.each([
    ["fronting by the Host header", "http://API/", "Host: evil.test", "gateway.host"],
    ["a user before the host", "http://api.test@evil.test/", "Host: evil.test", "gateway.target"],
    ["a trailing dot", "http://api.test./", "Host: api.test.", "gateway.target"],
    ["a decimal address", "http://2130706433/", "Host: 2130706433", "gateway.target"],
    ["an octal address", "http://0177.0.0.1/", "Host: 0177.0.0.1", "gateway.target"],
    ["a scheme that isn't the web's", "ftp://api.test/", "Host: api.test", "gateway.target"],
    ["a path alone", "/", "Host: api.test", "gateway.target"],
  ])("an absolute-form request with %s is refused", async (_what, url, header, rule) => {
    const answer = await through.raw(
      `GET ${url.replace("API", other)} HTTP/1.1\r\n${header}\r\nConnection: close\r\n\r\n`,
    );
    expect(answer).toContain("403 Forbidden");
    expect(rules()).toEqual([rule]);
    nothingLeft();
  });

  it("upper case is the same host, and is judged and sent in lower case", async () => {
    await through.raw(
      `GET http://API.test:${plain.port}/ HTTP/1.1\r\nHost: Api.Test:${plain.port}\r\nConnection: close\r\n\r\n`,
    );
    expect(keeper.judged[0]?.url).toBe(`http://${other}/`);
    expect(plain.received[0]?.headers.host).toBe(other);
  });

  it.each([
    "api.test",
    "api.test:0443",
    "api.test.:443",
    "user@api.test:443",
    "0x7f.1:443",
    "api.test:443/x",
    "*",
  ])("CONNECT %s is refused", async (target) => {
    const answer = await through.raw(`CONNECT ${target} HTTP/1.1\r\nHost: ${target}\r\n\r\n`);
    expect(answer).toMatch(/^HTTP\/1.1 40[03]/);
    expect(answer).not.toContain("200");
  });

  it("CONNECT to one host with the Host header of another is refused", async () => {
    const answer = await through.raw("CONNECT api.test:443 HTTP/1.1\r\nHost: evil.test:443\r\n\r\n");
    expect(answer).toContain("gateway.host");
  });
});

describe("THREATS 23: one path, and every request judged anew", () => {
  it.each(["/a/../b", "/a/%2e%2e/b", "/a//b", "/a%2fb", "/a%5cb", "/a#b", "/a%00b"])(
    "GET %s is refused",
    async (path) => {
      const answer = await said(
        await inTunnel(),
        `GET ${path} HTTP/1.1\r\nHost: api.test:${secure.port}\r\nConnection: close\r\n\r\n`,
      );
      expect(answer).toContain("403 Forbidden");
      expect(rules()).toEqual(["gateway.target"]);
      nothingLeft();
    },
  );

  it.each(["https://evil.test/", "http://api.test/", "*"])(
    "in a tunnel the target %s is refused",
    async (target) => {
      const head = `Host: api.test:${secure.port}\r\nConnection: close\r\n`;
      const answer = await said(await inTunnel(), `OPTIONS ${target} HTTP/1.1\r\n${head}\r\n`);
      expect(answer).toContain("inside a tunnel");
      expect(rules()).toEqual(["gateway.target"]);
      nothingLeft();
    },
  );

  it("a redirect is handed back, not followed", async () => {
    const answer = await through.raw(
      `GET http://${other}/moved HTTP/1.1\r\nHost: ${other}\r\nConnection: close\r\n\r\n`,
    );
    expect(answer).toContain("302 Found");
    expect(answer).toContain("http://denied.test/");
    expect(keeper.judged).toHaveLength(1);
  });

  it("of a tunnel that is kept open each request is judged, those sent ahead too", async () => {
    const one = (path: string, more = "") =>
      `GET ${path} HTTP/1.1\r\nHost: api.test:${secure.port}\r\n${more}\r\n`;
    const answer = await said(
      await inTunnel(),
      one("/1") + one("/../2") + one("/3", "Connection: close\r\n"),
    );
    expect(answer.match(/HTTP\/1.1 \d+/g)).toEqual(["HTTP/1.1 200", "HTTP/1.1 403", "HTTP/1.1 200"]);
    expect(keeper.judged.map(({ url }) => new URL(url).pathname)).toEqual(["/1", "/2", "/3"]);
    expect(secure.received.map(({ url }) => url)).toEqual(["/1", "/3"]);
  });
});

describe("THREATS 24: nothing but plain HTTP/1.1 requests", () => {
  it("a CONNECT that is followed by something other than TLS is refused, and the answer says what to do", async () => {
    const socket = connect(through.port, "127.0.0.1");
    const answer = await said(
      socket,
      `CONNECT ${other} HTTP/1.1\r\nHost: ${other}\r\n\r\nGET / HTTP/1.1\r\nHost: ${other}\r\n\r\n`,
    );
    expect(answer).toContain("gateway.tls");
    expect(answer).toContain("absolute URL");
    nothingLeft();
  });

  it.each(["websocket", "h2c", "TLS/1.0"])("an upgrade to %s is refused", async (protocol) => {
    const head = `Host: ${other}\r\nConnection: Upgrade, close\r\nUpgrade: ${protocol}\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n`;
    const answer = await through.raw(`GET http://${other}/ HTTP/1.1\r\n${head}\r\n`);
    expect(answer).toContain("gateway.upgrade");
    nothingLeft();
  });

  it("only HTTP/1.1 is offered inside a tunnel (ALPN)", async () => {
    expect((await inTunnel()).alpnProtocol).toBe("http/1.1");
  });

  it("a tunnel inside a tunnel is refused", async () => {
    const answer = await said(
      await inTunnel(),
      "CONNECT evil.test:443 HTTP/1.1\r\nHost: evil.test:443\r\n\r\n",
    );
    expect(answer).toContain("403 Forbidden");
    expect(rules()).toEqual(["gateway.target"]);
  });

  const CHUNKED = "Transfer-Encoding: chunked";
  it.each([
    ["a length and an encoding", `Content-Length: 3\r\n${CHUNKED}`, "0\r\n\r\n"],
    ["an encoding and a length", `${CHUNKED}\r\nContent-Length: 3`, "0\r\n\r\n"],
    ["two lengths", "Content-Length: 1\r\nContent-Length: 2", "xx"],
    ["the same length twice", "Content-Length: 1\r\nContent-Length: 1", "x"],
    ["a list of lengths", "Content-Length: 1, 1", "x"],
    ["a signed length", "Content-Length: +1", "x"],
    ["an encoding twice", `${CHUNKED}\r\n${CHUNKED}`, "0\r\n\r\n"],
    ["an encoding before chunked", "Transfer-Encoding: gzip, chunked", "0\r\n\r\n"],
    ["an unknown encoding", "Transfer-Encoding: xchunked", "0\r\n\r\n"],
    ["a folded line", "X-A: b\r\n c", ""],
    ["a folded encoding", "Transfer-Encoding:\r\n chunked", "0\r\n\r\n"],
    ["a bare LF", "X-A: b\nX-C: d", ""],
    ["a bare CR", "X-A: b\rX-C: d", ""],
    ["a NUL", "X-A: b\0c", ""],
    ["a space before the colon", "Content-Length : 1", "x"],
    ["a chunk whose size overflows", CHUNKED, "ffffffffffffffff1\r\nx\r\n0\r\n\r\n"],
    ["chunks that end in LF", CHUNKED, "1\nx\n0\n\n"],
    ["a chunk extension that ends in LF", CHUNKED, "1;a=b\nx\r\n0\r\n\r\n"],
  ])(
    "a request with %s is refused, and no part of it becomes another request",
    async (_what, header, body) => {
      const smuggled = `GET /smuggled HTTP/1.1\r\nHost: ${other}\r\nConnection: close\r\n\r\n`;
      const answer = await through.raw(
        `POST http://${other}/ HTTP/1.1\r\nHost: ${other}\r\n${header}\r\nConnection: close\r\n\r\n${body}${smuggled}`,
      );
      expect(answer).toMatch(/^HTTP\/1.1 (400|403)/);
      expect(answer.match(/^HTTP/gm)).toHaveLength(1);
      nothingLeft();
    },
  );

  it.each([
    ["HTTP/1.0", "GET http://api.test/ HTTP/1.0\r\nHost: api.test\r\n\r\n"],
    ["HTTP/0.9", "GET http://api.test/\r\n\r\n"],
    ["HTTP/2 at once", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"],
    ["no HTTP at all", "\x16\x03\x01\x02\x00\x01"],
    [
      "a CONNECT with a body",
      "CONNECT api.test:443 HTTP/1.1\r\nHost: api.test:443\r\nContent-Length: 3\r\n\r\nabc",
    ],
  ])("%s is refused", async (_what, text) => {
    expect(await through.raw(text)).toMatch(/^HTTP\/1.1 40[03]/);
    nothingLeft();
  });

  it("what is only between the sandbox and the gateway stays there", async () => {
    const own =
      "Proxy-Authorization: Basic eDp5\r\nConnection: close, X-Private\r\nX-Private: 1\r\nKeep-Alive: 1\r\nTE: trailers\r\nX-Kept: 1";
    await through.raw(`GET http://${other}/ HTTP/1.1\r\nHost: ${other}\r\n${own}\r\n\r\n`);
    expect(plain.received[0]?.headers).toEqual({ host: other, connection: "keep-alive", "x-kept": "1" });
  });
});

/** With a name that the certificate is not for, as one would who doesn't mind. */
async function inTunnelUnverified(servername: string) {
  const { connect: secureConnect } = await import("node:tls");
  const socket = connect(through.port, "127.0.0.1");
  const to = `api.test:${secure.port}`;
  socket.write(`CONNECT ${to} HTTP/1.1\r\nHost: ${to}\r\n\r\n`);
  await new Promise((resolve) => socket.once("data", resolve));
  const secured = secureConnect({ socket, servername, rejectUnauthorized: false });
  await new Promise((resolve) => secured.once("secureConnect", resolve));
  return secured;
}
