import type { RunSecrets } from "../../boundary/run-secrets.ts";
import type {
  Authority,
  Gatekeeper,
  Inspection,
  Judged,
  Outcome,
  OutgoingRequest,
  Tunnel,
} from "../../gateway/port.ts";
import { parseTarget } from "../../policy/http-target.ts";
import { labelOf } from "../../policy/labels.ts";
import type { Policy } from "../../policy/port.ts";
import { requestTerms, tunnelTo } from "../../policy/request-terms.ts";
import type { EventData, JournalEvent, NewEvent } from "../../protocol/events.ts";
import type { ActionId, ApprovalId, RequestId } from "../../protocol/ids.ts";
import { requestApprovalIdOf } from "../../protocol/ids.ts";
import { joined } from "../../protocol/labels.ts";
import type { Verdict } from "../../protocol/verdicts.ts";
import { countedUse } from "../../run/family.ts";
import { makerOf } from "../../run/requests.ts";
import type { RunState } from "../../run/state.ts";
import { digestOf } from "../digest.ts";
import type { LiveRun } from "../live-run.ts";
import { answeredBy, askedFor } from "../steps/approval.ts";
import { answered } from "./answer.ts";
import type { Meter } from "./meter.ts";
import type { KnownRegistries } from "./outside.ts";
import type { Refusals } from "./refusals.ts";
import { actionOf, askedInput, denied, type HttpAction, judgedNow } from "./verdict.ts";

/** What a keeper is made of. */
export interface Keeping {
  readonly run: LiveRun;
  readonly registries: KnownRegistries;
  readonly policies: readonly Policy[];
  readonly secrets: RunSecrets;
  readonly authority: Authority;
  readonly meter: Meter;
  readonly refusals: Refusals;
}

/** An action that is a request itself: the `fetch` tool's. What allowed the action allows it, and nothing else. */
export interface Own {
  readonly action: ActionId;
  /** The rule whose ask was answered for the action, and the approval that did. */
  readonly answered: { readonly rule: string; readonly approval: ApprovalId } | undefined;
  /** Told why it may not leave after all. */
  readonly refused?: (verdict: Verdict) => void;
}

interface Asked {
  readonly request: RequestId;
  readonly approval: ApprovalId;
  readonly rule: string;
}

/**
 * Answers for one run's requests: each is judged as the run stands at that moment, and is on disk before anything of
 * it leaves (J1, J3). Throws when the run is no more to be spoken for.
 */
export class Keeper implements Gatekeeper {
  readonly #of: Keeping;
  readonly #own: Own | undefined;
  /** Where each allowed request goes, until it has ended. */
  readonly #hosts = new Map<string, string>();

  constructor(of: Keeping, own?: Own) {
    this.#of = of;
    this.#own = own;
  }

  get inspection(): Inspection {
    return this.#of.secrets.inspection;
  }

  get authority(): Authority {
    return this.#of.authority;
  }

