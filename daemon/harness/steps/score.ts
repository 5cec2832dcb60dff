import { hydrate } from "../../journal/hydrate.ts";
import type { LiveRun } from "../live-run.ts";
import { runCheck } from "./acceptance.ts";

/** A number as a program prints it, with nothing else on its line. */
const NUMBER = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i;

/** Scores a branch of a race at a turn's end: its command runs as acceptance commands do. */
export async function measureScore(run: LiveRun, turn: number): Promise<void> {
  const command = String(await hydrate(run.state.submitted?.data.score ?? "", run.deps.blobs));
  const { check, printed } = await run.checkpoints.beforeChange(() =>
    runCheck(run, command, `score.${turn}`),
  );
  if (run.signal.aborted) return;
  const { ok, verdict, output, durationMs } = check;
  const score = ok ? scoreIn(printed) : undefined;
  await run.commit("written", () => [
    {
      type: "score.measured",
      data: { turn, verdict, output, durationMs, ...(score === undefined ? {} : { score }) },
    },
  ]);
}

/** The last line that is not empty, if it is a number. */
function scoreIn(output: string): number | undefined {
  const last = output.trimEnd().split("\n").at(-1)?.trim() ?? "";
  return NUMBER.test(last) ? Number(last) : undefined;
}
