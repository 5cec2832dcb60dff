import { request as httpRequest, type IncomingMessage } from "node:http";
import { connect } from "node:net";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { WebSocket } from "ws";
import { createAccess } from "../../daemon/http/access.ts";
import { RawHttp } from "../servers/raw-http.ts";
import { startDaemon, type TestDaemon, TOKEN } from "./daemon.ts";
import { messages, RUN } from "./doubles.ts";

let daemon: TestDaemon;
beforeAll(async () => {
  daemon = await startDaemon();
  daemon.journal.append(RUN, messages(3));
});
afterAll(() => daemon.stop());

const authorization = `Bearer ${TOKEN}`;

/** fetch won't send a Host or Origin of our choice. */
function raw(path: string, headers: Record<string, string>, method = "GET"): Promise<[number, string]> {
  return new Promise((resolve, reject) => {
    const request = httpRequest(
      { host: "127.0.0.1", port: daemon.port, path, headers, method, agent: false, timeout: 5_000 },
      (response: IncomingMessage) => {
        let text = "";
        response.on("data", (chunk) => {
          text += chunk;
        });
        response.on("end", () =>
          resolve([response.statusCode ?? 0, (JSON.parse(text) as { code: string }).code]),
        );
      },
    );
    request.on("error", reject).end();
  });
}

/** How an upgrade ends: refused with a status, or closed with a code after the hello or without. */
function upgrade(headers: Record<string, string>, protocols: string[] = []): Promise<number | string> {
  return new Promise((resolve) => {
    const socket = new WebSocket(`ws://127.0.0.1:${daemon.port}/v1/stream`, protocols, { headers });
    socket.on("unexpected-response", (_request, response) => {
      resolve(response.statusCode ?? 0);
      response.destroy();
    });
    socket.on("message", (data) => {
      resolve((JSON.parse(String(data)) as { type: string }).type);
      socket.close();
    });
    socket.on("close", (code) => resolve(code));
    socket.on("error", () => undefined);
  });
}

describe("H1: the token", () => {
  it.each([
    ["none", {}],
    ["a wrong one", { authorization: "Bearer wrong" }],
    ["an empty one", { authorization: "Bearer " }],
    ["another scheme", { authorization: `Basic ${TOKEN}` }],
    ["a prefix of it", { authorization: authorization.slice(0, -1) }],
  ])("%s is 401, and 4401 on the stream", async (_name, headers) => {
    expect(await raw("/v1/runs", headers)).toEqual([401, "unauthorised"]);
    expect(await upgrade(headers)).toBe(4401);
  });

  it("comes before the path: without it nobody learns what there is", async () => {
    expect(await raw("/v1/nothing", {})).toEqual([401, "unauthorised"]);
    expect(await raw("/v1/runs", {}, "PATCH")).toEqual([401, "unauthorised"]);
  });

  it("tells how to authenticate", async () => {
    const response = await daemon.call("GET", "/v1/runs", { headers: { authorization: "x" } });
    expect(response.headers.get("www-authenticate")).toBe('Bearer realm="caisson"');
  });

  it("an empty token is refused at start, and never fits", () => {
    expect(() => createAccess({ token: "", host: "127.0.0.1" })).toThrow();
    expect(createAccess({ token: "t", host: "127.0.0.1" }).authorised(undefined)).toBe(false);
  });

  it("goes as a subprotocol too; only caisson.v1 is echoed", async () => {
    expect(await upgrade({}, ["caisson.v1", `bearer.${TOKEN}`])).toBe("hello");
    expect(await upgrade({}, ["caisson.v1", "bearer.wrong"])).toBe(4401);
    const socket = new WebSocket(`ws://127.0.0.1:${daemon.port}/v1/stream`, [
      "caisson.v1",
      `bearer.${TOKEN}`,
    ]);
    await new Promise((resolve) => socket.once("open", resolve));
    expect(socket.protocol).toBe("caisson.v1");
    await new Promise((resolve) => socket.once("close", resolve).close());
  });
});

