/**
 * Attacks on the way out, from code that runs in a real sandbox of a run that may use the network (THREATS 14, 16, 21 to
 * 27): no rule on commands holds it, so the container and the gateway alone must.
 */
import { once } from "node:events";
import { createServer, type Server } from "node:net";
import { networkInterfaces } from "node:os";
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
import { type Attack, attacksOn, SECRET, UPLOAD } from "./outgoing-attacks.ts";
import { ATTACKER, PAST_THE_PROXY } from "./outgoing-scripts.ts";

const OTHERS = "another-accounts-key";
const LIMIT = 65_536;
/** Small uploads that are tried: more than the run may send. */
const MANY = 90;
/** How refusals begin; of a tunnel, that it was opened to be told inside. */
const STATUS = /^HTTP\/1.1 (400|403|200 Connection established)/;

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
