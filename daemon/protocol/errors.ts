import { z } from "zod";

/** Every error code of the HTTP API with its status. The WebSocket's error frames use the same codes. */
export const ERROR_STATUS = {
  invalid_json: 400,
  invalid_request: 400,
  policy_invalid: 400,
  script_invalid: 400,
  limit_above_policy: 400,
  model_unconfigured: 400,
  model_unpriced: 400,
  workspace_refused: 400,
  after_past_head: 400,
  unauthorised: 401,
  forbidden_host: 403,
  forbidden_origin: 403,
  not_found: 404,
  unknown_run: 404,
  unknown_approval: 404,
  unknown_question: 404,
  unknown_action: 404,
  unknown_checkpoint: 404,
  unknown_blob: 404,
  unknown_workspace: 404,
  unknown_policy: 404,
  unknown_image: 404,
  method_not_allowed: 405,
  request_timeout: 408,
  request_id_conflict: 409,
  run_ended: 409,
  run_active: 409,
  no_sandbox: 409,
  checkpoint_gone: 409,
  cannot_undo: 409,
  already_decided: 409,
  nothing_to_resume: 409,
  limit_spent: 409,
  journal_damaged: 409,
  body_too_large: 413,
  unsupported_media_type: 415,
  too_many_requests: 429,
  headers_too_large: 431,
  internal: 500,
  not_supported: 501,
  engine_unreachable: 503,
  stopping: 503,
  disk_full: 507,
} as const satisfies Record<string, number>;

export type ErrorCode = keyof typeof ERROR_STATUS;
export const ErrorCode = z.enum(Object.keys(ERROR_STATUS) as [ErrorCode, ...ErrorCode[]]);

/** Problem details (RFC 9457) with our `code`. `detail` says what happened, what was kept, what to do next. */
export const Problem = z.object({
  type: z.string(),
  title: z.string(),
  status: z.int(),
  code: ErrorCode,
  detail: z.string(),
  errors: z.array(z.object({ path: z.string(), message: z.string() })).optional(),
});
export type Problem = z.infer<typeof Problem>;

/** An error that a client is to read: carries its code through every room. */
export class CaissonError extends Error {
  override readonly name = "CaissonError";
  readonly code: ErrorCode;
  readonly errors: readonly { path: string; message: string }[] | undefined;
  constructor(
    code: ErrorCode,
    detail: string,
    options?: ErrorOptions & { errors?: readonly { path: string; message: string }[] },
  ) {
    super(detail, options);
    this.code = code;
    this.errors = options?.errors;
  }
}

export function problemOf(error: CaissonError): Problem {
  return {
    type: `urn:caisson:problem:${error.code}`,
    title: error.code.replaceAll("_", " "),
    status: ERROR_STATUS[error.code],
    code: error.code,
    detail: error.message,
    ...(error.errors ? { errors: [...error.errors] } : {}),
  };
}
