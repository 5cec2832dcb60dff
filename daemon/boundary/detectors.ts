/**
 * Credentials that nobody told us of, known by how their issuers make them. Prefixes, alphabets and lengths are those
 * that issuers document or that public rule sets agree on; what only looks random is none.
 */
import {
  basic,
  type Check,
  keyBlock,
  mixed,
  random,
  shaped,
  userInfo,
  webToken,
} from "./credential-checks.ts";
import { type Characters, charactersOf, type Detector } from "./tokens.ts";

const WORDS = charactersOf("A-Za-z0-9");
const LOWER = charactersOf("a-z0-9");
const UPPER = charactersOf("A-Z0-9");
const HEX = charactersOf("a-f0-9");
const IDS = charactersOf("A-Za-z0-9_-");
const UUID = charactersOf("A-Fa-f0-9-");
const DOTTED = charactersOf("A-Za-z0-9_.-");
const BASE64 = charactersOf("A-Za-z0-9+/=");
const TOKEN = charactersOf("A-Za-z0-9._~+/=-");
const URL = charactersOf("A-Za-z0-9._~+/=%:@!$&*,;-");
/** All that may stand between the lines of a key: line breaks, their escapes, numbers, quotes, a diff's signs. */
const LINES = charactersOf("A-Za-z0-9+/= \t\r\n\\:._,|\"'>-");

type Length = number | readonly [least: number, most: number];

function detector(
  kind: string,
  anchors: readonly string[],
  characters: Characters,
  length: Length,
  check: Check = random,
): Detector {
  const [least, most] = typeof length === "number" ? [length, length] : length;
  return { kind, anchors, characters, least, most, length: check };
}

/** What stands after a name that says what it is, as in an assignment or a header. */
function named(...[kind, anchors, characters, length, check]: Parameters<typeof detector>): Detector {
  return { ...detector(kind, anchors, characters, length, check), after: true };
}

const CLOUDS = [
  detector("aws-access-key", ["AKIA", "ASIA", "ABIA", "ACCA"], UPPER, 16),
  named(
    "aws-secret-key",
    [
      "aws_secret_access_key",
      "AWS_SECRET_ACCESS_KEY",
      "SecretAccessKey",
      "secretAccessKey",
      "aws_secret_key",
      "AWS_SECRET_KEY",
    ],
    BASE64,
    40,
    mixed,
  ),
  named(
    "aws-session-token",
    ["aws_session_token", "AWS_SESSION_TOKEN", "SessionToken", "sessionToken"],
    BASE64,
    [100, 4000],
  ),
  detector("gcp-api-key", ["AIza"], IDS, 35),
  detector("gcp-oauth-token", ["ya29."], DOTTED, [20, 2000]),
  detector("gcp-oauth-secret", ["GOCSPX-"], IDS, 28),
  named("azure-storage-key", ["AccountKey="], BASE64, 88),
  named("azure-access-key", ["SharedAccessKey="], BASE64, [40, 60]),
  detector("digitalocean-token", ["dop_v1_", "doo_v1_", "dor_v1_"], HEX, 64),
  detector("heroku-key", ["HRKU-"], IDS, [36, 70]),
  detector("fly-token", ["fo1_"], IDS, 43),
  detector("fly-macaroon", ["fm2_", "fm1r_", "fm1a_"], BASE64, [100, 4000]),
  detector("netlify-token", ["nfp_"], WORDS, [36, 60]),
  detector("databricks-token", ["dapi"], HEX, [32, 34]),
  detector("planetscale-token", ["pscale_tkn_", "pscale_pw_", "pscale_oauth_"], DOTTED, [32, 64]),
  detector("supabase-token", ["sbp_", "sb_secret_"], IDS, [30, 64], mixed),
] as const;

const CODE_HOSTS = [
  detector("github-token", ["ghp_", "gho_", "ghu_", "ghs_", "ghr_"], WORDS, [36, 255], mixed),
  detector("github-fine-grained-token", ["github_pat_"], charactersOf("A-Za-z0-9_"), 82),
  detector(
    "gitlab-token",
    ["glpat-", "gldt-", "glrt-", "glptt-", "glcbt-", "glsoat-", "glft-", "glimt-", "glagent-", "glffct-"],
    DOTTED,
    [20, 300],
  ),
  detector("gitlab-registration-token", ["GR1348941"], IDS, 20),
  detector("bitbucket-password", ["ATBB"], WORDS, 32, mixed),
  detector("atlassian-token", ["ATATT3"], charactersOf("A-Za-z0-9_=-"), [150, 300]),
  detector("sourcegraph-token", ["sgp_"], charactersOf("a-zA-Z0-9_"), [40, 80]),
  detector("buildkite-token", ["bkua_"], HEX, 40),
  detector("circleci-token", ["CCIPAT_"], charactersOf("A-Za-z0-9_"), [40, 80]),
] as const;

