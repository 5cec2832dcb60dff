import type { CheckpointStorageView } from "../../../daemon/protocol/gc.ts";
import type { RunId } from "../../../daemon/protocol/ids.ts";
import type { RunView } from "../../../daemon/protocol/views.ts";
import type { CaissonClient } from "../../api/client.ts";
import { type Command, connect, writeJson } from "../command.ts";
import { EXIT, type ExitStatus } from "../exit.ts";
import { runNamed } from "../names.ts";
import { type CheckpointTree, checkpointLines } from "../render/checkpoints.ts";
import { type Line, line, span } from "../render/line.ts";
import { bytes, counted } from "../render/quantities.ts";

/** The workspace is ingested before the first turn: events of a journal among which that stands. */
const FIRST_EVENTS = 100;

/** `caisson checkpoints RUN`: the tree of its branches. */
export async function checkpoints(command: Command, name: string): Promise<ExitStatus> {
  const client = await connect(command);
  const run = await runNamed(client, name);
  const list = await client.checkpoints(run);
  if (command.json) await writeJson(command, list);
  else {
    const tree = await treeOf(client, await client.run(run), list.items);
    const lines = checkpointLines(tree, command.terminal.paper.columns, Date.now());
    command.terminal.say([...lines, ...storageLines(list.storage)]);
  }
  return EXIT.done;
}

/** What the checkpoints of all runs take; what to do when room is short. */
export function storageLines(storage: CheckpointStorageView | undefined): Line[] {
  if (storage === undefined) return [];
  const { images, bytes: used, budgetBytes, notice } = storage;
  if (notice !== undefined) return [line(0, span(notice, "warn"))];
  const sum = `all runs: ${counted(images, "checkpoint")}, ${bytes(used)} on disk of at most ${bytes(budgetBytes)}`;
  return [line(0, span(sum, "dim"))];
}

/** A run's checkpoints, and what their root is. */
export async function treeOf(
  client: CaissonClient,
  run: RunView,
  items: CheckpointTree["checkpoints"],
): Promise<CheckpointTree> {
  const ingested = await ingestedOf(client, run.run);
  return { run, checkpoints: items, ...(ingested ? { ingested } : {}) };
}

async function ingestedOf(client: CaissonClient, run: RunId): Promise<CheckpointTree["ingested"]> {
  const { items } = await client.eventPage(run, { limit: FIRST_EVENTS });
  for (const { type, data, seq, at } of items)
    if (type === "workspace.ingested") return { files: data.files, bytes: data.bytes, seq, at };
  return undefined;
}
