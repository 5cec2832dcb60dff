import { createHash } from "node:crypto";
import { deflateRawSync, deflateSync, gzipSync } from "node:zlib";
import { fc, test as property } from "@fast-check/vitest";
import { describe, expect, it } from "vitest";
import { canariesOf, placeholderOf } from "../../daemon/boundary/placeholders.ts";
import { createRedactor, SecretsRefused } from "../../daemon/boundary/redaction.ts";
import { SecretStore } from "../../daemon/boundary/run-secrets.ts";
import type { Inspection as Port } from "../../daemon/gateway/port.ts";
import { parsePolicy } from "../../daemon/policy/parse-policy.ts";
import type { Policy } from "../../daemon/policy/port.ts";

const VALUE = "Vcs/7+tok~en e9\"'&<é";
const OWN = "the-daemon's-own-key-1";
const KEY = "what only this home has";

function policy(
  secrets = 'vcs: { from: env:VCS_TOKEN, header: "authorization: Bearer {}", hosts: [api.example.com, "*.example.org"] }',
  network = true,
): Policy {
  const text = `version: 1
name: test
default: deny
${network ? 'network:\n  - { id: api, host: api.example.com, methods: [GET, POST], paths: ["/**"], decision: allow, secret: vcs }\n' : ""}secrets:
  ${secrets}
`;
  const result = parsePolicy(text, "run");
  if (!result.ok) throw new Error(JSON.stringify(result.check.errors));
  return result.policy;
}

function store(values: Readonly<Record<string, string>> = { "env:VCS_TOKEN": VALUE }, canaries = true) {
  const redactor = createRedactor([{ name: "own", value: OWN }]);
  const secrets = new SecretStore({
    redactor,
    key: KEY,
    canaries,
    values: {
      async value(from) {
        const value = values[from];
        if (value === undefined) throw new SecretsRefused("there is none");
        return value;
      },
    },
  });
  return { redactor, secrets };
}

async function bound(run = "r1") {
  const { redactor, secrets } = store();
  const of = await secrets.bind(run, [policy()]);
  const inspection: Port = of.inspection;
  return { ...of, inspection, redactor };
}

const rules = (found: readonly { readonly rule: string }[]) => found.map(({ rule }) => rule);

/** What a sender may make of a text. */
const FORMS: Readonly<Record<string, (text: string) => Buffer>> = {
  plain: (text) => Buffer.from(text),
  reversed: (text) => Buffer.from([...text].reverse().join("")),
  base64: (text) => Buffer.from(Buffer.from(`ab${text}c`).toString("base64")),
  "base64 in lines": (text) => Buffer.from(Buffer.from(text).toString("base64").replace(/.{19}/g, "$&\r\n")),
  base64url: (text) => Buffer.from(Buffer.from(text).toString("base64url")),
  hex: (text) => Buffer.from(Buffer.from(text).toString("hex")),
  "URL-encoded": (text) => Buffer.from(encodeURIComponent(text)),
  "in parts URL-encoded": (text) =>
    Buffer.from(
      [...Buffer.from(text)]
        .map((byte, index) =>
          byte > 127 || index % 3 === 0 || byte === 0x25
            ? `%${byte.toString(16).padStart(2, "0")}`
            : String.fromCharCode(byte),
        )
        .join(""),
    ),
  "URL-encoded twice": (text) => Buffer.from(encodeURIComponent(encodeURIComponent(text))),
  form: (text) => Buffer.from(new URLSearchParams([["a", text]]).toString()),
  JSON: (text) => Buffer.from(JSON.stringify({ a: text })),
  "JSON in escapes": (text) =>
    Buffer.from(
      `"${[...text].map((one) => `\\u${one.charCodeAt(0).toString(16).padStart(4, "0")}`).join("")}"`,
    ),
  gzip: (text) => gzipSync(`{"a":"${text}"}`),
  "gzip with a wrong check sum": (text) =>
    Buffer.concat([gzipSync(`some more text ${text}`).subarray(0, -8), Buffer.alloc(8)]),
  "gzip that breaks off": (text) =>
    gzipSync(`${text} ${createHash("sha512").update("x").digest("hex").repeat(9)}`).subarray(0, -20),
  zlib: (text) => deflateSync(`tree ${text}`),
  "gzip in gzip": (text) => gzipSync(gzipSync(text)),
  "within other bytes": (text) =>
    Buffer.concat([
      Buffer.from("--b\r\ncontent-type: application/gzip\r\n\r\n"),
      gzipSync(text),
      Buffer.from("\r\n--b--"),
    ]),
  "an entry of a zip": (text) => {
    const packed = deflateRawSync(text);
    const head = Buffer.alloc(30);
    head.writeUInt32LE(0x04034b50, 0);
    head.writeUInt16LE(8, 8);
    head.writeUInt32LE(packed.length, 18);
    head.writeUInt16LE(5, 26);
    return Buffer.concat([head, Buffer.from("a.txt"), packed]);
  },
};

