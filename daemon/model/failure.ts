import { ModelFailure } from "./port.ts";

type Kind = ModelFailure["kind"];
/** Longest wait that is passed on; a service that asks for more is taken at this. */
const LONGEST_WAIT_MS = 24 * 3_600_000;
const NO_KEY =
  "the service refused the credentials. Set ANTHROPIC_API_KEY (or ANTHROPIC_AUTH_TOKEN) to a valid one where the daemon starts, restart it, and resume the run";

/** Milliseconds that `retry-after-ms` or `retry-after` (seconds, or a date) asks to wait. */
function retryAfterOf(headers: Headers, now: number): number | undefined {
  const milliseconds = Number.parseFloat(headers.get("retry-after-ms") ?? "");
  if (milliseconds >= 0) return Math.min(milliseconds, LONGEST_WAIT_MS);
  const value = headers.get("retry-after")?.trim();
  if (!value) return undefined;
  const wait = /^\d+(\.\d+)?$/.test(value) ? Number(value) * 1_000 : Date.parse(value) - now;
  return Number.isNaN(wait) ? undefined : Math.min(Math.max(0, wait), LONGEST_WAIT_MS);
}

function kindOfStatus(status: number): { kind: Kind; retryable: boolean } {
  if (status === 529 || status === 503) return { kind: "overloaded", retryable: true };
  if (status === 429) return { kind: "rate_limited", retryable: true };
  if (status === 408 || status === 409 || status >= 500) return { kind: "other", retryable: true };
  return { kind: "invalid", retryable: false };
}

function sentenceOf(status: number, detail: string): string {
  if (status === 401 || status === 403) return `${NO_KEY} (${status}: ${detail})`;
  if (status >= 300 && status < 400)
    return `the service answered with a redirect (${status}), which is not followed; set ANTHROPIC_BASE_URL to the address itself`;
  if (status === 404)
    return `the service does not know this model or address (404: ${detail}); check the model id and ANTHROPIC_BASE_URL`;
  return `the service answered ${status}: ${detail}`;
}

/** What an HTTP status other than 200 means. `headers` may hold the service's wish about when to come back. */
export function failureOfStatus(
  status: number,
  detail: string,
  context?: { readonly headers: Headers; readonly now: number },
): ModelFailure {
  const { kind, retryable } = kindOfStatus(status);
  const wish = context?.headers.get("x-should-retry");
  return new ModelFailure(kind, sentenceOf(status, detail), {
    retryable: wish === "true" ? true : wish === "false" ? false : retryable,
    status,
    retryAfterMs: context && retryAfterOf(context.headers, context.now),
  });
}

/** What an `error` event in a stream means, by its type. */
export function failureOfErrorEvent(type: string | undefined, detail: string): ModelFailure {
  const failure = (kind: Kind, retryable: boolean, sentence = `the service reported ${type}: ${detail}`) =>
    new ModelFailure(kind, sentence, { retryable });
  switch (type) {
    case "overloaded_error":
      return failure("overloaded", true);
    case "rate_limit_error":
      return failure("rate_limited", true);
    case "authentication_error":
    case "permission_error":
      return failure("invalid", false, `${NO_KEY} (${type}: ${detail})`);
    case "invalid_request_error":
    case "not_found_error":
    case "request_too_large":
    case "billing_error":
      return failure("invalid", false);
    default:
      return failure("other", true, `the service reported an error in its stream: ${detail}`);
  }
}
