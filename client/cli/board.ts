import { type Line, type Paper, painted } from "./render/line.ts";

/** Milliseconds between two looks that a person can tell apart. */
const PACE_MS = 100;

/** Rows on a terminal that are written over each time. */
export interface Board {
  /** Shows the rows, a moment later if some were shown just now. */
  show(rows: () => readonly Line[]): void;
  /** Takes the rows away; before anything else is written there. */
  clear(): void;
}

const SILENT: Board = { show: () => undefined, clear: () => undefined };

/** On a stream that is no terminal, or one that can't write over rows, nothing is ever shown. */
export function openBoard(
  stream: Pick<NodeJS.WriteStream, "isTTY" | "rows" | "write">,
  env: NodeJS.ProcessEnv,
  paper: () => Paper,
): Board {
  if (stream.isTTY !== true || env.TERM === "dumb") return SILENT;
  let shown = 0;
  let due: NodeJS.Timeout | undefined;
  const erase = () => (shown > 0 ? `\x1b[${shown}A\r\x1b[J` : "");
  const draw = (rows: readonly Line[]) => {
    // Rows that have left the screen can't be written over.
    const fit = rows.slice(0, Math.max(1, (stream.rows || 24) - 1));
    stream.write(erase() + painted(fit, paper()));
    shown = fit.length;
  };
  return {
    show: (rows) => {
      due ??= setTimeout(() => {
        due = undefined;
        draw(rows());
      }, PACE_MS);
    },
    clear: () => {
      clearTimeout(due);
      due = undefined;
      stream.write(erase());
      shown = 0;
    },
  };
}