describe("H1: Host", () => {
  const foreign = [
    "evil.example",
    "evil.example:PORT",
    "127.0.0.1",
    "127.0.0.1:1",
    "localhost.:PORT",
    "0.0.0.0:PORT",
    "127.0.0.1:PORT@evil.example",
    "127.1:PORT",
    "[::]:PORT",
  ];
  it.each(foreign)("%j is foreign, with the right token too, over HTTP and WebSocket", async (host) => {
    const headers = { authorization, host: host.replace("PORT", String(daemon.port)) };
    expect(await raw("/v1/runs", headers)).toEqual([403, "forbidden_host"]);
    expect(await raw("/healthz", headers)).toEqual([403, "forbidden_host"]);
    expect(await upgrade(headers)).toBe(403);
  });

  it.each(["127.0.0.1:PORT", "localhost:PORT", "LOCALHOST:PORT", "[::1]:PORT"])(
    "%s is ours",
    async (host) => {
      const headers = { authorization, host: host.replace("PORT", String(daemon.port)) };
      expect((await raw("/v1/runs", headers))[0]).toBe(200);
      expect(await upgrade(headers)).toBe("hello");
    },
  );

  it("two Host headers, or none, are refused", async () => {
    const answer = (lines: string[]) =>
      new Promise<string>((resolve) => {
        const socket = connect(daemon.port, "127.0.0.1");
        let text = "";
        socket.on("data", (chunk) => {
          text += chunk;
        });
        socket.on("close", () => resolve(text));
        socket.write(`${["GET /healthz HTTP/1.1", "connection: close", ...lines].join("\r\n")}\r\n\r\n`);
      });
    const own = `host: 127.0.0.1:${daemon.port}`;
    expect(await answer([own])).toContain("HTTP/1.1 200");
    expect(await answer([own, "host: evil.example"])).toMatch(/^HTTP\/1\.1 40[03]/);
    expect(await answer(["host:"])).toContain("forbidden_host");
    expect(await answer([])).toMatch(/^HTTP\/1\.1 40[03]/);
  });
});

describe("H1: Origin", () => {
  const foreign = [
    "https://evil.example",
    "null",
    "http://localhost:1",
    "https://127.0.0.1:PORT",
    "http://evil.example:PORT",
    "http://127.0.0.1:PORT.evil.example",
    "file://",
    "",
  ];
  it.each(foreign)("%j is foreign, with the right token too, over HTTP and WebSocket", async (origin) => {
    const headers = { authorization, origin: origin.replace("PORT", String(daemon.port)) };
    expect(await raw("/v1/runs", headers)).toEqual([403, "forbidden_origin"]);
    expect(await raw("/v1/runs", headers, "OPTIONS")).toEqual([403, "forbidden_origin"]);
    expect(await upgrade(headers)).toBe(403);
  });

  it("our own page may", async () => {
    for (const host of ["127.0.0.1", "localhost"]) {
      const headers = { authorization, origin: `http://${host}:${daemon.port}` };
      expect((await raw("/v1/runs", headers))[0]).toBe(200);
      expect(await upgrade(headers)).toBe("hello");
    }
  });
});

describe("H1: what a page elsewhere can send without an Origin, or before asking", () => {
  it.each(["cross-site", "same-site", "", "nonsense"])("Sec-Fetch-Site: %j is foreign", async (site) => {
    const headers = { authorization, "sec-fetch-site": site };
    expect(await raw("/v1/runs", headers)).toEqual([403, "forbidden_origin"]);
    expect(await raw("/healthz", headers)).toEqual([403, "forbidden_origin"]);
    expect(await upgrade(headers)).toBe(403);
  });

  it.each(["same-origin", "none"])(
    "Sec-Fetch-Site: %j is our own page, or a person at the address bar",
    async (site) => {
      expect((await raw("/v1/runs", { authorization, "sec-fetch-site": site }))[0]).toBe(200);
    },
  );

  it("a preflight is refused like the request it asks for, and gets no permission", async () => {
    const response = await daemon.call("OPTIONS", "/v1/runs", {
      headers: {
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization",
        "sec-fetch-mode": "cors",
      },
    });
    expect(response.status).toBe(405);
    expect([...response.headers.keys()].filter((name) => name.startsWith("access-control"))).toEqual([]);
  });

  it("a target in absolute form names its own host, which must be ours too", async () => {
    const asked = async (target: string) => {
      const connection = await RawHttp.open(`127.0.0.1:${daemon.port}`);
      connection.socket.write(
        `GET ${target} HTTP/1.1\r\nhost: 127.0.0.1:${daemon.port}\r\nauthorization: ${authorization}\r\n\r\n`,
      );
      const answer = await connection.answer();
      connection.socket.destroy();
      return answer?.status;
    };
    expect(await asked("http://evil.example/v1/runs")).toBe(403);
    expect(await asked(`http://127.0.0.1:${daemon.port}/v1/runs`)).toBe(200);
  });

  it("the token counts in its header only: in a query it opens nothing, beside the header it is refused", async () => {
    for (const name of ["token", "access_token", "authorization"]) {
      expect((await raw(`/v1/runs?${name}=${TOKEN}`, {}))[0]).toBe(401);
      expect((await raw(`/v1/runs?${name}=${TOKEN}`, { authorization }))[0]).toBe(400);
    }
    expect((await raw("/v1/runs", { cookie: `token=${TOKEN}` }))[0]).toBe(401);
  });
});
