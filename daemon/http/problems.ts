import type { z } from "zod";
import {
  BlobMissing,
  BodyTooLarge,
  JournalDamaged,
  JournalMissing,
  JournalUnwritable,
  refusalOf,
} from "../journal/port.ts";
import { CaissonError, type ErrorCode } from "../protocol/errors.ts";

/** Issues of one refused input that are shown; the rest would only be noise. */
const SHOWN_ISSUES = 20;
/** Characters of one issue's path or message that are shown: both may repeat what the client sent. */
const SHOWN_CHARACTERS = 300;

/** What of the daemon's log the HTTP room uses; pino fits. Never given a token, a body or a header. */
export interface Log {
  error(fields: object, message: string): void;
  warn(fields: object, message: string): void;
}

/** Any failure as the error a client reads. What nobody foresaw tells nothing of the inside. */
export function toCaissonError(error: unknown): CaissonError {
  if (error instanceof CaissonError) return error;
  const cause = { cause: error };
  if (error instanceof JournalMissing)
    return new CaissonError("unknown_run", "There is no such run. `caisson ls` lists them.", cause);
  if (error instanceof JournalDamaged)
    return new CaissonError("journal_damaged", `${error.message}. Its file was left as it is.`, cause);
  if (error instanceof BlobMissing)
    return new CaissonError("unknown_blob", "The run names this blob, but it is gone from the disk.", cause);
  if (error instanceof BodyTooLarge)
    return new CaissonError(
      "body_too_large",
      "The body is larger than the daemon takes; nothing was kept.",
      cause,
    );
  const refusal = refusalOf(error);
  if (refusal === "full")
    return new CaissonError(
      "disk_full",
      "The disk with the daemon's home is full, so nothing was changed. Free some space and try again.",
      cause,
    );
  if (refusal === "read-only")
    return new CaissonError(
      "disk_full",
      "The disk with the daemon's home is read-only, so nothing was changed. Make it writable and try again.",
      cause,
    );
  if (error instanceof JournalUnwritable && refusal === "gone")
    return new CaissonError("journal_damaged", error.message, cause);
  if (error instanceof JournalUnwritable)
    return new CaissonError(
      "disk_full",
      "The disk refused the write, so nothing was changed. The daemon's log says more; try again.",
      cause,
    );
  if (isClientError(error))
    return new CaissonError("invalid_request", "The request's path or headers can't be read.", cause);
  return new CaissonError(
    "internal",
    "The daemon failed on this request; the journal holds what was done. The daemon's log says more.",
    cause,
  );
}

/** Express and Node mark what a client got wrong (such as a broken percent-encoding) with a 4xx status. */
function isClientError(error: unknown): boolean {
  if (!(error instanceof Error) || !("status" in error)) return false;
  return typeof error.status === "number" && error.status >= 400 && error.status < 500;
}

/** @throws CaissonError `code` with the issues' places when the value doesn't fit */
export function parsed<T>(
  schema: z.ZodType<T>,
  value: unknown,
  what: string,
  code: ErrorCode = "invalid_request",
): T {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const errors = result.error.issues
    .slice(0, SHOWN_ISSUES)
    .map((issue) => ({ path: shown(issue.path.join(".")), message: shown(issue.message) }));
  const first = errors[0];
  const where = first === undefined ? "" : ` ${first.path === "" ? what : first.path}: ${first.message}.`;
  throw new CaissonError(code, `The ${what} is not valid.${where} Nothing was changed.`, { errors });
}

function shown(text: string): string {
  return text.length <= SHOWN_CHARACTERS ? text : `${text.slice(0, SHOWN_CHARACTERS)}…`;
}
