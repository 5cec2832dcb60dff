import { folderPrefixes } from "../../policy/folder-prefixes.ts";
import type { RecordedRuns } from "../../policy/learn/draft.ts";
import { type Learnt, learnPolicy } from "../../policy/learn/learn.ts";
import type { Observation } from "../../policy/learn/observation.ts";
import type { Policy, PolicyAction } from "../../policy/port.ts";
import { requestTerms } from "../../policy/request-terms.ts";
import type { JournalEvent } from "../../protocol/events.ts";
import type { RunId } from "../../protocol/ids.ts";
import { LimitName, type Limits } from "../../protocol/limits.ts";
import { unhurried } from "../replay/recorded.ts";
import { type ReplayDependencies, Today } from "../replay/today.ts";
import { type Judgement, judgements } from "./judgements.ts";

/** Gathers, run after run, what was allowed and denied. */
export class Lesson {
  readonly #deps: ReplayDependencies;
  readonly #observations: Observation[] = [];
  readonly #layers = new Map<string, RecordedRuns["layers"][number]>();
  readonly #folders = { read: new Set<string>(), write: new Set<string>() };
  readonly #limits: Limits = {};
  readonly #images = new Set<string>();
  readonly #runs: RunId[] = [];
  #verdicts = 0;

  constructor(deps: ReplayDependencies) {
    this.#deps = deps;
  }

  /** Reads one run. Throws what reading its journal throws. */
  async take(run: RunId, events: AsyncIterable<readonly JournalEvent[]>): Promise<void> {
    const today = new Today(this.#deps);
    const answers = new Map<string, Answer>();
    const found: { readonly judgement: Judgement; readonly policies: readonly Policy[] }[] = [];
    const told = (event: JournalEvent) => this.#told(event, answers);
    for await (const judgement of judgements(events, today, told)) {
      const [state] = judgement.states;
      if (!state) continue;
      const policies = await today.bound(state);
      if (found.length === 0) this.#bound(policies);
      found.push({ judgement, policies });
    }
    for (const { judgement, policies } of found) await this.#observe(judgement, policies, answers, today);
    this.#verdicts += found.length;
    this.#runs.push(run);
  }

  /** @throws CaissonError `invalid_request`: nothing was allowed, or too much */
  learnt(name: string): Promise<Learnt> {
    const { read, write } = this.#folders;
    const recorded: RecordedRuns = {
      observations: this.#observations,
      layers: [...this.#layers.values()],
      folders: { read: [...read], write: [...write] },
      limits: this.#limits,
      images: [...this.#images],
    };
    return learnPolicy(
      name,
      recorded,
      [
        `Learnt from ${this.#verdicts} verdicts of ${this.#runs.length === 1 ? `run ${this.#runs[0]}` : `${this.#runs.length} runs`}: what was allowed then is allowed.`,
        "A proposal: read it, then `caisson policy test` it. Labels, flow, sequences, tiers and secrets are not learnt.",
      ],
      unhurried(),
    );
  }

  #told(event: JournalEvent, answers: Map<string, Answer>): void {
    if (event.type === "policy.bound") {
      this.#images.add(event.data.image);
      for (const limit of LimitName.options) {
        const value = event.data.limits[limit];
        if (value !== undefined) this.#limits[limit] = Math.max(value, this.#limits[limit] ?? 0);
      }
    }
    if (event.type !== "approval.decided") return;
    const { approval, action, request, decision, by } = event.data;
    const answer = {
      decision,
      by: by === "person" ? "person" : by === "yes-to" || by === "run-approval" ? "rule" : "nobody",
    } as const;
    answers.set(approval, answer);
    if (request === undefined) answers.set(action, answer);
  }

  #bound(policies: readonly Policy[]): void {
    for (const { layer, text } of policies) this.#layers.set(`${layer}\n${text}`, { layer, text });
    const { read, write } = folderPrefixes(policies);
    for (const folder of read) this.#folders.read.add(folder);
    for (const folder of write) this.#folders.write.add(folder);
  }

  async #observe(
    { states, parts, recorded, approval, action, request }: Judgement,
    policies: readonly Policy[],
    answers: ReadonlyMap<string, Answer>,
    today: Today,
  ): Promise<void> {
    const [state] = states;
    if (!state) return;
    const asked = answers.get(approval ?? (request === undefined ? (action ?? "") : ""));
    const outcome = outcomeOf(recorded.verdict, asked);
    if (!outcome) return;
    for (const part of parts) {
      // Of several parts those were denied, or asked about, that have the verdict of the whole.
      const own =
        outcome.outcome === "allowed" || (await today.verdict(state, [part])).verdict === recorded.verdict;
      if (own) this.#observations.push({ action: part, ...outcome, ...addressesOf(policies, part) });
    }
  }
}

interface Answer {
  readonly decision: "allow" | "deny";
  readonly by: "person" | "rule" | "nobody";
}

/** Undefined: nobody said yes or no. */
function outcomeOf(
  verdict: "allow" | "ask" | "deny",
  answer: Answer | undefined,
): Pick<Observation, "outcome" | "by"> | undefined {
  if (verdict === "allow") return { outcome: "allowed", by: "rule" };
  if (verdict === "deny") return { outcome: "denied", by: "rule" };
  if (answer?.decision === "allow")
    return { outcome: "allowed", by: answer.by === "person" ? "person" : "rule" };
  return answer?.by === "person" ? { outcome: "denied", by: "person" } : undefined;
}

function addressesOf(policies: readonly Policy[], action: PolicyAction): Pick<Observation, "addresses"> {
  if (action.kind !== "http") return {};
  const { addresses } = requestTerms(policies, action);
  return addresses.length > 0 ? { addresses } : {};
}
