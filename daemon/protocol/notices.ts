import type { RunId } from "./ids.ts";

/**
 * What a daemon knows of a run and its journal can't say, since nothing can be written to it now.
 * `waiting`: the run waits for something outside and goes on by itself; `stopped`: this daemon has given it up.
 */
export type Notice =
  | {
      readonly kind: "waiting";
      /** For a `secret` until a daemon is started that has it. */
      readonly waitingFor: "disk" | "engine" | "sandbox" | "secret";
      readonly detail: string;
    }
  | { readonly kind: "stopped"; readonly detail: string };

/** What runs' journals can't say, as long as it holds. */
export interface NoticeBoard {
  of(run: RunId): Notice | undefined;
  /** Calls `listener` at every change; undefined: the notice holds no more. Returns the unsubscribe function. */
  subscribe(listener: (run: RunId, notice: Notice | undefined) => void): () => void;
}
