import { Buffer } from "node:buffer";
import { fc, test as property } from "@fast-check/vitest";
import { describe, expect, it } from "vitest";
import { createRedactor, type Redactor } from "../../daemon/boundary/redaction.ts";

const KEY = "sk-Live_7/+Q~e9\"'&<é z0";

/** What tools make of a secret; `before` and `after` are what stands around it in the encoded text. */
const ENCODINGS: Readonly<Record<string, (secret: string, before: string, after: string) => string>> = {
  raw: (secret, before, after) => before + secret + after,
  reversed: (secret, before, after) => before + [...secret].reverse().join("") + after,
  base64: (secret, before, after) => Buffer.from(before + secret + after).toString("base64"),
  base64url: (secret, before, after) => Buffer.from(before + secret + after).toString("base64url"),
  "base64 in lines": (secret, before, after) =>
    Buffer.from(before + secret + after)
      .toString("base64")
      .replace(/.{7}/g, "$&\r\n"),
  hex: (secret, before, after) => before + Buffer.from(secret).toString("hex") + after,
  HEX: (secret, before, after) => before + Buffer.from(secret).toString("hex").toUpperCase() + after,
  "URL component": (secret, before, after) => before + encodeURIComponent(secret) + after,
  URL: (secret, before, after) => before + encodeURI(secret) + after,
  form: (secret, before, after) => before + new URLSearchParams([["", secret]]).toString().slice(1) + after,
  JSON: (secret, before, after) => JSON.stringify({ before, secret, after }),
  "JSON in JSON": (secret, before, after) => JSON.stringify(JSON.stringify([before, secret, after])),
};

/** The secret's core can't be had from what is left, whichever encoding is undone. */
function expectGone(text: string, whole: string, secret: string): void {
  expect(text).not.toBe(whole);
  expect(text).toContain("[redacted:key");
  for (const encode of Object.values(ENCODINGS)) {
    const core = encode(secret, "", "").slice(4, -4);
    expect(text.replaceAll(/\r\n/g, "")).not.toContain(core);
  }
}

function inParts(redactor: Redactor, text: string, cuts: readonly number[]): string {
  const stream = redactor.stream();
  const places = [
    0,
    ...cuts.map((cut) => cut % (text.length + 1)).sort((one, two) => one - two),
    text.length,
  ];
  const pieces = places.slice(1).map((end, index) => stream.push(text.slice(places[index], end)));
  return pieces.join("") + stream.end();
}

const around = fc.string({ maxLength: 30 });
const secrets = fc
  .string({ minLength: 12, maxLength: 60, unit: "grapheme" })
  .filter((value) => value.trim() === value);

