import type { Blobs, Journal } from "../journal/port.ts";
import type { RunId } from "../protocol/ids.ts";
import { NOTHING_USED, ownUse, together, type Used } from "../run/family.ts";
import type { RunState } from "../run/state.ts";
import { folded } from "./fold.ts";

interface Journals {
  readonly journal: Pick<Journal, "read">;
  readonly blobs: Pick<Blobs, "read">;
}

/** A run that somebody carries. */
interface Carried {
  readonly run: RunId;
  readonly state: RunState;
}

/** A run among those that share its limits. */
interface Member {
  used(): Used;
  /** Actions of its that are being journalled as started: nobody else may count on what they take. */
  starting: number;
  /** Bytes that its requests under way have sent: they are journalled when these end. */
  sending: number;
  /** Somebody carries it. */
  readonly live: boolean;
}

type Family = Map<RunId, Member>;

/** Which runs share their limits with which: a run and all its forks, those that have ended too (L1). */
export class Families {
  readonly #journals: Journals;
  readonly #family: (run: RunId) => readonly RunId[];
  readonly #of = new Map<RunId, Family>();

  /** @param family the runs that a run shares its limits with, itself too, as far as the views know */
  constructor(journals: Journals, family: (run: RunId) => readonly RunId[]) {
    this.#journals = journals;
    this.#family = family;
  }

  /** Call before the run goes on: what its family has used counts from then on. */
  async join(run: Carried): Promise<void> {
    const { submitted, forks } = run.state;
    const alone = submitted?.data.history === undefined && forks.length === 0;
    const ids = alone ? [run.run] : this.#family(run.run);
    const ended = new Map<RunId, Used>();
    for (const id of ids) if (id !== run.run && !this.#of.has(id)) ended.set(id, await this.#usedBy(id));
    const family = this.#familyOf([run.run, ...ids]);
    for (const [id, used] of ended)
      if (!family.has(id)) family.set(id, { used: () => used, starting: 0, sending: 0, live: false });
    family.set(run.run, { used: () => ownUse(run.state), starting: 0, sending: 0, live: true });
    for (const id of family.keys()) this.#of.set(id, family);
  }

  /** The run is carried no more; what it has used stays used. */
  leave(run: Carried): void {
    const family = this.#of.get(run.run);
    const used = ownUse(run.state);
    family?.set(run.run, { used: () => used, starting: 0, sending: 0, live: false });
    if (!family || [...family.values()].some(({ live }) => live)) return;
    for (const id of family.keys()) this.#of.delete(id);
  }

  /** What the others of the run's family have used, or are about to. */
  beside(run: RunId): Used {
    const family = this.#of.get(run);
    if (!family || family.size === 1) return NOTHING_USED;
    const others = [...family].flatMap(([id, member]) => (id === run ? [] : [member]));
    const used = together(others.map((member) => member.used()));
    const sum = (of: (member: Member) => number) => others.reduce((total, one) => total + of(one), 0);
    return {
      ...used,
      actions: used.actions + sum(({ starting }) => starting),
      bytesOut: used.bytesOut + sum(({ sending }) => sending),
    };
  }

  /** While an action of the run's is being journalled as started, it counts already. */
  async starting<T>(run: RunId, journalled: () => Promise<T>): Promise<T> {
    const member = this.#of.get(run)?.get(run);
    if (!member) return journalled();
    member.starting += 1;
    return journalled().finally(() => {
      member.starting -= 1;
    });
  }

  /** What the run's requests under way have sent; beside others it counts already. */
  sending(run: RunId, bytes: number): void {
    const member = this.#of.get(run)?.get(run);
    if (member) member.sending = bytes;
  }

  /** Those that are known already, with all that any of them belongs to. */
  #familyOf(ids: readonly RunId[]): Family {
    const [first = new Map(), ...others] = new Set(ids.flatMap((id) => this.#of.get(id) ?? []));
    for (const other of others) for (const [id, member] of other) first.set(id, member);
    return first;
  }

  /** One that can't be read counts with what its forks have from it. */
  async #usedBy(run: RunId): Promise<Used> {
    const { journal, blobs } = this.#journals;
    return folded(journal.read(run, 0), blobs).then(ownUse, () => NOTHING_USED);
  }
}
