import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { previewOf } from "../../../daemon/protocol/text.ts";
import { CaissonClient } from "../../api/client.ts";
import type { Command } from "../command.ts";
import { EXIT, type ExitStatus } from "../exit.ts";
import { harmlessLine } from "../harmless.ts";
import { runNamed } from "../names.ts";
import { packageFolder } from "../package.ts";
import { summaryOf } from "../render/action.ts";
import { shortApproval, shortRun } from "../render/quantities.ts";
import { readToken } from "../settings.ts";

/** A shell waits for the answer while a person has pressed a key, in milliseconds. */
const DEADLINE_MS = 1_000;
const RUNS = 50;
const WIDEST = 60;

/** `caisson __values KIND [RUN]`, for completion: one value a line, a tab, what it is. No daemon, no values; no errors. */
export async function values(command: Command, kind: string, of?: string): Promise<ExitStatus> {
  const found = await valuesOf(command, kind, of).catch(() => []);
  const lines = found.map(
    ([value, what]) => `${value}\t${harmlessLine(what).replaceAll(/\s+/g, " ").slice(0, WIDEST)}\n`,
  );
  await command.terminal.write(lines.join(""));
  return EXIT.done;
}

type Value = readonly [string, string];

async function valuesOf(command: Command, kind: string, of = "last"): Promise<Value[]> {
  if (kind === "policies") return policyNames();
  const { address } = command.settings;
  const token = await readToken(command.settings);
  const client = new CaissonClient({ address, token, signal: AbortSignal.timeout(DEADLINE_MS) });
  if (kind === "runs") {
    const { items } = await client.runs({ limit: RUNS });
    return items.map(({ run, status, task }) => [shortRun(run), `${status}, ${previewOf(task)}`]);
  }
  if (kind === "checkpoints") return checkpointsOf(client, of);
  if (kind !== "approvals") return [];
  const { items } = await client.approvals();
  return items
    .filter(
      ({ decision }) => decision === undefined || (decision.decision === "allow" && decision.for === "run"),
    )
    .map(({ id, tool, input }) => [shortApproval(id), `${tool} ${summaryOf(tool, input)}`]);
}

/** Those that can be gone back to, newest first; of `RUN:PATH` too. */
async function checkpointsOf(client: CaissonClient, of: string): Promise<Value[]> {
  const { items } = await client.checkpoints(await runNamed(client, of.split(":")[0] ?? of));
  return items
    .filter(({ reclaimed }) => !reclaimed)
    .reverse()
    .map(({ id, turn, name }) => [id, name ?? (turn === undefined ? "" : `after turn ${turn}`)]);
}

/** The ready ones, which come with the package. */
async function policyNames(): Promise<Value[]> {
  const files = await readdir(join(packageFolder(), "policies"));
  return files
    .filter((file) => file.endsWith(".yaml"))
    .map((file) => [file.slice(0, -".yaml".length), "ready policy"]);
}