describe("J6: redaction", () => {
  it.each(Object.keys(ENCODINGS))("finds a secret as %s", (name) => {
    const redactor = createRedactor([{ name: "key", value: KEY }]);
    for (const before of ["", "x", "xy", "xyz "]) {
      const whole = ENCODINGS[name]?.(KEY, before, "!") ?? "";
      const { text, found } = redactor.text(whole);
      expectGone(text, whole, KEY);
      expect(found).toEqual([{ kind: "secret:key", count: 1 }]);
    }
  });

  property.prop([
    secrets,
    around,
    around,
    fc.constantFrom(...Object.keys(ENCODINGS)),
    fc.array(fc.nat(), { maxLength: 6 }),
  ])(
    "no secret survives, in any encoding, cut anywhere; cut or not gives the same text",
    (secret, before, after, name, cuts) => {
      const redactor = createRedactor([{ name: "key", value: secret }]);
      const whole = ENCODINGS[name]?.(secret, before, after) ?? "";
      const { text } = redactor.text(whole);
      expect(text).toContain("[redacted:key]");
      expect(inParts(redactor, whole, cuts)).toBe(text);
      expect(redactor.text(text).found).toEqual([]);
    },
  );

  property.prop([secrets, fc.uint8Array({ maxLength: 40 }), fc.uint8Array({ maxLength: 40 }), fc.nat()])(
    "bytes of any kind: the secret is cut out, all else stays",
    (secret, before, after, cut) => {
      const redactor = createRedactor([{ name: "key", value: secret }]);
      const whole = Buffer.concat([before, Buffer.from(secret), after]);
      const stream = redactor.byteStream();
      const place = cut % (whole.length + 1);
      const parts = [stream.push(whole.subarray(0, place)), stream.push(whole.subarray(place)), stream.end()];
      const out = Buffer.concat(parts);
      expect(out.includes(secret)).toBe(false);
      expect(out.includes("[redacted:key]")).toBe(true);
    },
  );

  property.prop([fc.array(fc.string({ maxLength: 50 }), { maxLength: 8 })])(
    "text without secrets passes unchanged",
    (texts) => {
      const redactor = createRedactor([{ name: "key", value: KEY }]);
      const stream = redactor.stream();
      expect(texts.map((text) => stream.push(text)).join("") + stream.end()).toBe(texts.join(""));
    },
  );

  it("holds back no more than what may be a secret's beginning", () => {
    const stream = createRedactor([{ name: "key", value: "secret-value-1" }]).stream();
    expect(stream.push("password: ")).toBe("password: ");
    expect(stream.push("secret-va")).toBe("");
    expect(stream.push("se")).toBe("secret-va");
    expect(stream.push("cret-value-1\n")).toBe("[redacted:key]\n");
    expect(stream.end()).toBe("");
    expect(stream.found()).toEqual([{ kind: "secret:key", count: 1 }]);
  });

  it("secrets that hold, begin or overlap each other leave nothing of either", () => {
    const redactor = createRedactor([
      { name: "long", value: "abcdefgh-ijklmnop" },
      { name: "short", value: "abcdefgh" },
      { name: "tail", value: "ijklmnop-qrst" },
    ]);
    expect(redactor.text("<abcdefgh-ijklmnop>").text).toBe("<[redacted:long]>");
    expect(redactor.text("<abcdefgh-ijkl>").text).toBe("<[redacted:short]-ijkl>");
    expect(redactor.text("<abcdefgh-ijklmnop-qrst>").text).toMatch(/^<\[redacted:\w+\]>$/);
    const stream = redactor.stream();
    const parts = [..."<abcdefgh-ijklmnop-qrst>"].map((character) => stream.push(character));
    expect(parts.join("") + stream.end()).toMatch(/^<\[redacted:\w+\]>$/);
  });

  it("a secret within the beginning of a longer one is found", () => {
    const redactor = createRedactor([
      { name: "long", value: "abc-12345678-xyz" },
      { name: "short", value: "12345678" },
    ]);
    expect(redactor.text("abc-12345678-no").text).toBe("abc-[redacted:short]-no");
  });

  it("a secret of several lines: each long line, and the whole without the line break at its end", () => {
    const pem =
      "-----BEGIN KEY-----\nMIIEvQIBADANBgkqhkiG9w0B\nAQEFAASCBKcwggSjAgEAAoIB\n-----END KEY-----\n";
    const redactor = createRedactor([{ name: "pem", value: pem }]);
    expect(redactor.text(pem.trim()).text).toBe("[redacted:pem]");
    expect(redactor.text("1: MIIEvQIBADANBgkqhkiG9w0B").text).toBe("1: [redacted:pem]");
  });

  it("refuses short secrets with a warning and redacts the others", () => {
    const redactor = createRedactor([
      { name: "pin", value: "1234567" },
      { name: "key", value: "12345678" },
    ]);
    expect(redactor.refused).toEqual([
      { name: "pin", reason: expect.stringContaining("fewer than 8 characters") },
    ]);
    expect(redactor.text("1234567 12345678").text).toBe("1234567 [redacted:key]");
  });

  it("goes through JSON values, keys too, and leaves their shape", () => {
    const redactor = createRedactor([{ name: "key", value: "hunter2-hunter2" }]);
    const value = JSON.parse('{"a":["hunter2-hunter2",1,null,{"hunter2-hunter2":true}],"__proto__":"x"}');
    const { value: redacted, found } = redactor.value(value);
    expect(JSON.stringify(redacted)).toBe(
      '{"a":["[redacted:key]",1,null,{"[redacted:key]":true}],"__proto__":"x"}',
    );
    expect(found).toEqual([{ kind: "secret:key", count: 2 }]);
    let deep: unknown = "hunter2-hunter2";
    for (let level = 0; level < 5_000; level += 1) deep = [deep];
    expect(JSON.stringify(redactor.value(deep).value)).not.toContain("hunter2");
  });

  it("without secrets gives back what it got", () => {
    expect(createRedactor([]).text("anything")).toEqual({ text: "anything", found: [] });
    const stream = createRedactor([]).stream();
    expect(stream.push("anything") + stream.end()).toBe("anything");
  });
});
