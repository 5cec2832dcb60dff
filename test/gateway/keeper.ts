import { createAuthority } from "../../daemon/gateway/authority.ts";
import type {
  Authority,
  Gatekeeper,
  Inspection,
  Judged,
  Outcome,
  OutgoingRequest,
} from "../../daemon/gateway/port.ts";
import type { Verdict } from "../../daemon/protocol/verdicts.ts";

/** Looks for nothing. */
export const NOTHING_TO_HIDE: Inspection = {
  outgoing: () => ({ text: () => [], push: () => [], end: () => [] }),
  incoming: () => undefined,
};

export const LOOPBACK = { addresses: ["127.0.0.0/8"] } as const;

export interface Keeping {
  readonly judge?: (request: OutgoingRequest, id: string) => Judged | Promise<Judged>;
  readonly tunnel?: Gatekeeper["tunnel"];
  readonly body?: "whole" | "streamed";
  readonly bytesLeft?: number;
  readonly inspection?: Inspection;
  readonly arriving?: Gatekeeper["arriving"];
  readonly finished?: Gatekeeper["finished"];
}

export interface KeeperUnderTest extends Gatekeeper {
  readonly judged: OutgoingRequest[];
  readonly outcomes: Outcome[];
  /** Resolves with the outcome number `count`, from 1. */
  outcome(count: number): Promise<Outcome>;
}

export function denial(rule: string, reason = "no rule allows it"): Verdict {
  return { verdict: "deny", rule, reason, layer: "run", matched: [] };
}

/** Allows everything to loopback but what the gateway itself finds wrong, and remembers all of it. */
export async function keeperUnderTest(keeping: Keeping = {}): Promise<KeeperUnderTest> {
  const authority: Authority = await createAuthority("test");
  const judged: OutgoingRequest[] = [];
  const outcomes: Outcome[] = [];
  const waiting = new Map<number, (outcome: Outcome) => void>();
  let left = keeping.bytesLeft ?? Number.POSITIVE_INFINITY;
  return {
    judged,
    outcomes,
    authority,
    outcome: (count) => {
      const had = outcomes[count - 1];
      return had === undefined ? new Promise((resolve) => waiting.set(count, resolve)) : Promise.resolve(had);
    },
    tunnel: keeping.tunnel ?? (() => ({ mode: "inspect" })),
    body: () => keeping.body ?? "streamed",
    judge: async (request) => {
      judged.push(request);
      const id = `q${judged.length}`;
      if (request.violation) {
        const { rule, reason } = request.violation;
        return { allowed: false, request: id, status: 403, verdict: denial(rule, reason) };
      }
      return keeping.judge?.(request, id) ?? { allowed: true, request: id, terms: LOOPBACK, headers: {} };
    },
    spend: (_request, bytes) => {
      left -= bytes;
      return left < 0 ? "beyond" : "within";
    },
    arriving: keeping.arriving ?? (async () => {}),
    finished: async (request, outcome) => {
      outcomes.push(outcome);
      waiting.get(outcomes.length)?.(outcome);
      await keeping.finished?.(request, outcome);
    },
    inspection: keeping.inspection ?? NOTHING_TO_HIDE,
  };
}
