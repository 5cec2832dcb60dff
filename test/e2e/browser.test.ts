import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer, type IncomingMessage, request, type Server, type ServerResponse } from "node:http";
import { type AddressInfo, connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { DaemonUnderTest } from "./daemon-under-test.ts";

const BROWSER = ["chromium", "chromium-browser", "google-chrome"].find(
  (name) => spawnSync(name, ["--version"], { timeout: 20_000 }).status === 0,
);
const REPORT_MS = 40_000;
/** How long the page waits for one attempt. */
const ATTEMPT_MS = 5_000;
const REBOUND = "rebound.test";

/** What each attempt came to, as the page sees it: `"no answer"`, or what it could read. */
type Report = Readonly<Record<string, string>>;

/** The page of an attacker who even has the token: all that a script of another origin can try. */
const page = (
  daemon: string,
  token: string,
  own: string,
) => `<!doctype html><title>Page</title><body><script type="module">
const daemon = ${JSON.stringify(daemon)};
const authorization = "Bearer ${token}";
const task = JSON.stringify({ task: "From a page." });
const soon = (work) => Promise.race([work, new Promise((done) => setTimeout(done, ${ATTEMPT_MS}, "no answer"))]);
const read = (...args) => soon(fetch(...args).then(
  async (answer) => answer.type + " " + answer.status + " " + (await answer.text()).slice(0, 200),
  () => "no answer"));
const socket = (...args) => soon(new Promise((done) => {
  const one = new WebSocket(...args);
  one.onmessage = ({ data }) => done("told " + data);
  one.onclose = one.onerror = () => done("no answer");
}));
const loaded = (tag, url) => soon(new Promise((done) => {
  const one = Object.assign(document.createElement(tag), { onload: () => done("loaded"), onerror: () => done("no answer") });
  document.body.append(one);
  one.src = url;
}));
const posted = () => soon(new Promise((done) => {
  document.body.insertAdjacentHTML("beforeend", '<iframe name="into"></iframe><form method="post" target="into" enctype="text/plain"></form>');
  const form = document.querySelector("form");
  form.action = daemon + "/v1/runs";
  form.innerHTML = '<input name=\\'{"task":"From a page.","a":"\\' value=\\'"}\\'>';
  document.querySelector("iframe").onload = () => done("sent");
  form.submit();
}));
const stream = daemon.replace("http", "ws") + "/v1/stream";
await fetch("/report", { method: "POST", body: JSON.stringify({
  "own server": await read("${own}/open"),
  "read": await read(daemon + "/v1/runs"),
  "read with the token": await read(daemon + "/v1/runs", { headers: { authorization } }),
  "post": await read(daemon + "/v1/runs", { method: "POST", body: task, headers: { authorization, "content-type": "application/json" } }),
  "post without asking": await read(daemon + "/v1/runs", { method: "POST", mode: "no-cors", body: task }),
  "form": await posted(),
  "socket": await socket(stream, ["caisson.v1", "bearer.${token}"]),
  "script": await loaded("script", daemon + "/v1/openapi.json"),
  "same origin": await read("/v1/runs", { headers: { authorization } }),
  "same origin post": await read("/v1/runs", { method: "POST", body: task, headers: { authorization, "content-type": "application/json" } }),
  "same origin socket": await socket("ws://" + location.host + "/v1/stream", ["caisson.v1", "bearer.${token}"]),
}) });
</script>`;

/** Serves the page and, as a name that resolves elsewhere the second time, hands all else on to the daemon. */
class Attacker {
  readonly #server: Server;
  readonly reported: Promise<Report>;

  private constructor(daemon: string, token: string) {
    const [hostname, port] = daemon.split(":");
    const toDaemon = { hostname, port: Number(port) };
    let report: (text: Report) => void;
    this.reported = new Promise((resolve) => {
      report = resolve;
    });
    const answer = (asked: IncomingMessage, response: ServerResponse) => {
      const { pathname } = new URL(asked.url ?? "/", "http://x");
      if (pathname === "/")
        return response
          .setHeader("content-type", "text/html")
          .end(page(`http://${daemon}`, token, `http://127.0.0.1:${this.port}`));
      if (pathname === "/open") return response.setHeader("access-control-allow-origin", "*").end("open");
      if (pathname !== "/report") {
        const { method, headers } = asked;
        const on = request({ ...toDaemon, path: pathname, method, headers }, (answered) => {
          response.writeHead(answered.statusCode ?? 500, answered.headers);
          answered.pipe(response);
        });
        on.on("error", () => response.destroy());
        return asked.pipe(on);
      }
      let text = "";
      asked.on("data", (part) => {
        text += part;
      });
      return asked.on("end", () => {
        response.end();
        report(JSON.parse(text) as Report);
      });
    };
    this.#server = createServer(answer);
    this.#server.on("connect", (_asked, socket) => {
      socket.write("HTTP/1.1 200 OK\r\n\r\n");
      const on = connect(toDaemon.port, hostname);
      on.on("error", () => socket.destroy());
      socket.on("error", () => on.destroy());
      socket.pipe(on).pipe(socket);
    });
  }

  static async start(daemon: string, token: string): Promise<Attacker> {
    const attacker = new Attacker(daemon, token);
    attacker.#server.listen(0, "127.0.0.1");
    await once(attacker.#server, "listening");
    return attacker;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  close(): void {
    this.#server.close();
    this.#server.closeAllConnections();
  }
}

describe.skipIf(BROWSER === undefined)("a page in a real browser (THREATS 33; needs Chromium)", () => {
  let daemon: DaemonUnderTest;
  let attacker: Attacker;
  let profile: string;
  let browser: ChildProcess | undefined;
  let report: Report;

  beforeAll(async () => {
    daemon = await DaemonUnderTest.start();
    attacker = await Attacker.start(daemon.address, await daemon.token());
    profile = await mkdtemp(join(tmpdir(), "caisson-browser-"));
    // The name has the daemon's own port, as a rebound one has.
    const url = `http://${REBOUND}:${daemon.address.split(":").at(-1)}/`;
    const words = [
      "--headless=new",
      "--no-sandbox",
      "--disable-gpu",
      "--no-first-run",
      "--disable-background-networking",
      // Newer browsers ask before a page reaches loopback at all; here the daemon is to hold by itself.
      "--disable-features=LocalNetworkAccessChecks,BlockInsecurePrivateNetworkRequests",
      `--user-data-dir=${profile}`,
      `--proxy-server=http://127.0.0.1:${attacker.port}`,
      url,
    ];
    browser = spawn(BROWSER ?? "", words, { stdio: "ignore", detached: true });
    report = await Promise.race([
      attacker.reported,
      new Promise<never>((_, reject) => {
        setTimeout(reject, REPORT_MS, new Error("the page did not report")).unref();
      }),
    ]);
  });
  afterAll(async () => {
    if (browser?.pid) {
      const gone = once(browser, "exit");
      process.kill(-browser.pid, "SIGKILL");
      await gone;
    }
    attacker?.close();
    await daemon?.cleanUp();
    await rm(profile, { recursive: true, force: true, maxRetries: 10 });
  });

  test("of another origin: it reads nothing, not even with the token, and no task comes of what it sends (H1)", async () => {
    expect(report).toMatchObject({
      // That of a loopback port that lets anybody in is read: nothing but the daemon keeps the rest.
      "own server": "cors 200 open",
      read: "no answer",
      "read with the token": "no answer",
      post: "no answer",
      "post without asking": "no answer",
      socket: "no answer",
      script: "no answer",
    });
    expect((await (await daemon.client()).runs()).items).toEqual([]);
  });

  test("under a name that points at the daemon by now: refused by its Host (H1)", () => {
    const refused = expect.stringMatching(/^basic 403 .*forbidden_host/);
    expect(report).toMatchObject({
      "same origin": refused,
      "same origin post": refused,
      "same origin socket": "no answer",
    });
  });
});
