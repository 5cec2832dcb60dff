import type { Policy } from "../policy/port.ts";

/** Milliseconds that a person has to answer: as many as the least patient of the policies gives. */
export function patienceOf(policies: readonly Policy[]): number {
  return Math.min(...policies.map((policy) => policy.approvals.timeoutMs));
}

/** When a question asked at `now`, in milliseconds of the system's clock, is answered by nobody. ISO 8601. */
export function expiryOf(policies: readonly Policy[], now: number): string {
  return new Date(now + patienceOf(policies)).toISOString();
}
