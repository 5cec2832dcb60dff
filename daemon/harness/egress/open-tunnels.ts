import type { Violation } from "../../gateway/port.ts";
import type { Policy } from "../../policy/port.ts";
import type { EventData } from "../../protocol/events.ts";
import type { RequestId } from "../../protocol/ids.ts";
import type { LiveRun } from "../live-run.ts";
import { rulesAsking } from "./deciding.ts";
import { type HttpAction, judgedNow } from "./verdict.ts";

interface OpenTunnel {
  readonly action: HttpAction;
  /** What the run held when it was judged last. */
  readonly labels: LiveRun["state"]["branch"]["labels"];
  /** The rules that a person's answer was to. */
  readonly answered: readonly string[];
}

/**
 * Tunnels that nobody looks into. Such a one is judged when it is opened, and again when the run has come to hold more
 * than it did then: what was read since could leave by it.
 */
export class OpenTunnels {
  readonly #of: { readonly run: LiveRun; readonly policies: readonly Policy[] };
  readonly #open = new Map<RequestId, OpenTunnel>();

  constructor(of: { readonly run: LiveRun; readonly policies: readonly Policy[] }) {
    this.#of = of;
  }

  opened(action: HttpAction, judged: EventData<"egress.judged">): void {
    const { labels } = this.#of.run.state.branch;
    this.#open.set(judged.request, { action, labels, answered: rulesAsking(judged) });
  }

  ended(request: RequestId): void {
    this.#open.delete(request);
  }

  /** Why nothing more may leave by it; undefined also for what is no tunnel. */
  refusal(request: RequestId): Violation | undefined {
    const tunnel = this.#open.get(request);
    const { run, policies } = this.#of;
    const { labels } = run.state.branch;
    if (tunnel === undefined || tunnel.labels === labels) return undefined;
    const verdict = judgedNow(policies, run.state, tunnel.action);
    if (verdict.verdict === "deny" || !rulesAsking(verdict).every((rule) => tunnel.answered.includes(rule))) {
      const { rule, reason } = verdict;
      return {
        rule,
        reason: `the tunnel was opened before the run held what it holds now; ${rule}: ${reason}`,
      };
    }
    this.#open.set(request, { ...tunnel, labels });
    return undefined;
  }
}
