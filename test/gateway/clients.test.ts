/** Programs as they are used in sandboxes, through the gateway to a real server. */
import { execFile } from "node:child_process";
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
  secure = await trust.hostOf("api.test", (request, response) => response.end(`hello from ${request.url}\n`));
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

const client = async (program: string, ...args: string[]) => {
  try {
    return (await run(program, args, { env, cwd: folder, timeout: 30_000 })).stdout;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return "not installed";
    throw error;
  }
};

it("curl fetches over HTTPS and plain HTTP, and sends a body", async () => {
  expect(await client("curl", "-sS", `https://api.test:${secure.port}/a?b=c`)).toBe("hello from /a?b=c\n");
  expect(await client("curl", "-sS", `http://api.test:${plain.port}/a`)).toBe("plain /a\n");
  await client("curl", "-sS", "-d", "x=1", `https://api.test:${secure.port}/post`);
  expect(secure.received.at(-1)).toMatchObject({ method: "POST", body: "x=1" });
});

it("curl shows a denial: what, which rule, why, what to do", async () => {
  const shown = await client("curl", "-sS", "-i", `https://api.test:${secure.port}/denied`);
  expect(shown).toContain("403 Forbidden");
  for (const part of ["GET https://api.test", "no-denied", "that path is closed", "network"])
    expect(shown).toContain(part);
});