const CHATS = [
  detector(
    "slack-token",
    ["xoxb-", "xoxp-", "xoxa-", "xoxr-", "xoxs-", "xoxe-", "xoxc-", "xoxd-"],
    charactersOf("A-Za-z0-9%/+-"),
    [24, 400],
    mixed,
  ),
  detector("slack-app-token", ["xapp-1-"], charactersOf("A-Za-z0-9-"), [60, 160]),
  detector(
    "slack-webhook",
    ["hooks.slack.com/services/"],
    charactersOf("A-Za-z0-9/"),
    [40, 60],
    shaped(/^T\w+\/B\w+\/\w{20,}$/),
  ),
  detector(
    "discord-webhook",
    ["discord.com/api/webhooks/", "discordapp.com/api/webhooks/"],
    charactersOf("A-Za-z0-9_/-"),
    [78, 110],
    shaped(/^\d{17,20}\/[\w-]{60,}$/),
  ),
  detector(
    "telegram-token",
    ["api.telegram.org/bot"],
    charactersOf("A-Za-z0-9_:-"),
    [43, 50],
    shaped(/^\d{8,10}:AA[\w-]{32,34}$/),
  ),
  detector("teams-webhook", [".webhook.office.com/webhookb2/"], charactersOf("A-Za-z0-9@/-"), [100, 250]),
] as const;

const PAYMENTS = [
  detector("stripe-key", ["sk_live_", "rk_live_", "sk_test_", "rk_test_"], WORDS, [16, 247], mixed),
  detector("stripe-webhook-secret", ["whsec_"], BASE64, [32, 80], mixed),
  detector(
    "braintree-token",
    ["access_token$production$", "access_token$sandbox$"],
    charactersOf("a-z0-9$"),
    49,
  ),
  detector("square-token", ["sq0atp-", "sq0csp-"], IDS, [22, 43]),
  detector("square-access-token", ["EAAAE", "EAAAl"], IDS, [55, 60], mixed),
  detector("shopify-token", ["shpat_", "shpca_", "shppa_", "shpss_"], charactersOf("A-Fa-f0-9"), 32),
  detector("plaid-token", ["access-production-", "access-sandbox-"], UUID, 36),
  detector("flutterwave-key", ["FLWSECK-", "FLWSECK_TEST-"], charactersOf("A-Za-z0-9-"), [32, 50]),
  detector("shippo-token", ["shippo_live_", "shippo_test_"], HEX, 40),
  detector("easypost-key", ["EZAK", "EZTK"], WORDS, 54),
] as const;

const REGISTRIES = [
  detector("npm-token", ["npm_"], WORDS, 36, mixed),
  named(
    "npmrc-auth",
    [":_authToken", ":_password", ":_auth"],
    charactersOf("A-Za-z0-9+/=_.-"),
    [20, 500],
    mixed,
  ),
  detector("pypi-token", ["pypi-AgE"], IDS, [50, 1000]),
  detector("rubygems-key", ["rubygems_"], HEX, 48),
  detector("crates-token", ["cio"], WORDS, 32, mixed),
  detector("nuget-key", ["oy2"], LOWER, 43, mixed),
  detector("docker-token", ["dckr_pat_", "dckr_oat_"], IDS, [27, 40]),
  detector("artifactory-key", ["AKCp"], WORDS, [60, 80], mixed),
  detector("artifactory-reference", ["cmVmdGtu"], WORDS, [50, 70], mixed),
  detector("clojars-token", ["CLOJARS_"], LOWER, 60),
] as const;

