import { CaissonError } from "../protocol/errors.ts";

/** A shorter value guards nothing, and hiding it would garble messages. */
const SHORTEST_SECRET = 8;
const PUBLIC_SERVICE = "https://api.anthropic.com";

export type Environment = Readonly<Record<string, string | undefined>>;

/** Where the model is, and what opens it. Lives in the daemon only (S3). */
export interface ModelCredentials {
  readonly baseUrl: string;
  /** Exactly one of both is a string. */
  readonly apiKey: string | null;
  readonly authToken: string | null;
  /** Strings that no message may contain. */
  readonly secrets: readonly string[];
}

/** The SDK too takes blank for absent. */
function variable(environment: Environment, name: string): string | null {
  return environment[name]?.trim() || null;
}

function customHeaderValues(environment: Environment): string[] {
  return (environment.ANTHROPIC_CUSTOM_HEADERS ?? "")
    .split("\n")
    .map((line) => line.slice(line.indexOf(":") + 1).trim());
}

/**
 * `ANTHROPIC_API_KEY`, else `ANTHROPIC_AUTH_TOKEN`; `ANTHROPIC_BASE_URL`: in the SDK's order.
 * @throws CaissonError `model_unconfigured` that says what to set
 */
export function readCredentials(model: string, environment: Environment): ModelCredentials {
  const apiKey = variable(environment, "ANTHROPIC_API_KEY");
  const authToken = apiKey === null ? variable(environment, "ANTHROPIC_AUTH_TOKEN") : null;
  if (apiKey === null && authToken === null)
    throw new CaissonError(
      "model_unconfigured",
      `Model ${model} needs credentials, and the daemon has none; nothing was started. Set ANTHROPIC_API_KEY or ANTHROPIC_AUTH_TOKEN where the daemon starts (any value, with ANTHROPIC_BASE_URL, for an endpoint that asks for none) and restart it, or try --model script:FILE, which needs no service.`,
    );
  const baseUrl = variable(environment, "ANTHROPIC_BASE_URL") ?? PUBLIC_SERVICE;
  const url = URL.canParse(baseUrl) ? new URL(baseUrl) : undefined;
  if (!url || !/^https?:$/.test(url.protocol) || url.username !== "" || url.password !== "")
    throw new CaissonError(
      "model_unconfigured",
      "ANTHROPIC_BASE_URL is not an http or https address without credentials in it; nothing was started. Set it to one such as https://api.anthropic.com, or unset it, and restart the daemon.",
    );
  const secrets = [apiKey, authToken, ...customHeaderValues(environment)].filter(
    (value): value is string => value !== null && value.length >= SHORTEST_SECRET,
  );
  return { baseUrl, apiKey, authToken, secrets };
}

/** A sentence that came from outside, fit for journal and terminal: bounded, one line, without our secrets (J6). */
export function presentable(text: string, secrets: readonly string[]): string {
  const hidden = secrets.reduce((result, secret) => result.replaceAll(secret, "[credential]"), text);
  const line = hidden.replace(/\p{Cc}+/gu, " ").trim();
  return line.length > 1_000 ? `${line.slice(0, 1_000)}…` : line;
}