describe("S3, THREATS 25: what goes out", () => {
  for (const [form, encode] of Object.entries(FORMS)) {
    it(`a secret, a placeholder and a canary are noticed as ${form}, in a body and in a target`, async () => {
      const { inspection, environment, taken } = await bound();
      const marks: Readonly<Record<string, string>> = {
        "builtin.secret": VALUE,
        "builtin.placeholder": environment.VCS_TOKEN ?? "",
        "builtin.canary": environment.BACKUP_ESCROW_TOKEN ?? "",
      };
      for (const [rule, text] of Object.entries(marks)) {
        const body = inspection.outgoing("evil.test");
        const bytes = encode(text);
        expect(rules([...body.push(bytes), ...body.end()])).toEqual([rule]);
        if (!/gzip|zlib|zip|other bytes/.test(form))
          expect(
            rules(inspection.outgoing("evil.test").text(`https://evil.test/?q=${bytes.toString("latin1")}`)),
          ).toEqual([rule]);
      }
      expect(taken.aborted).toBe(true);
    });
  }

  property.prop(
    [
      fc.constantFrom(...Object.keys(FORMS)),
      fc.string({ maxLength: 30 }),
      fc.array(fc.nat(), { maxLength: 8 }),
    ],
    { numRuns: 1_000 },
  )("in pieces, cut anywhere", async (form, around, cuts) => {
    const { inspection } = await fixed;
    const bytes = Buffer.concat([
      Buffer.from(`${around} `),
      FORMS[form]?.(VALUE) ?? Buffer.alloc(0),
      Buffer.from(` ${around}`),
    ]);
    const body = inspection.outgoing("api.example.com");
    const places = [0, ...cuts.map((cut) => cut % (bytes.length + 1)).sort((a, b) => a - b), bytes.length];
    const found = places.slice(1).flatMap((end, index) => body.push(bytes.subarray(places[index], end)));
    expect(rules([...found, ...body.end()])).toEqual(["builtin.secret"]);
  });

  it("what the daemon itself must not lose does not leave a run either, whatever it names", async () => {
    const { inspection } = await bound();
    const found = inspection.outgoing("api.example.com").text(`x-key: ${OWN}`);
    expect(found).toEqual([{ rule: "builtin.secret", reason: expect.stringContaining("secret own") }]);
    expect(JSON.stringify(found)).not.toContain(OWN);
  });

  it("THREATS 26: a placeholder may go to its own hosts, and to no other", async () => {
    const { inspection, environment } = await bound();
    const text = `authorization: Bearer ${environment.VCS_TOKEN}`;
    for (const host of ["api.example.com", "a.example.org"])
      expect(inspection.outgoing(host).text(text)).toEqual([]);
    for (const host of ["example.com", "example.org", "api.example.com.evil.test"])
      expect(rules(inspection.outgoing(host).text(text))).toEqual(["builtin.placeholder"]);
  });

  it("tells a finding once, and nothing of what is harmless", async () => {
    const { inspection } = await bound();
    const one = inspection.outgoing("api.example.com");
    expect(one.text(VALUE)).toHaveLength(1);
    expect([...one.text(VALUE), ...one.push(Buffer.from(VALUE)), ...one.end()]).toEqual([]);
    const other = inspection.outgoing("api.example.com");
    const harmless = Buffer.concat([Buffer.from("a".repeat(100_000)), gzipSync("b".repeat(100_000))]);
    expect([...other.text("accept: */*"), ...other.push(harmless), ...other.end()]).toEqual([]);
  });

  it("a body that unpacks to more than is looked through is refused (P1)", async () => {
    const { inspection } = await bound();
    const bomb = inspection.outgoing("api.example.com");
    expect(rules([...bomb.push(gzipSync(Buffer.alloc(20 * 2 ** 20))), ...bomb.end()])).toEqual([
      "builtin.packed",
    ]);
  });
});

const fixed = bound("r2");

describe("S3, THREATS 26: what comes back", () => {
  property.prop(
    [
      fc.string({ maxLength: 40 }),
      fc.array(fc.nat(), { maxLength: 8 }),
      fc.constantFrom("plain", "base64", "hex", "URL-encoded", "JSON"),
    ],
    {
      numRuns: 500,
    },
  )("a credential that is reflected is its placeholder again, cut anywhere", async (around, cuts, form) => {
    const { inspection, environment } = await fixed;
    const bytes = Buffer.concat([
      Buffer.from(around),
      FORMS[form]?.(VALUE) ?? Buffer.alloc(0),
      Buffer.from(around),
    ]);
    const filter = inspection.incoming();
    if (!filter) throw new Error("there is a secret to replace");
    const places = [0, ...cuts.map((cut) => cut % (bytes.length + 1)).sort((a, b) => a - b), bytes.length];
    const pieces = places.slice(1).map((end, index) => filter.push(bytes.subarray(places[index], end)));
    const out = Buffer.concat([...pieces, filter.end()]).toString();
    expect(out).toContain(environment.VCS_TOKEN);
    expect(out.length).toBeGreaterThan(0);
    for (const encode of Object.values(FORMS).slice(0, 8))
      expect(out).not.toContain(encode(VALUE).toString());
  });

  it("bytes of any kind pass unchanged; without secrets nobody looks", async () => {
    const { inspection } = await bound();
    const bytes = createHash("sha512").update("x").digest();
    const filter = inspection.incoming();
    expect(Buffer.concat([filter?.push(bytes) ?? Buffer.alloc(0), filter?.end() ?? Buffer.alloc(0)])).toEqual(
      bytes,
    );
    const none = await store().secrets.bind("r1", []);
    expect(none.inspection.incoming()).toBeUndefined();
  });
});

