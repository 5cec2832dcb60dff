import { countedUse } from "../../run/family.ts";
import type { LiveRun } from "../live-run.ts";

/** What a run may still send (L1): what has ended stands in its journal, what is under way is counted here. */
export class Meter {
  readonly #run: LiveRun;
  readonly #underway = new Map<string, number>();
  /** Requests that wanted more than was left. */
  readonly #beyond = new Set<string>();

  constructor(run: LiveRun) {
    this.#run = run;
  }

  /** Bytes that the run's limit leaves; without a limit, infinitely many. */
  get left(): number {
    const { state, deps, run } = this.#run;
    const { bytesOut: limit } = state.policy?.limits ?? {};
    if (limit === undefined) return Number.POSITIVE_INFINITY;
    const spent = countedUse(state, deps.families.beside(run)).bytesOut;
    return Math.max(0, limit - spent - this.#sending());
  }

  spend(request: string, bytes: number): "within" | "beyond" {
    if (bytes > this.left) {
      this.#beyond.add(request);
      return "beyond";
    }
    this.#underway.set(request, (this.#underway.get(request) ?? 0) + bytes);
    this.#told();
    return "within";
  }

  /** Whether the run's limit cut the request off. */
  wasBeyond(request: string): boolean {
    return this.#beyond.has(request);
  }

  /** Its bytes stand in the journal, or it sends no more. */
  settle(request: string): void {
    this.#underway.delete(request);
    this.#beyond.delete(request);
    this.#told();
  }

  #sending(): number {
    let sum = 0;
    for (const bytes of this.#underway.values()) sum += bytes;
    return sum;
  }

  /** Forks count on what is left as well. */
  #told(): void {
    this.#run.deps.families.sending(this.#run.run, this.#sending());
  }
}
