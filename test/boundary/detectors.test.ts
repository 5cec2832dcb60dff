import { createHash, generateKeyPairSync } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
import { fc, test as property } from "@fast-check/vitest";
import { describe, expect, it } from "vitest";
import { DETECTORS } from "../../daemon/boundary/detectors.ts";
import { createRedactor } from "../../daemon/boundary/redaction.ts";

const redactor = createRedactor([], DETECTORS);

const ALPHABETS = {
  words: "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789",
  upper: "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567",
  lower: "abcdefghijklmnopqrstuvwxyz0123456789",
  hex: "0123456789abcdef",
};

/** Characters that look random and are the same every time; the first are a letter and a digit. */
function made(length: number, alphabet: keyof typeof ALPHABETS = "words", seed = ""): string {
  const letters = ALPHABETS[alphabet];
  let text = alphabet === "upper" ? "Q7" : alphabet === "hex" ? "b7" : "q7";
  for (let round = 0; text.length < length; round += 1)
    for (const byte of createHash("sha256").update(`${seed}${length}${alphabet}${round}`).digest())
      text += letters[byte % letters.length] ?? "";
  return text.slice(0, length);
}

const base64url = (value: unknown) => Buffer.from(JSON.stringify(value)).toString("base64url");
const TOKEN = `${base64url({ alg: "HS256", typ: "JWT" })}.${base64url({ sub: "1", name: "A" })}.${made(43)}`;
const PEM = generateKeyPairSync("rsa", { modulusLength: 2048 })
  .privateKey.export({ type: "pkcs8", format: "pem" })
  .toString();

