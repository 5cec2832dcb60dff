import { createHash } from "node:crypto";
import type { ApprovalId } from "../../daemon/protocol/ids.ts";
import type { ApprovalView } from "../../daemon/protocol/views.ts";
import { shortApproval } from "./render/quantities.ts";

/** Approvals that were asked together and alike, and still wait; most hold one. */
export type ApprovalGroup = readonly [ApprovalView, ...ApprovalView[]];

/** The approvals that wait, those alike as one, in the order in which they came. */
export function groupsOf(items: readonly ApprovalView[]): ApprovalGroup[] {
  const groups = new Map<string, [ApprovalView, ...ApprovalView[]]>();
  for (const one of items) {
    if (one.decision) continue;
    const key = `${one.run} ${one.alike?.join(" ") ?? one.id}`;
    const group = groups.get(key);
    if (group) group.push(one);
    else groups.set(key, [one]);
  }
  return [...groups.values()];
}

/**
 * What a person writes to answer: one approval's short id, or a name made from exactly these approvals. So an
 * answer to what was shown never reaches what was not: another member, or one less, is another name.
 */
export function handleOf(ids: readonly ApprovalId[]): string {
  const [first = ""] = ids;
  if (ids.length === 1) return shortApproval(first);
  return `g${createHash("sha256")
    .update([...ids].sort().join(" "))
    .digest("hex")
    .slice(0, 10)}`;
}

/** Whether a person's word is a group's name. */
export function isGroupName(name: string): boolean {
  return /^g[0-9a-f]{10}$/.test(name);
}