  tunnel(host: string, port: number): Tunnel {
    const registry = this.#of.registries.at({ host, port });
    return tunnelTo(this.#of.policies, { host, port, ...(registry ? { registry } : {}) });
  }

  body(request: { readonly method: string; readonly url: string }): "whole" | "streamed" {
    const { policies, run, secrets } = this.#of;
    const looked = secrets.any || policies.some(({ rules }) => (rules.flow?.length ?? 0) > 0);
    return looked || judgedNow(policies, run.state, this.#action(request)).verdict === "ask"
      ? "whole"
      : "streamed";
  }

  async judge(request: OutgoingRequest, gone: AbortSignal): Promise<Judged> {
    const first = await this.#journalled(request, undefined);
    if (first.type === "egress.judged") return this.#judged(first.data, request);
    const { request: id, approval, rule } = first.data;
    await answered(this.#of.run, approval, gone);
    const second = await this.#journalled(request, { request: id ?? "", approval, rule });
    if (second.type !== "egress.judged") throw new Error("a request was asked for twice");
    return this.#judged(second.data, request);
  }

  spend(request: string, bytes: number): "within" | "beyond" {
    return this.#of.meter.spend(request, bytes);
  }

  /** Whatever comes in is labelled as what the `fetch` tool brings, a command's requests too. */
  async arriving(request: string): Promise<void> {
    const { policies, run } = this.#of;
    const sources = [{ tool: "fetch" }, { host: this.#hosts.get(request) ?? "" }] as const;
    const raised = sources.flatMap((source) => {
      const found = labelOf(policies, source);
      const what = "host" in source ? `host ${source.host}` : "tool fetch";
      return found ? [{ label: found.label, source: `${what}, ${found.rule}` }] : [];
    });
    if (raised.length === 0) return;
    await run.commit("written", (state) => {
      if (state.ended) return [];
      const action = this.#own?.action ?? makerOf(state).asks;
      let { labels } = state.branch;
      return raised.flatMap((data): NewEvent[] => {
        const higher = joined(labels, data.label);
        if (higher.integrity === labels.integrity && higher.confidentiality === labels.confidentiality)
          return [];
        labels = higher;
        return [{ type: "label.raised", data: { ...data, by: request, ...(action ? { action } : {}) } }];
      });
    });
  }

  async finished(request: string, outcome: Outcome): Promise<void> {
    const { run, meter } = this.#of;
    this.#hosts.delete(request);
    const { taken } = this.#of.secrets;
    const breach = taken.aborted && outcome.error !== undefined ? { breach: String(taken.reason) } : {};
    const data = { request, ...outcome, ...breach };
    await run.commit("written", (state) =>
      state.ended || !state.requests.open.has(request) ? [] : [{ type: "egress.finished", data }],
    );
    if (run.state.breach !== undefined) run.stopStep("breach");
    meter.settle(request);
  }

  /** Journals what is next of a request: its verdict, or that a person is asked. */
  async #journalled(request: OutgoingRequest, asked: Asked | undefined): Promise<Next> {
    const { run } = this.#of;
    const events = await run.commit("synced", (state) => {
      if (state.ended || run.stopping || run.cancelled) return [];
      return this.#next(state, request, asked);
    });
    if (run.state.breach !== undefined) run.stopStep("breach");
    const last = events.find(isNext);
    if (!last) throw new Error("nothing leaves the run any more");
    return last;
  }

  #next(state: RunState, request: OutgoingRequest, asked: Asked | undefined): readonly NewEvent[] {
    const id = asked?.request ?? `q${state.requests.last + 1}`;
    const { policies, meter, run } = this.#of;
    const action = this.#action(request);
    const began = performance.now();
    const verdict = this.#refused(request) ?? judgedNow(policies, state, action);
    run.deps.judged?.(performance.now() - began);
    const maker = makerOf(state);
    const known = this.#own?.action ?? maker.known;
    const says = (said: Verdict, approval?: ApprovalId): NewEvent => ({
      type: "egress.judged",
      data: {
        request: id,
        ...said,
        method: request.method,
        url: request.url,
        ...(known === undefined ? {} : { action: known }),
        ...(request.bodyHash === undefined ? {} : { bodyHash: request.bodyHash }),
        ...(request.bodyBytes === undefined ? {} : { bodyBytes: request.bodyBytes }),
        ...(action.registry === undefined ? {} : { registry: action.registry }),
        ...(approval === undefined ? {} : { approval }),
      },
    });
    const refuse = (reason: string) => says({ ...verdict, verdict: "deny", reason }, asked?.approval);
    if (verdict.verdict === "deny") return [says(verdict, asked?.approval)];
    if (meter.left === 0) return [says(denied(SPENT))];
    if (verdict.verdict === "allow") return [says(verdict, asked?.approval)];
    const { rule, reason } = askedFor(state, verdict);
    if (this.#own?.answered?.rule === rule) return [says(verdict, this.#own.answered.approval)];
    if (asked) return [this.#byAnswer(state, asked, verdict, says, refuse)];
    const asks = this.#own?.action ?? maker.asks;
    if (asks === undefined)
      return [refuse(`${verdict.reason} No action is under way that a person could be asked for.`)];
    const approval = requestApprovalIdOf(run.run, asks, id);
    const binding = bindingOf(action, state);
    const by = answeredBy(state, rule, binding, run.deps.now());
    if (by) {
      const data = {
        approval,
        action: asks,
        decision: "allow",
        for: "once",
        by,
        binding,
        request: id,
      } as const;
      return [{ type: "approval.decided", data }, says(verdict, approval)];
    }
    const { asks: limit = Number.POSITIVE_INFINITY } = state.policy?.limits ?? {};
    if (countedUse(state, run.deps.families.beside(run.run)).asks >= limit)
      return [
        refuse(`${verdict.reason} It needs a person, and the run may ask no more (limit asks: ${limit}).`),
      ];
    return [
      {
        type: "approval.requested",
        data: {
          approval,
          action: asks,
          request: id,
          tool: "fetch",
          input: askedInput(request),
          rule,
          reason,
          binding,
          expiresAt: this.#expiry(),
        },
      },
    ];
  }

  /** A person's answer is to what was asked: neither to another rule's ask, nor for longer than it stands (P3). */
  #byAnswer(
    state: RunState,
    asked: Asked,
    verdict: Verdict,
    says: (said: Verdict, approval?: ApprovalId) => NewEvent,
    refuse: (reason: string) => NewEvent,
  ): NewEvent {
    const answer = state.approvals.get(asked.approval);
    const { decision, reason } = answer?.decision ?? {};
    if (decision !== "allow")
      return refuse(`Not approved${reason === undefined ? "." : `: ${String(reason)}`}`);
    if (answer?.revoked) return refuse("The approval was revoked.");
    const now = askedFor(state, verdict);
    if (now.rule !== asked.rule)
      return refuse(`The approval was for something else: now it is ${now.rule} that asks. ${now.reason}`);
    return says(verdict, asked.approval);
  }

  /** What is wrong whatever the policy says. */
  #refused({ violation }: OutgoingRequest): Verdict | undefined {
    return violation && denied(violation);
  }

  #action(request: Pick<OutgoingRequest, "method" | "url" | "bodyHash">): HttpAction {
    return actionOf(request, this.#of.registries.at);
  }

  #expiry(): string {
    const { policies, run } = this.#of;
    const timeouts = policies.map((policy) => policy.approvals.timeoutMs);
    return new Date(run.deps.systemTime() + Math.min(...timeouts)).toISOString();
  }

  async #judged(data: EventData<"egress.judged">, request: OutgoingRequest): Promise<Judged> {
    const { request: id, verdict, rule, reason, layer, matched } = data;
    const said = { verdict, rule, reason, layer, matched };
    if (verdict === "deny") {
      this.#own?.refused?.(said);
      await this.#of.refusals.turn();
      return { allowed: false, request: id, status: 403, verdict: said };
    }
    const action = this.#action(request);
    const { secrets, addresses, maxBytesOut } = requestTerms(this.#of.policies, action);
    const target = parseTarget(request.method, request.url);
    if (!("refused" in target)) this.#hosts.set(id, target.host);
    // Who configured a registry on this machine has named it.
    const known = "refused" in target || !action.registry ? [] : this.#of.registries.addresses(target);
    const headers = this.#of.secrets.headers(secrets, request);
    return {
      allowed: true,
      request: id,
      terms: { addresses: [...addresses, ...known], ...(maxBytesOut === undefined ? {} : { maxBytesOut }) },
      headers,
    };
  }
}

const SPENT = {
  rule: "limits.bytesOut",
  reason: "The run has sent as much as its limit bytesOut lets it.",
};

type Next = Extract<JournalEvent, { type: "egress.judged" | "approval.requested" }>;

function isNext(event: JournalEvent): event is Next {
  return event.type === "egress.judged" || event.type === "approval.requested";
}

/** What an approval of a request is for: exactly this method, URL and body, under this policy (P3). */
export function bindingOf({ method, url, bodyHash }: HttpAction, { policy }: RunState) {
  return digestOf([method, url, bodyHash ?? null, policy?.hash]);
}