/** One of each kind; `secret` is the part that must not stay. Put together here, so that no scanner finds one in this file. */
const SAMPLES: readonly (readonly [kind: string, before: string, secret: string, after?: string])[] = [
  ["aws-access-key", "AKIA", made(16, "upper")],
  ["aws-secret-key", 'aws_secret_access_key = "', made(40)],
  ["aws-session-token", "AWS_SESSION_TOKEN=", made(200)],
  ["gcp-api-key", "AIza", made(35)],
  ["gcp-oauth-token", "ya29.", made(120)],
  ["gcp-oauth-secret", "GOCSPX-", made(28)],
  ["azure-storage-key", "AccountKey=", `${made(86)}==`],
  ["azure-access-key", "SharedAccessKey=", `${made(43)}=`],
  ["digitalocean-token", "dop_v1_", made(64, "hex")],
  ["heroku-key", "HRKU-", made(60)],
  ["fly-token", "fo1_", made(43)],
  ["fly-macaroon", "fm2_", made(160)],
  ["netlify-token", "nfp_", made(40)],
  ["databricks-token", "dapi", made(32, "hex")],
  ["planetscale-token", "pscale_tkn_", made(43)],
  ["supabase-token", "sbp_", made(40, "hex")],
  ["github-token", "ghp_", made(36)],
  ["github-fine-grained-token", "github_pat_", `${made(22)}_${made(59)}`],
  ["gitlab-token", "glpat-", made(20)],
  ["gitlab-registration-token", "GR1348941", made(20)],
  ["bitbucket-password", "ATBB", made(32)],
  ["atlassian-token", "ATATT3", made(186)],
  ["sourcegraph-token", "sgp_", made(57, "hex")],
  ["buildkite-token", "bkua_", made(40, "hex")],
  ["circleci-token", "CCIPAT_", `${made(22)}_${made(40, "hex")}`],
  ["slack-token", "xoxb-", `1234567890123-1234567890124-${made(24)}`.replaceAll("1234567890", "7391648205")],
  ["slack-app-token", "xapp-1-", `A${made(10, "upper")}-7391648205123-${made(64, "hex")}`],
  [
    "slack-webhook",
    "https://hooks.slack.com/services/",
    `T${made(9, "upper")}/B${made(9, "upper")}/${made(24)}`,
  ],
  ["discord-webhook", "https://discord.com/api/webhooks/", `739164820512345678/${made(68)}`],
  ["telegram-token", "https://api.telegram.org/bot", `7391648205:AA${made(33)}`],
  [
    "teams-webhook",
    "https://x.webhook.office.com/webhookb2/",
    `${made(36)}@${made(36)}/IncomingWebhook/${made(32)}`,
  ],
  ["stripe-key", "sk_live_", made(24)],
  ["stripe-webhook-secret", "whsec_", made(32)],
  ["braintree-token", "access_token$production$", `${made(16, "lower")}$${made(32, "hex")}`],
  ["square-token", "sq0atp-", made(22)],
  ["square-access-token", "EAAAE", made(59)],
  ["shopify-token", "shpat_", made(32, "hex")],
  ["plaid-token", "access-production-", "7b1f3d5a-9c2e-4a6b-8d0f-1e3c5a7b9d2f"],
  ["flutterwave-key", "FLWSECK-", `${made(32, "hex")}-X`],
  ["shippo-token", "shippo_live_", made(40, "hex")],
  ["easypost-key", "EZAK", made(54)],
  ["npm-token", "npm_", made(36)],
  ["npmrc-auth", "//registry.internal/:_authToken=", made(36)],
  ["pypi-token", "pypi-AgE", made(150)],
  ["rubygems-key", "rubygems_", made(48, "hex")],
  ["crates-token", "cio", made(32)],
  ["nuget-key", "oy2", made(43, "lower")],
  ["docker-token", "dckr_pat_", made(27)],
  ["artifactory-key", "AKCp", made(69)],
  ["artifactory-reference", "cmVmdGtu", made(56)],
  ["clojars-token", "CLOJARS_", made(60, "lower")],
  ["anthropic-key", "sk-ant-", `api03-${made(93)}AA`],
  ["openai-key", "sk-proj-", made(120)],
  ["openai-legacy-key", "sk-", `${made(20)}T3BlbkFJ${made(20, "words", "x")}`],
  ["openrouter-key", "sk-or-v1-", made(64, "hex")],
  ["huggingface-token", "hf_", made(34)],
  ["groq-key", "gsk_", made(52)],
  ["replicate-token", "r8_", made(37)],
  ["perplexity-key", "pplx-", made(48)],
  ["xai-key", "xai-", made(80)],
  ["nvidia-key", "nvapi-", made(64)],
  ["langsmith-key", "lsv2_pt_", `${made(32, "hex")}_${made(10, "hex")}`],
  ["pinecone-key", "pcsk_", `${made(6)}_${made(62)}`],
  ["vault-token", "hvs.", made(95)],
  ["terraform-token", `${made(14)}.atlasv1.`, made(67)],
  ["doppler-token", "dp.pt.", made(43)],
  ["pulumi-token", "pul-", made(40, "hex")],
  ["grafana-token", "glsa_", `${made(32)}_${made(8, "hex")}`],
  ["new-relic-key", "NRAK-", made(27, "upper")],
  ["sentry-token", "sntryu_", made(64, "hex")],
  ["dynatrace-token", "dt0c01.", `${made(24, "upper")}.${made(64, "upper")}`],
  ["sendgrid-key", "SG.", `${made(22)}.${made(43)}`],
  ["mailgun-key", "key-", made(32, "hex")],
  ["twilio-key", "SK", made(32, "hex")],
  ["brevo-key", "xkeysib-", `${made(64, "hex")}-${made(16)}`],
  ["linear-key", "lin_api_", made(40)],
  ["notion-token", "ntn_", made(46)],
  ["figma-token", "figd_", made(40)],
  ["airtable-token", "pat", `${made(14)}.${made(64, "hex")}`],
  ["postman-key", "PMAK-", `${made(24, "hex")}-${made(34, "hex")}`],
  ["contentful-token", "CFPAT-", made(43)],
  ["tailscale-key", "tskey-auth-", `${made(12)}-${made(32)}`],
  ["onepassword-token", "ops_", `eyJ${made(300)}`],
  ["readme-key", "rdme_", made(70, "lower")],
  ["typeform-token", "tfp_", made(44)],
  ["prefect-key", "pnu_", made(36, "lower")],
  ["age-key", "AGE-SECRET-KEY-1", made(58, "upper")],
  ["json-web-token", "", TOKEN],
  ["url-password", "postgres://", `app:${made(14)}`, "@db.internal:5432/app"],
  ["bearer-token", "> Authorization: Bearer ", made(40)],
  ["basic-credential", "authorization: Basic ", Buffer.from(`me:${made(16)}`).toString("base64")],
  [
    "private-key",
    "-----BEGIN PRIVATE KEY-----\n",
    PEM.split("\n").slice(1, -2).join("\n"),
    "\n-----END PRIVATE KEY-----\n",
  ],
];

function inParts(text: string, cuts: readonly number[]): string {
  const stream = redactor.stream();
  const places = [
    0,
    ...cuts.map((cut) => cut % (text.length + 1)).sort((one, two) => one - two),
    text.length,
  ];
  return (
    places
      .slice(1)
      .map((end, index) => stream.push(text.slice(places[index], end)))
      .join("") + stream.end()
  );
}

