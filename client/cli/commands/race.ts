import { resolve } from "node:path";
import type { z } from "zod";
import type { Raced, RaceRun } from "../../../daemon/protocol/commands.ts";
import type { EventData } from "../../../daemon/protocol/events.ts";
import type { RunId } from "../../../daemon/protocol/ids.ts";
import type { CaissonClient } from "../../api/client.ts";
import { openBoard } from "../board.ts";
import { checkpointNamed } from "../checkpoint-names.ts";
import { type Command, connect, writeJson } from "../command.ts";
import { badInput, EXIT, type ExitStatus } from "../exit.ts";
import { runNamed } from "../names.ts";
import { line, span } from "../render/line.ts";
import { shortApproval, shortRun } from "../render/quantities.ts";
import { type Lane, laneAfter, laneLines, laneOf, raceLines } from "../render/race.ts";
import { modelChoice, readDocument } from "./run.ts";
import { wholeNumber } from "./runs.ts";

export interface RaceOptions {
  readonly at: string;
  readonly branches: string;
  readonly taskFile: readonly string[];
  readonly model: readonly string[];
  readonly score?: string;
  readonly detach?: boolean;
}

type Body = Omit<z.input<typeof RaceRun>, "at">;

/** `caisson race RUN --at CHECKPOINT|SEQ --branches N` */
export async function race(command: Command, name: string, options: RaceOptions): Promise<ExitStatus> {
  const body = await bodyOf(command, options);
  const client = await connect(command);
  const from = await runNamed(client, name);
  const at = await checkpointNamed(client, from, options.at);
  const raced = await client.race(from, { at, ...body });
  // Should whoever reads our output leave early, the race's outcome is not known.
  process.exitCode = EXIT.failed;
  const told = `Race ${raced.race} of ${shortRun(from)}: ${raced.branches.length} branches from ${options.at}.`;
  if (options.detach) {
    if (command.json) await writeJson(command, raced);
    else command.terminal.say([line(0, told), line(2, `caisson watch ${shortRun(raced.branches[0] ?? "")}`)]);
    return EXIT.done;
  }
  command.terminal.remark([line(0, told)]);
  return new Watching(command, client, raced).toTheEnd();
}

async function bodyOf({ settings }: Command, options: RaceOptions): Promise<Body> {
  const { taskFile, model, score } = options;
  const branches = wholeNumber(options.branches, "--branches", 2);
  for (const [word, given] of [
    ["--task-file", taskFile],
    ["--model", model],
  ] as const)
    if (given.length > branches)
      throw badInput(`${word} is given ${given.length} times for ${branches} branches; nothing was started.`);
  const folder = settings.folder;
  const tasks = await Promise.all(taskFile.map((path) => readDocument(resolve(folder, path), "task")));
  const models = await Promise.all(model.map((one) => modelChoice(folder, one)));
  return {
    branches,
    ...(tasks.length > 0 ? { tasks } : {}),
    ...(models.length > 0 ? { models } : {}),
    ...(score === undefined ? {} : { score }),
  };
}

/** Tells how the branches of a race come along, until it has ended or is left. */
class Watching {
  readonly #command: Command;
  readonly #client: CaissonClient;
  readonly #raced: Raced;
  readonly #lanes: Map<RunId, Lane>;
  readonly #leaving = new AbortController();
  readonly #board;

  constructor(command: Command, client: CaissonClient, raced: Raced) {
    this.#command = command;
    this.#client = client;
    this.#raced = raced;
    this.#lanes = new Map(raced.branches.map((run) => [run, laneOf(run)]));
    const { terminal, settings } = command;
    this.#board = openBoard(
      process.stderr,
      terminal.onScreen ? settings.env : { TERM: "dumb" },
      () => terminal.paper,
    );
  }

  async toTheEnd(): Promise<ExitStatus> {
    const left = () => this.#leaving.abort();
    process.on("SIGINT", left);
    try {
      for (const run of this.#lanes.keys()) void this.#follow(run);
      const ended = await this.#ended();
      this.#leaving.abort();
      this.#board.clear();
      return ended ? await this.#tell(ended) : this.#left();
    } finally {
      process.off("SIGINT", left);
      this.#board.clear();
    }
  }

  /** Undefined: whoever watches has left. */
  async #ended(): Promise<EventData<"race.ended"> | undefined> {
    const { run, race, seq } = this.#raced;
    for await (const seen of this.#client.watch(run, seq, { signal: this.#leaving.signal }))
      if (seen.kind === "event" && seen.event.type === "race.ended" && seen.event.data.race === race)
        return seen.event.data;
    return undefined;
  }

  async #follow(run: RunId): Promise<void> {
    try {
      for await (const seen of this.#client.watch(run, 0, { signal: this.#leaving.signal }))
        if (seen.kind === "event") this.#see(laneAfter(this.#lanes.get(run) ?? laneOf(run), seen.event));
    } catch {
      // One that never began has no journal: the race's end says why.
    }
  }

  #see(lane: Lane): void {
    const before = this.#lanes.get(lane.run);
    this.#lanes.set(lane.run, lane);
    this.#board.show(() => laneLines([...this.#lanes.values()]));
    if (this.#command.terminal.onScreen || before?.status === lane.status) return;
    const asks = lane.asks === undefined ? "" : `: caisson approve ${shortApproval(lane.asks)}`;
    this.#command.terminal.remark([line(0, `${shortRun(lane.run)} ${lane.status}${asks}`)]);
  }

  async #tell(ended: EventData<"race.ended">): Promise<ExitStatus> {
    const lines = raceLines(ended, this.#raced.branches);
    if (this.#command.json) {
      await writeJson(this.#command, ended);
      this.#command.terminal.remark(lines);
    } else this.#command.terminal.say(lines);
    return ended.winner === undefined ? EXIT.failed : EXIT.done;
  }

  #left(): ExitStatus {
    const { run, branches } = this.#raced;
    this.#command.terminal.remark([
      line(0, span("Left; the daemon goes on with the race.", "warn")),
      line(2, `caisson events ${shortRun(run)}`, span("   its end is told there, as race.ended", "dim")),
      line(2, `caisson cancel ${shortRun(branches[0] ?? "")}`, span("   ends one branch", "dim")),
    ]);
    return EXIT.interrupted;
  }
}
