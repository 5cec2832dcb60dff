import { type Line, line } from "./line.ts";

const LISTED = 50;

/** The first fifty, and how many more there are. */
export function listed(lines: readonly Line[]): Line[] {
  const more = lines.length - LISTED;
  return more > 0 ? [...lines.slice(0, LISTED), line(2, `… and ${more} more`)] : [...lines];
}
