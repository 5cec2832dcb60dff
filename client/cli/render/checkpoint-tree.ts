import type { CheckpointView } from "../../../daemon/protocol/views.ts";

/** The root of every run's tree: its workspace as it was ingested, which needs no image. */
export const ROOT = "c0";

/** A checkpoint in its place. `lead` is drawn before its mark; `below` before what else is said of it. */
export interface TreeRow {
  readonly id: string;
  /** Absent for the root. */
  readonly checkpoint?: CheckpointView;
  readonly lead: string;
  readonly below: string;
}

/** From one branching point to the next. */
export interface Stretch {
  readonly ids: readonly string[];
  readonly lead: string;
}

/**
 * Every checkpoint after its parent. What goes on straight stays in its column: the present branch, elsewhere the
 * largest part; the others begin beside it. So the depth grows with the logarithm of their number only.
 */
export function treeRows(checkpoints: readonly CheckpointView[]): TreeRow[] {
  const tree = new Tree(checkpoints);
  const rows: TreeRow[] = [];
  const draw = (from: string, first: string, rest: string): void => {
    let lead = first;
    for (let id: string | undefined = from; id !== undefined; lead = rest) {
      const { straight, beside } = tree.after(id);
      const checkpoint = tree.checkpoint(id);
      const below: string = straight === undefined ? `${rest}  ` : `${rest}│ `;
      rows.push({ id, lead, below, ...(checkpoint ? { checkpoint } : {}) });
      for (const side of beside) draw(side, `${rest}├─`, `${rest}│ `);
      id = straight;
    }
  };
  draw(ROOT, "", "");
  return rows;
}

/** The same tree with a row for each stretch that does not branch. */
export function stretches(checkpoints: readonly CheckpointView[]): Stretch[] {
  const tree = new Tree(checkpoints);
  const found: Stretch[] = [];
  const draw = (from: string, first: string, rest: string): void => {
    let lead = first;
    for (let id: string | undefined = from; id !== undefined; lead = rest) {
      const ids: string[] = [id];
      let next: { straight: string | undefined; beside: readonly string[] } = tree.after(id);
      while (next.straight !== undefined && next.beside.length === 0) {
        ids.push(next.straight);
        next = tree.after(next.straight);
      }
      found.push({ ids, lead });
      for (const side of next.beside) draw(side, `${rest}├─`, `${rest}│ `);
      id = next.straight;
    }
  };
  draw(ROOT, "", "");
  return found;
}

/** The checkpoint at which the present branch stands; the root when it has none. */
export function presentTip(checkpoints: readonly CheckpointView[]): string {
  return checkpoints.findLast(({ present }) => present)?.id ?? ROOT;
}

class Tree {
  readonly #byId: ReadonlyMap<string, CheckpointView>;
  readonly #children = new Map<string, string[]>();
  readonly #sizes = new Map<string, number>();

  /** @param checkpoints in the order in which they were taken: parents first */
  constructor(checkpoints: readonly CheckpointView[]) {
    this.#byId = new Map(checkpoints.map((one) => [one.id, one]));
    for (const one of checkpoints) {
      const parent = this.#parentOf(one);
      this.#children.set(parent, [...(this.#children.get(parent) ?? []), one.id]);
    }
    for (const one of [...checkpoints].reverse()) {
      const size = (this.#sizes.get(one.id) ?? 0) + 1;
      this.#sizes.set(one.id, size);
      const parent = this.#parentOf(one);
      this.#sizes.set(parent, (this.#sizes.get(parent) ?? 0) + size);
    }
  }

  #parentOf({ parent }: CheckpointView): string {
    return parent !== undefined && this.#byId.has(parent) ? parent : ROOT;
  }

  checkpoint(id: string): CheckpointView | undefined {
    return this.#byId.get(id);
  }

  /** What goes on straight from a checkpoint, and what begins beside it, oldest first. */
  after(id: string): { readonly straight: string | undefined; readonly beside: readonly string[] } {
    const children = this.#children.get(id) ?? [];
    const weight = (child: string) =>
      this.#byId.get(child)?.present ? Number.POSITIVE_INFINITY : (this.#sizes.get(child) ?? 0);
    const straight = children.reduce<string | undefined>(
      (best, child) => (best === undefined || weight(child) >= weight(best) ? child : best),
      undefined,
    );
    return { straight, beside: children.filter((child) => child !== straight) };
  }
}
