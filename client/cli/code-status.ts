import { ERROR_STATUS, type ErrorCode } from "../../daemon/protocol/errors.ts";
import { EXIT, type ExitStatus } from "./exit.ts";

/** What the daemon's answer means for a script. */
export function statusOfCode(code: ErrorCode): ExitStatus {
  if (code === "engine_unreachable" || code === "stopping") return EXIT.unreachable;
  if (code === "not_supported") return EXIT.badInput;
  const status = ERROR_STATUS[code];
  return status >= 500 || status === 409 || status === 429 ? EXIT.failed : EXIT.badInput;
}
