import { CheckpointId, type RunId, type Seq } from "../../daemon/protocol/ids.ts";
import type { CaissonClient } from "../api/client.ts";
import { badInput } from "./exit.ts";

/**
 * A checkpoint as a person writes it: its id, the name it was given (the newest of that name), or a seq, which means
 * the checkpoint at or before it.
 * @throws CliError when it can be none of these; whether it is there, the daemon says
 */
export async function checkpointNamed(
  client: CaissonClient,
  run: RunId,
  given: string,
): Promise<CheckpointId | Seq> {
  if (CheckpointId.safeParse(given).success) return given;
  if (/^\d{1,15}$/.test(given)) return Number(given);
  const { items } = await client.checkpoints(run);
  const named = items.filter(({ name }) => name === given);
  const found = named.findLast(({ reclaimed }) => !reclaimed) ?? named.at(-1);
  if (found) return found.id;
  throw badInput(
    `The run has no checkpoint ${JSON.stringify(given)}: write an id such as c3, its name, or a seq. \`caisson checkpoints\` lists them.`,
  );
}
