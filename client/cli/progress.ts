import { harmlessLine } from "./harmless.ts";
import { cut } from "./render/width.ts";

/** Milliseconds between two rows that a person sees. */
const PACE_MS = 100;
const ERASE = "\r\x1b[K";
const NARROWEST = 20;

/** One row on a terminal that tells how far something has come and is written over each time. */
export interface Progress {
  /** Shows a row, unless one was shown just now. */
  show(text: string): void;
  /** Takes the row away; before anything else is written there. */
  clear(): void;
}

const SILENT: Progress = { show: () => undefined, clear: () => undefined };

/** On a stream that is no terminal, or one that can't write over a row, nothing is ever shown. */
export function openProgress(
  stream: Pick<NodeJS.WriteStream, "isTTY" | "columns" | "write">,
  env: NodeJS.ProcessEnv,
  now: () => number = () => performance.now(),
): Progress {
  if (stream.isTTY !== true || env.TERM === "dumb") return SILENT;
  let shownAt = Number.NEGATIVE_INFINITY;
  let shown = false;
  return {
    show: (text) => {
      if (now() - shownAt < PACE_MS) return;
      shownAt = now();
      shown = true;
      // A full last column would begin a new row.
      const width = Math.max(NARROWEST, stream.columns || 80) - 1;
      stream.write(`${ERASE}${cut(harmlessLine(text), width)}`);
    },
    clear: () => {
      if (shown) stream.write(ERASE);
      shown = false;
      shownAt = Number.NEGATIVE_INFINITY;
    },
  };
}