const MODELS = [
  detector("anthropic-key", ["sk-ant-"], IDS, [32, 200], mixed),
  detector("openai-key", ["sk-proj-", "sk-svcacct-", "sk-admin-", "sk-None-"], IDS, [40, 220], mixed),
  detector("openai-legacy-key", ["sk-"], WORDS, [48, 51], shaped(/T3BlbkFJ/)),
  detector("openrouter-key", ["sk-or-v1-"], HEX, 64),
  detector("huggingface-token", ["hf_", "api_org_"], WORDS, [34, 40]),
  detector("groq-key", ["gsk_"], WORDS, 52, mixed),
  detector("replicate-token", ["r8_"], WORDS, [37, 40], mixed),
  detector("perplexity-key", ["pplx-"], WORDS, [48, 56]),
  detector("xai-key", ["xai-"], WORDS, 80),
  detector("nvidia-key", ["nvapi-"], IDS, [60, 70]),
  detector("langsmith-key", ["lsv2_pt_", "lsv2_sk_"], charactersOf("a-f0-9_"), 43),
  detector("pinecone-key", ["pcsk_"], charactersOf("A-Za-z0-9_"), [60, 80]),
] as const;

const SERVICES = [
  detector("vault-token", ["hvs.", "hvb.", "hvr."], IDS, [90, 300]),
  detector("terraform-token", [".atlasv1."], IDS, [60, 70]),
  detector("doppler-token", ["dp.pt.", "dp.st.", "dp.ct.", "dp.sa.", "dp.scim."], DOTTED, [40, 70], mixed),
  detector("pulumi-token", ["pul-"], HEX, 40),
  detector("grafana-token", ["glc_", "glsa_"], charactersOf("A-Za-z0-9+/=_"), [32, 400], mixed),
  detector("new-relic-key", ["NRAK-", "NRJS-", "NRII-", "NRRA-"], IDS, [19, 42]),
  detector("sentry-token", ["sntrys_", "sntryu_"], charactersOf("A-Za-z0-9+/=_"), [64, 400]),
  detector("dynatrace-token", ["dt0c01.", "dt0s01."], charactersOf("A-Z0-9."), 89),
  detector("sendgrid-key", ["SG."], DOTTED, 66, shaped(/^[\w-]{22}\.[\w-]{43}$/)),
  detector("mailgun-key", ["key-"], HEX, 32),
  detector("twilio-key", ["SK"], HEX, 32),
  detector("brevo-key", ["xkeysib-", "xsmtpsib-"], charactersOf("A-Za-z0-9-"), 81),
  detector("linear-key", ["lin_api_", "lin_oauth_"], WORDS, [40, 64]),
  detector("notion-token", ["ntn_"], WORDS, [40, 50], mixed),
  detector("figma-token", ["figd_", "figu_"], IDS, [38, 60], mixed),
  detector("airtable-token", ["pat"], charactersOf("A-Za-z0-9."), 79, shaped(/^\w{14}\.[a-f0-9]{64}$/)),
  detector("postman-key", ["PMAK-"], charactersOf("a-f0-9-"), 59),
  detector("contentful-token", ["CFPAT-"], IDS, 43),
  detector(
    "tailscale-key",
    ["tskey-auth-", "tskey-api-", "tskey-client-", "tskey-webhook-", "tskey-scim-"],
    charactersOf("A-Za-z0-9-"),
    [30, 64],
    mixed,
  ),
  detector("onepassword-token", ["ops_"], BASE64, [200, 2000], shaped(/^eyJ/)),
  detector("readme-key", ["rdme_"], LOWER, 70),
  detector("typeform-token", ["tfp_"], DOTTED, [44, 80]),
  detector("prefect-key", ["pnu_", "pnb_"], LOWER, 36, mixed),
] as const;

const GENERAL: readonly Detector[] = [
  {
    ...named("private-key", ["PRIVATE KEY-----", "PRIVATE KEY BLOCK-----"], LINES, [64, 24_000], keyBlock),
    cut: true,
    stop: "-----",
  },
  detector("age-key", ["AGE-SECRET-KEY-1"], UPPER, 58),
  { ...detector("json-web-token", ["eyJ"], DOTTED, [40, 8_000], webToken) },
  named("url-password", ["://"], URL, [10, 500], userInfo),
  named(
    "bearer-token",
    ["uthorization: Bearer ", "uthorization: bearer ", "uthorization: token "],
    TOKEN,
    [20, 4_000],
    mixed,
  ),
  named("basic-credential", ["uthorization: Basic ", "uthorization: basic "], BASE64, [12, 1_000], basic),
];

/** The kinds of credentials that are looked for, whatever the policy says. */
export const DETECTORS: readonly Detector[] = [
  ...CLOUDS,
  ...CODE_HOSTS,
  ...CHATS,
  ...PAYMENTS,
  ...REGISTRIES,
  ...MODELS,
  ...SERVICES,
  ...GENERAL,
];
