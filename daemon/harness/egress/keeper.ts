import type { RunSecrets } from "../../boundary/run-secrets.ts";
import type {
  Authority,
  Gatekeeper,
  Inspection,
  Judged,
  Outcome,
  OutgoingRequest,
  Tunnel,
  Violation,
} from "../../gateway/port.ts";
import { parseTarget } from "../../policy/http-target.ts";
import { labelOf } from "../../policy/labels.ts";
import type { Policy } from "../../policy/port.ts";
import { requestTerms, tunnelTo } from "../../policy/request-terms.ts";
import type { EventData, JournalEvent } from "../../protocol/events.ts";
import { makerOf } from "../../run/requests.ts";
import { type Raise, raised } from "../labelling.ts";
import type { LiveRun } from "../live-run.ts";
import { answered } from "./answer.ts";
import { type Deciding, decided, type Own, rulesAsking } from "./deciding.ts";
import type { Meter } from "./meter.ts";
import { OpenTunnels } from "./open-tunnels.ts";
import type { KnownRegistries } from "./outside.ts";
import type { Refusals } from "./refusals.ts";
import { actionOf, type HttpAction, judgedNow } from "./verdict.ts";

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

/**
 * Answers for one run's requests: each is judged as the run stands at that moment, and is on disk before anything of
 * it leaves (J1, J3). Throws when the run is no more to be spoken for.
 */
export class Keeper implements Gatekeeper {
  readonly #of: Keeping;
  readonly #own: Own | undefined;
  /** Where each allowed request goes, until it has ended. */
  readonly #hosts = new Map<string, string>();
  /** The rules that asked for each request that waits. */
  readonly #asking = new Map<string, readonly string[]>();

  readonly #tunnels: OpenTunnels;

  constructor(of: Keeping, own?: Own) {
    this.#of = of;
    this.#tunnels = new OpenTunnels(of);
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
    // These may come to ask between now and the verdict, and a person is shown the body.
    const mayAsk = policies.some(({ rules: { flow, sequence } }) => flow?.length || sequence?.length);
    const looked = secrets.any || mayAsk;
    return looked || judgedNow(policies, run.state, this.#action(request)).verdict === "ask"
      ? "whole"
      : "streamed";
  }

  async judge(request: OutgoingRequest, gone: AbortSignal): Promise<Judged> {
    const first = await this.#journalled(request, undefined);
    if (first.type === "egress.judged") return this.#judged(first.data, request);
    const { request: id = "", approval } = first.data;
    await answered(this.#of.run, approval, gone);
    const rules = this.#asking.get(id) ?? [];
    this.#asking.delete(id);
    const second = await this.#journalled(request, { request: id, approval, rules });
    if (second.type !== "egress.judged") throw new Error("a request was asked for twice");
    return this.#judged(second.data, request);
  }

  spend(request: string, bytes: number): "within" | "beyond" | Violation {
    return this.#tunnels.refusal(request) ?? this.#of.meter.spend(request, bytes);
  }

  /** Whatever comes in is labelled as what the `fetch` tool brings, a command's requests too. */
  async arriving(request: string): Promise<void> {
    const { policies, run } = this.#of;
    const sources = [{ tool: "fetch" }, { host: this.#hosts.get(request) ?? "" }] as const;
    const raises = sources.flatMap((source): Raise[] => {
      const found = labelOf(policies, source);
      const what = "host" in source ? `host ${source.host}` : "tool fetch";
      return found ? [{ label: found.label, source: `${what}, ${found.rule}`, by: request }] : [];
    });
    if (raises.length === 0) return;
    await run.commit("written", (state) =>
      state.ended ? [] : raised(state, raises, this.#own?.action ?? makerOf(state).asks),
    );
  }

  async finished(request: string, outcome: Outcome): Promise<void> {
    const { run, meter } = this.#of;
    this.#hosts.delete(request);
    this.#tunnels.ended(request);
    const { taken } = this.#of.secrets;
    const breach = taken.aborted && outcome.error !== undefined ? { breach: String(taken.reason) } : {};
    const beyond = meter.wasBeyond(request) ? { beyond: true as const } : {};
    const data = { request, ...outcome, ...breach, ...beyond };
    await run.commit("written", (state) =>
      state.ended || !state.requests.open.has(request) ? [] : [{ type: "egress.finished", data }],
    );
    if (run.state.breach !== undefined) run.stopStep("breach");
    meter.settle(request);
  }

  /** Journals what is next of a request: its verdict, or that a person is asked. */
  async #journalled(request: OutgoingRequest, asked: Deciding["asked"]): Promise<Next> {
    const { run, policies, meter } = this.#of;
    const action = this.#action(request);
    const events = await run.commit("synced", (state) => {
      if (state.ended || run.stopping || run.cancelled) return [];
      const events = decided(state, {
        run,
        policies,
        request,
        action,
        asked,
        own: this.#own,
        left: meter.left,
      });
      // An answer is to the rules that ask at this moment.
      for (const { type, data } of events)
        if (type === "approval.requested")
          this.#asking.set(data.request ?? "", rulesAsking(judgedNow(policies, state, action)));
      return events;
    });
    if (run.state.breach !== undefined) run.stopStep("breach");
    const last = events.find(isNext);
    if (!last) throw new Error("nothing leaves the run any more");
    return last;
  }

  #action(request: Pick<OutgoingRequest, "method" | "url" | "bodyHash">): HttpAction {
    return actionOf(request, this.#of.registries.at);
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
    const { secrets, addresses, maxBytesOut, opaque } = requestTerms(this.#of.policies, action);
    if (opaque) this.#tunnels.opened(action, data);
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

type Next = Extract<JournalEvent, { type: "egress.judged" | "approval.requested" }>;

function isNext(event: JournalEvent): event is Next {
  return event.type === "egress.judged" || event.type === "approval.requested";
}