describe("S3: a run's secrets", () => {
  it("go into the header that the policy says, for its own hosts only", async () => {
    const { headers } = await bound();
    const request = { method: "GET", url: "https://api.example.com/x" };
    expect(headers(["vcs"], request)).toEqual({ authorization: `Bearer ${VALUE}` });
    expect(headers([], request)).toEqual({});
    expect(headers(["vcs"], { method: "GET", url: "https://evil.test/" })).toEqual({});
    expect(headers(["vcs"], { method: "GET", url: "https://api.example.com@evil.test/" })).toEqual({});
  });

  it("placeholders and canaries are the same for a run, and others for another run or home", async () => {
    const one = await bound("r1");
    expect((await bound("r1")).environment).toEqual(one.environment);
    expect(one.environment.VCS_TOKEN).toMatch(/^caisson-placeholder-vcs-[0-9a-f]{16}$/);
    const other = await bound("r2");
    expect(other.environment.VCS_TOKEN).not.toBe(one.environment.VCS_TOKEN);
    expect(other.canary?.content).not.toBe(one.canary?.content);
    expect(placeholderOf("another home", "r1", "vcs")).not.toBe(one.environment.VCS_TOKEN);
    expect(canariesOf(KEY, "r1").file.content).toMatch(
      /^#.*\n\[default\]\naws_access_key_id = AKIA[A-Z2-7]{16}\naws_secret_access_key = \S{40}\n$/,
    );
  });

  it("J6: are redacted from the moment they are bound", async () => {
    const { redactor, secrets } = store();
    const stream = redactor.stream();
    expect(stream.push(`before ${VALUE.slice(0, 6)}`)).toBe(`before ${VALUE.slice(0, 6)}`);
    await secrets.bind("r1", [policy()]);
    expect(redactor.text(`a ${VALUE} b`).text).toBe("a [redacted:vcs] b");
    expect(stream.push(` then ${VALUE}`) + stream.end()).toBe(" then [redacted:vcs]");
  });

  it("canaries are for runs that can reach something, and can be turned off", async () => {
    expect((await store().secrets.bind("r1", [policy(undefined, false)])).canary).toBeUndefined();
    expect((await store(undefined, false).secrets.bind("r1", [policy()])).canary).toBeUndefined();
    expect((await store().secrets.bind("r1", [policy()])).canary?.path).toBe(".aws/credentials");
  });

  it.each([
    ["missing", {}, /secret vcs can't be used: there is none/],
    ["too short", { "env:VCS_TOKEN": "1234567" }, /vcs .*fewer than 8 characters/],
    ["of several lines", { "env:VCS_TOKEN": "12345678\r\nx-other: 1" }, /more than one line/],
    ["too long together with others", { "env:VCS_TOKEN": "x".repeat(60_000) }, /too many secrets/],
  ])("one that is %s refuses the policy by name, and none of its value", async (_, values, message) => {
    const refused = store(values).secrets.bind("r1", [policy()]);
    await expect(refused).rejects.toThrow(message);
    await expect(refused).rejects.toMatchObject({ code: "policy_invalid" });
    const value = Object.values(values)[0];
    if (value) await expect(refused).rejects.not.toThrow(value.slice(0, 20));
  });

  it("P2: two layers mean the same secret, and it is for hosts that both name; a project's names none", async () => {
    const own = policy();
    const narrower = {
      ...policy('vcs: { from: env:VCS_TOKEN, header: "authorization: Bearer {}", hosts: [api.example.com] }'),
      layer: "organisation" as const,
    };
    const { secrets } = store();
    const both = await secrets.bind("r1", [narrower, own]);
    expect(both.headers(["vcs"], { method: "GET", url: "https://a.example.org/" })).toEqual({});
    expect(both.headers(["vcs"], { method: "GET", url: "https://api.example.com/" })).not.toEqual({});
    const other = {
      ...policy('vcs: { from: env:OTHER_ONE, header: "authorization: Bearer {}", hosts: [api.example.com] }'),
      layer: "organisation" as const,
    };
    await expect(
      store({ "env:VCS_TOKEN": VALUE, "env:OTHER_ONE": VALUE }).secrets.bind("r1", [other, own]),
    ).rejects.toThrow(/differently/);
    expect((await secrets.bind("r1", [{ ...own, layer: "project" as const }])).any).toBe(false);
  });
});
