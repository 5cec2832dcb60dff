import { ApprovalId, RunId } from "../../daemon/protocol/ids.ts";
import type { CaissonClient } from "../api/client.ts";
import { badInput, type CliError } from "./exit.ts";

/** Fewer characters of an id name too many runs by chance. */
const SHORTEST = 4;
/** Runs looked through for a short name; an older one is named in full. */
const LOOKED_THROUGH = 5_000;
const PAGE = 500;
const LISTED = 10;

/** Those of `ids` that `name` begins or ends. */
export function matching(name: string, ids: readonly string[]): string[] {
  const exact = ids.filter((id) => id === name);
  if (exact.length > 0 || name.length < SHORTEST) return exact;
  return ids.filter((id) => id.startsWith(name) || id.endsWith(name));
}

function ambiguous(name: string, what: string, ids: readonly string[]): CliError {
  const more = ids.length > LISTED ? `\n  … and ${ids.length - LISTED} more` : "";
  const listed = ids.slice(0, LISTED).map((id) => `\n  ${id}`);
  return badInput(
    `"${name}" names ${ids.length} ${what}s; write more of the one you mean:${listed.join("")}${more}`,
  );
}

function unknown(name: string, what: string, list: string): CliError {
  const short = name.length < SHORTEST ? ` A short name has at least ${SHORTEST} characters.` : "";
  return badInput(`There is no ${what} "${name}".${short} \`${list}\` lists them.`);
}

/** @throws CliError unless exactly one of `ids` is meant */
export function chosen(name: string, ids: readonly string[], what: string, list: string): string {
  const found = matching(name, ids);
  if (found.length > 1) throw ambiguous(name, what, found);
  if (found[0] === undefined) throw unknown(name, what, list);
  return found[0];
}

/** A run by its id, by any beginning or end of it that no other run shares, or `last`. */
export async function runNamed(client: CaissonClient, name: string): Promise<RunId> {
  if (RunId.safeParse(name).success) return name;
  const ids: string[] = [];
  for (let cursor: string | undefined; ids.length < LOOKED_THROUGH; ) {
    const { items, next } = await client.runs({
      limit: name === "last" ? 1 : PAGE,
      ...(cursor !== undefined && { cursor }),
    });
    ids.push(...items.map(({ run }) => run));
    if (name === "last" || next === undefined) break;
    cursor = next;
  }
  if (name !== "last") return chosen(name, ids, "run", "caisson ls");
  if (ids[0] === undefined) throw badInput("There is no run yet. `caisson run` starts one.");
  return ids[0];
}

/** An approval by its id, or any beginning or end of it that no other approval shares. */
export async function approvalNamed(client: CaissonClient, name: string): Promise<ApprovalId> {
  if (ApprovalId.safeParse(name).success) return name;
  const { items } = await client.approvals();
  const open = items.filter(({ decision }) => decision === undefined).map(({ id }) => id);
  const preferred = matching(name, open);
  if (preferred.length === 1 && preferred[0] !== undefined) return preferred[0];
  return chosen(
    name,
    items.map(({ id }) => id),
    "approval",
    "caisson approvals",
  );
}