describe("J6: credentials nobody told us of", () => {
  it.each(SAMPLES)("%s", (kind, before = "", secret = "", after = "") => {
    for (const [left, right] of [
      ["", ""],
      ["key: ", "\n"],
      ['{"a":"x\\n', '"}'],
      ["curl?t=%3D", "&b=1"],
    ] as const) {
      const { text, found } = redactor.text(left + before + secret + after + right);
      expect(found).toEqual([{ kind, count: 1 }]);
      expect(text).not.toContain(secret.slice(0, 12));
      expect(text.startsWith(left)).toBe(true);
      expect(text.endsWith(after + right)).toBe(true);
      expect(redactor.text(text)).toEqual({ text, found: [] });
    }
  });

  it("has a sample of every kind, each of them once, and no anchor ends in another one", () => {
    const kinds = DETECTORS.map(({ kind }) => kind);
    expect(new Set(kinds).size).toBe(kinds.length);
    expect(SAMPLES.map(([kind]) => kind).sort()).toEqual([...kinds].sort());
    expect(kinds.length).toBeGreaterThan(40);
    const anchors = DETECTORS.flatMap(({ anchors }) => anchors);
    for (const one of anchors)
      expect(anchors.filter((other) => other !== one && one.endsWith(other))).toEqual([]);
  });

  property.prop(
    [fc.constantFrom(...SAMPLES), fc.string({ maxLength: 40 }), fc.array(fc.nat(), { maxLength: 8 })],
    {
      numRuns: 1_000,
    },
  )("cut anywhere or not gives the same text", ([, before, secret = "", after = ""], around, cuts) => {
    const whole = `${around} ${before}${secret}${after} ${around}`;
    expect(inParts(whole, cuts)).toBe(redactor.text(whole).text);
    expect(inParts(whole, cuts)).not.toContain(secret.slice(0, 12));
  });

  it.each([
    ["a hash", createHash("sha256").update("x").digest("hex")],
    ["an id", "0192f0a1-7b1f-7d5a-9c2e-4a6b8d0f1e3c"],
    ["an integrity of a lock file", `sha512-${made(86)}==`],
    ["an example of AWS's own", "AKIAIOSFODNN7EXAMPLE"],
    ["a key in a text on keys", "sk_live_xxxxxxxxxxxxxxxxxxxxxxxx and ghp_your_token_here_please_replace_me"],
    ["our placeholder", "Authorization: Bearer caisson-placeholder-vcs-0123456789abcdef"],
    ["a URL without a password", "https://user@host.example/a:b and http://localhost:8080/x@1.2.3"],
    [
      "a password of an example",
      "postgres://postgres:postgres@localhost/db and https://user:password@example.org",
    ],
    [
      "a head of a key in prose",
      "A file that begins with `-----BEGIN PRIVATE KEY-----` is a key, and is not shown to anyone here at all.",
    ],
    ["a variable's name", "const AWS_SECRET_ACCESS_KEY = process.env.AWS_SECRET_ACCESS_KEY;"],
    [
      "words with such beginnings",
      "task-force sk-learn hf_hub key-value SKILL patience npm_config_registry xai-like",
    ],
    ["a long base64", made(20_000)],
    ["what only stands within a word", `x${"AKIA"}${made(16, "upper")} and ${made(30)}${"ghp_"}${made(36)}`],
  ])("leaves %s alone", (_, text) => {
    expect(redactor.text(text)).toEqual({ text, found: [] });
  });

  it("a key that was cut off, numbered, in a diff or in a JSON string is found all the same", () => {
    const lines = PEM.trim().split("\n");
    const shown = [
      lines.slice(0, 6).join("\n"),
      lines.map((line, index) => `${index + 1}\t${line}`).join("\n"),
      lines.map((line) => `+${line}`).join("\n"),
      lines.map((line) => `-${line}`).join("\n"),
      JSON.stringify(PEM),
    ];
    for (const text of shown) {
      const redacted = redactor.text(`before\n${text}\nafter`).text;
      for (const line of lines.slice(1, 6)) expect(redacted).not.toContain(line.slice(0, 30));
      expect(redacted).toContain("[redacted:private-key]");
      expect(redacted).toMatch(/^before\n/);
      expect(redacted).toMatch(/\nafter$/);
    }
  });

  it("finds nothing in this project's own sources", async () => {
    const folder = new URL("../../daemon/", import.meta.url);
    const names = (await readdir(folder, { recursive: true })).filter((name) => name.endsWith(".ts"));
    for (const name of names) {
      const text = await readFile(new URL(name, folder), "utf8");
      expect({ name, found: redactor.text(text).found }).toEqual({ name, found: [] });
    }
  });

  it("a text made of beginnings costs no more than its length", () => {
    const text = `${"-----BEGIN PRIVATE KEY-----\n".repeat(40_000)}${"sk-".repeat(200_000)}${"eyJ.".repeat(100_000)}`;
    expect(redactor.text(text).found).toEqual([]);
  });
});
