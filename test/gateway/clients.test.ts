/** Programs as they are used in sandboxes, through the gateway to a real server. */
import { execFile, spawnSync } from "node:child_process";
import { createReadStream } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, it } from "vitest";
import { type Host, plainHost, proxy, upstreamTrust } from "./hosts.ts";
import { denial, type KeeperUnderTest, keeperUnderTest, LOOPBACK } from "./keeper.ts";

const run = promisify(execFile);
let keeper: KeeperUnderTest;
let through: Awaited<ReturnType<typeof proxy>>;
let secure: Host;
let plain: Host;
let folder: string;
let env: NodeJS.ProcessEnv;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "caisson-gateway-"));
  const trust = await upstreamTrust();
  secure = await trust.hostOf("api.test", (request, response) => {
    if (!request.url?.startsWith("/repository/")) return void response.end(`hello from ${request.url}\n`);
    const file = createReadStream(join(folder, "served", request.url.replace(/^\/repository|\?.*$/g, "")));
    file.on("error", () => response.writeHead(404).end());
    file.pipe(response);
  });
  plain = await plainHost((request, response) => response.end(`plain ${request.url}\n`));
  keeper = await keeperUnderTest({
    judge: ({ url }, request) =>
      url.includes("/denied")
        ? { allowed: false, request, status: 403, verdict: denial("no-denied", "that path is closed") }
        : { allowed: true, request, terms: LOOPBACK, headers: {} },
  });
  through = await proxy(keeper, { ca: trust.ca, lookup: async () => ["127.0.0.1"] });
  const ca = join(folder, "ca.pem");
  await writeFile(ca, keeper.authority.certificate);
  const url = `http://127.0.0.1:${through.port}`;
  env = {
    PATH: process.env.PATH,
    HOME: folder,
    http_proxy: url,
    https_proxy: url,
    CURL_CA_BUNDLE: ca,
    SSL_CERT_FILE: ca,
    GIT_SSL_CAINFO: ca,
    NODE_EXTRA_CA_CERTS: ca,
  };
});

afterAll(async () => {
  await through?.close();
  await secure?.close();
  await plain?.close();
  await rm(folder, { recursive: true, force: true });
});

const client = async (program: string, ...args: string[]) =>
  (await run(program, args, { env, cwd: folder, timeout: 30_000 })).stdout;
const without = (program: string) => spawnSync(program, ["--version"]).error !== undefined;

it.skipIf(without("curl"))("curl fetches over HTTPS and plain HTTP, and sends a body", async () => {
  expect(await client("curl", "-sS", `https://api.test:${secure.port}/a?b=c`)).toBe("hello from /a?b=c\n");
  expect(await client("curl", "-sS", `http://api.test:${plain.port}/a`)).toBe("plain /a\n");
  await client("curl", "-sS", "-d", "x=1", `https://api.test:${secure.port}/post`);
  expect(secure.received.at(-1)).toMatchObject({ method: "POST", body: "x=1" });
});

it.skipIf(without("curl"))("curl shows a denial: what, which rule, why, what to do", async () => {
  const shown = await client("curl", "-sS", "-i", `https://api.test:${secure.port}/denied`);
  expect(shown).toContain("403 Forbidden");
  for (const part of ["GET https://api.test", "no-denied", "that path is closed", "network"])
    expect(shown).toContain(part);
});

it.skipIf(without("python3"))("Python's own client goes through, over HTTPS and plain HTTP", async () => {
  const script = `import sys, urllib.request
for url in sys.argv[1:]: sys.stdout.write(urllib.request.urlopen(url, timeout=20).read().decode())`;
  const urls = [`https://api.test:${secure.port}/py`, `http://api.test:${plain.port}/py`];
  expect(await client("python3", "-c", script, ...urls)).toBe("hello from /py\nplain /py\n");
});

it.skipIf(without("wget"))("wget goes through, over HTTPS and plain HTTP", async () => {
  const urls = [`https://api.test:${secure.port}/w`, `http://api.test:${plain.port}/w`];
  const ca = join(folder, "ca.pem");
  const shown = await client("wget", "-q", "-O", "-", `--ca-certificate=${ca}`, ...urls);
  expect(shown).toBe("hello from /w\nplain /w\n");
});

it("Node's own TLS client accepts the tunnel", async () => {
  const script = `const [, proxy, host, port] = process.argv;
require("http").request({ port: proxy, method: "CONNECT", path: host + ":" + port, headers: { host: host + ":" + port } })
  .on("connect", (_answer, socket) => require("https").get({ socket, agent: false, servername: host, headers: { host: host + ":" + port }, path: "/node" },
    (answer) => answer.pipe(process.stdout).on("close", () => process.exit()))).end();`;
  const shown = await client("node", "-e", script, String(through.port), "api.test", String(secure.port));
  expect(shown).toBe("hello from /node\n");
});

it.skipIf(without("git"))("git clones over HTTPS, many objects too", async () => {
  const served = join(folder, "served");
  const git = (...args: string[]) => client("git", "-c", "user.name=a", "-c", "user.email=a@b.test", ...args);
  await git("init", "-q", served);
  await Promise.all(
    Array.from({ length: 30 }, (_, i) => writeFile(join(served, `f${i}`), `${i}\n`.repeat(5_000))),
  );
  await git("-C", served, "add", ".");
  await git("-C", served, "commit", "-q", "-m", "first");
  await git("-C", served, "update-server-info");
  await git("-C", served, "repack", "-qad");
  await git("-C", served, "update-server-info");
  await client(
    "git",
    "clone",
    "-q",
    `https://api.test:${secure.port}/repository/.git`,
    join(folder, "cloned"),
  );
  expect(await git("-C", join(folder, "cloned"), "log", "--format=%s")).toBe("first\n");
});

it.skipIf(without("curl"))(
  "a client that doesn't know the run's authority gets nothing, and neither does the host",
  async () => {
    const before = keeper.judged.length;
    const strange = { ...env, CURL_CA_BUNDLE: "/dev/null", SSL_CERT_FILE: "/dev/null" };
    const failed = run("curl", ["-sS", `https://api.test:${secure.port}/`], { env: strange });
    await expect(failed).rejects.toThrow("certificate");
    expect(keeper.judged.length).toBe(before);
  },
);

it("a host whose certificate nobody vouches for, or that is another's, gets nothing", async () => {
  const strangers = await upstreamTrust();
  const unknown = await strangers.hostOf("api.test", (_request, response) => response.end());
  const trust = await upstreamTrust();
  const misnamed = await trust.hostOf("other.test", (_request, response) => response.end());
  const checked = await proxy(keeper, { ca: trust.ca, lookup: async () => ["127.0.0.1"] });
  try {
    for (const { port } of [unknown, misnamed]) {
      const at = `api.test:${port}`;
      const answer = await checked.raw(
        `GET https://${at}/ HTTP/1.1\r\nHost: ${at}\r\nConnection: close\r\n\r\n`,
      );
      expect(answer).toMatch(/^HTTP\/1.1 502/);
    }
    expect([...unknown.received, ...misnamed.received]).toEqual([]);
  } finally {
    await checked.close();
    await unknown.close();
    await misnamed.close();
  }
});
