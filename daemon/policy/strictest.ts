import type { Decision } from "../protocol/verdicts.ts";
import type { Finding } from "./finding.ts";

const RANK: Readonly<Record<Decision, number>> = { allow: 0, ask: 1, deny: 2 };

/** By layer, uppermost first, then by place in the document. */
export function byPlace(one: Finding, other: Finding): number {
  return one.layerIndex - other.layerIndex || one.position - other.position;
}

/** The strictest finding; among equals the first in the file of the uppermost layer. */
export function strictest(findings: readonly Finding[]): Finding | undefined {
  let winner: Finding | undefined;
  for (const finding of findings) {
    const rank = winner === undefined ? 1 : RANK[finding.decision] - RANK[winner.decision];
    if (rank > 0 || (winner !== undefined && rank === 0 && byPlace(finding, winner) < 0)) winner = finding;
  }
  return winner;
}
