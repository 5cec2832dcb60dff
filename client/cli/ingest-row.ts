import type { EventType } from "../../daemon/protocol/events.ts";
import type { Progress } from "./progress.ts";
import { counted, duration } from "./render/quantities.ts";

const TICK_MS = 250;

/** Tells that the workspace is on its way into the sandbox, while it is. */
export interface IngestRow {
  /** Takes the row away, for the event is about to be told, and knows from it whether the row comes again. */
  see(type: EventType): void;
  stop(): void;
}

/** For a run whose workspace has so many files; the owner stops it. */
export function openIngestRow(
  files: number,
  progress: Progress,
  now: () => number = () => performance.now(),
): IngestRow {
  let timer: NodeJS.Timeout | undefined;
  const stop = () => {
    clearInterval(timer);
    timer = undefined;
    progress.clear();
  };
  return {
    see: (type) => {
      stop();
      if (type !== "sandbox.started") return;
      const began = now();
      timer = setInterval(
        () =>
          progress.show(
            `Copying ${counted(files, "file")} into the sandbox … ${duration(Math.floor(now() - began))}`,
          ),
        TICK_MS,
      );
      timer.unref();
    },
    stop,
  };
}
