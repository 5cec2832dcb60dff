import type { RunId } from "../protocol/ids.ts";
import type { RunView } from "../protocol/views.ts";

/**
 * The runs that a run was forked from, and all that were forked from any of those, itself too. One that continues
 * another has its words and not its files: it begins a family of its own.
 */
export function familyOf(runs: readonly Pick<RunView, "run" | "parent">[], run: RunId): readonly RunId[] {
  const parents = new Map(
    runs.map(({ run: id, parent }) => [id, parent?.checkpoint === undefined ? undefined : parent.run]),
  );
  const root = (id: RunId): RunId => {
    const seen = new Set<RunId>();
    let at = id;
    for (let up = parents.get(at); up !== undefined && !seen.has(up); up = parents.get(at)) {
      seen.add(at);
      at = up;
    }
    return at;
  };
  const own = root(run);
  return [...new Set([run, ...parents.keys()])].filter((id) => root(id) === own);
}
