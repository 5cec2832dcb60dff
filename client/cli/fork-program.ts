import { type Add, collect, type Start } from "./add.ts";

const AT = [
  "--at <checkpoint|seq>",
  "a checkpoint's id or name (c0: the workspace as it was ingested), or a seq: the checkpoint at or before that",
] as const;

/** `fork` and `race`. */
export function addForks(add: Add, start: Start): void {
  add(
    "fork <run>",
    "A new run that goes on from a checkpoint of a run, which may have ended: its files, shell and conversation together. The run itself stays as it is.",
  )
    .summary("a new run from a checkpoint of a run")
    .requiredOption(...AT)
    .option("--task <text>", "another task; the agent is told of it behind the conversation so far")
    .option("--model <model>", "another model's id, or script:FILE, which begins at its first turn")
    .option("--detach", "leave when the run is made, as with --json")
    .action((name: string, options) =>
      start(async (command) => (await import("./commands/fork.ts")).fork(command, name, options), options),
    );
  add(
    "race <run>",
    "Forks several runs at one checkpoint, runs them side by side and keeps the best: passed comes first, then the lower score, then the lower cost, then the smaller diff. What can win no more is cancelled. All of them together spend no more than the run's own limits leave.",
  )
    .summary("several forks side by side, of which the best is kept")
    .requiredOption(...AT)
    .requiredOption("--branches <n>", "how many, 2 to 64")
    .option("--task-file <file>", "a task for the branches in turn; may be repeated", collect, [])
    .option("--model <model>", "a model for the branches in turn; may be repeated", collect, [])
    .option(
      "--score <cmd>",
      "prints a number, lower is better, at the end of each of a branch's turns: no more than what the branch can still end with",
    )
    .option("--detach", "leave when the branches are made")
    .action((name: string, options) =>
      start(async (command) => (await import("./commands/race.ts")).race(command, name, options), options),
    );
}
