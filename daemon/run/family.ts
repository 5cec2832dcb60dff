/** Limits hold across a run and all its forks together (L1): what each of them has used itself. Pure. */
import type { RunState } from "./state.ts";

export type Used = RunState["used"];

export const NOTHING_USED: Used = { actions: 0, tokens: 0, cost: 0, bytesOut: 0, denials: 0, asks: 0 };

const NAMES = Object.keys(NOTHING_USED) as (keyof Used)[];

function each(value: (name: keyof Used) => number): Used {
  return Object.fromEntries(NAMES.map((name) => [name, value(name)])) as Used;
}

/** Without what a fork has from its parent, which the parent has used. */
export function ownUse({ used, inherited }: RunState): Used {
  return each((name) => used[name] - (inherited?.used[name] ?? 0));
}

export function together(parts: Iterable<Used>): Used {
  let sum = NOTHING_USED;
  for (const part of parts) sum = each((name) => sum[name] + part[name]);
  return sum;
}

/**
 * What counts against a run's limits. @param beside what the others of its family have used; a parent that was
 * removed counts at least with what it had used when the run was forked.
 */
export function countedUse(state: RunState, beside: Used): Used {
  const own = ownUse(state);
  return each((name) => Math.max(state.used[name], own[name] + beside[name]));
}
