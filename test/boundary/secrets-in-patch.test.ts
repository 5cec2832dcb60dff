import { createHash, randomBytes } from "node:crypto";
import { fc, test as property } from "@fast-check/vitest";
import { describe, expect, it } from "vitest";
import type { Change } from "../../daemon/boundary/change.ts";
import { DETECTORS } from "../../daemon/boundary/detectors.ts";
import type { WorkspacePatch } from "../../daemon/boundary/export.ts";
import { writePatch } from "../../daemon/boundary/patch.ts";
import { createRedactor } from "../../daemon/boundary/redaction.ts";
import { withoutSecrets } from "../../daemon/boundary/secrets-in-patch.ts";

const KEY = "sk-Live_7/+Q~e9\"'&<é z0";
const redactor = createRedactor([{ name: "key", value: KEY }], DETECTORS);
const FOUND = ["ghp", createHash("sha256").update("x").digest("hex").slice(0, 36)].join("_");

const file = (text: string | Buffer) =>
  ({ type: "file", executable: false, content: Buffer.from(text as string) }) as const;

function changed(changes: readonly Change[]): WorkspacePatch {
  const folders = { created: [], removed: [] };
  return {
    patch: writePatch(changes, folders),
    ignored: 0,
    omitted: [],
    changes,
    folders,
    beyond: 0,
    left: [],
  };
}

const other: Change = { path: "other.txt", before: file("a\n"), after: file("b\n") };
const lines = (last: string) =>
  `${Array.from({ length: 40 }, (_, line) => `line ${line}`).join("\n")}\n${last}\n`;

describe("J6, THREATS 30: secrets in a diff", () => {
  it.each([
    ["new in a file", "the secret key", { after: file(`x=${KEY}\n`) }],
    ["taken out of a file", "the secret key", { before: file(`x=${KEY}\n`), after: file("x=\n") }],
    ["beside what changed", "the secret key", { before: file(`${KEY}\na\n`), after: file(`${KEY}\nb\n`) }],
    [
      "in base64 over lines",
      "the secret key",
      { after: file(Buffer.from(KEY).toString("base64").replace(/.{9}/g, "$&\n")) },
    ],
    [
      "in a binary file",
      "the secret key",
      { before: file("a"), after: file(Buffer.concat([Buffer.from([0, 1]), Buffer.from(KEY)])) },
    ],
    ["in a binary file before", "the secret key", { before: file(`\0${KEY}`), after: file("\0") }],
    ["that nobody told us of", "a credential (github-token)", { after: file(`token: ${FOUND}\n`) }],
  ])("a file with one %s is left out whole, and named", (_, reason, states) => {
    const change: Change = { path: "secret.txt", ...states };
    const { patch, omitted } = withoutSecrets(changed([other, change]), redactor);
    expect(omitted).toEqual([{ path: "secret.txt", reason: `it holds ${reason}` }]);
    expect(patch).toBe(writePatch([other]));
    expect(redactor.text(patch).found).toEqual([]);
  });

  it("one that a file held before, far from what changed, does not keep the change back", () => {
    const change: Change = {
      path: "a.txt",
      before: file(`${KEY}\n${lines("a")}`),
      after: file(`${KEY}\n${lines("b")}`),
    };
    const whole = changed([other, change]);
    expect(withoutSecrets(whole, redactor)).toBe(whole);
  });

  property.prop(
    [
      fc.constantFrom("plain", "base64", "hex"),
      fc.array(fc.nat({ max: 60 }), { maxLength: 6 }),
      fc.boolean(),
    ],
    { numRuns: 300 },
  )("in whatever encoding, and however it is broken into lines", (form, breaks, binary) => {
    const encoded = form === "plain" ? KEY : Buffer.from(KEY).toString(form as "hex");
    const places = [...new Set(breaks.map((at) => at % encoded.length))].sort((a, b) => b - a);
    const text =
      form === "plain"
        ? encoded
        : places.reduce((all, at) => `${all.slice(0, at)}\n${all.slice(at)}`, encoded);
    const content = Buffer.concat([
      randomBytes(20),
      Buffer.from(binary ? [0] : "\n"),
      Buffer.from(text),
      randomBytes(20),
    ]);
    const { omitted } = withoutSecrets(changed([{ path: "a", after: file(content) }]), redactor);
    expect(omitted).toHaveLength(1);
  });
});
