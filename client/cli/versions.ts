import { PROTOCOL } from "../../daemon/protocol/frames.ts";
import type { Health } from "./daemon.ts";
import { clientVersion } from "./package.ts";

/** How a sentence about a daemon of another version begins. */
export function otherVersion(address: string, { version }: Health): string {
  return `The daemon at ${address} is version ${version}, this is ${clientVersion()}`;
}

/** Whether this client speaks what the daemon speaks. */
export function protocolOf({ protocol }: Health): "same" | "other" {
  return protocol === PROTOCOL ? "same" : "other";
}
