import { ORDINARY } from "../protocol/labels.ts";
import type { PolicyHistory } from "./port.ts";

/** Of a run that has done nothing yet. */
export const NOTHING_DONE: PolicyHistory = { labels: ORDINARY, externalEffect: false, done: () => [] };
