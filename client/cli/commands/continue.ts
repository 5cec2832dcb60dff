import { CaissonError } from "../../../daemon/protocol/errors.ts";
import { ENDED, type RunView } from "../../../daemon/protocol/views.ts";
import type { CaissonClient } from "../../api/client.ts";
import { type Command, writeJson } from "../command.ts";
import { badInput, EXIT, type ExitStatus } from "../exit.ts";
import { follow } from "../follow.ts";
import { runNamed } from "../names.ts";
import { line, span } from "../render/line.ts";
import { shortRun } from "../render/quantities.ts";
import type { RunOptions } from "./run-options.ts";

/** What `--continue RUN` comes to: the run itself goes on, or a new one takes up its words. */
export type Continued =
  | { readonly kind: "went-on"; readonly status: ExitStatus }
  | { readonly kind: "sequel"; readonly continues: string };

/**
 * A run that has not ended gets the task as a message and goes on. Of an ended one the new run gets the words; the
 * files are the person's own, and that is said.
 */
export async function continueRun(
  command: Command,
  client: CaissonClient,
  task: string,
  name: string,
  options: RunOptions,
): Promise<Continued> {
  const view = await client.run(await runNamed(client, name));
  if (!ENDED.has(view.status) && (await told(client, view, task, options)))
    return { kind: "went-on", status: await goOn(command, client, view, options) };
  const short = shortRun(view.run);
  command.terminal.remark([
    line(
      0,
      span(
        `Run ${short} has ended; a new run takes up its words. The files are those of your folder as it is now: \`caisson apply ${short}\` first if you want what it changed.`,
        "dim",
      ),
    ),
  ]);
  return { kind: "sequel", continues: view.run };
}

/** False when the run has ended meanwhile. @throws CliError when something is asked that can't be changed any more */
async function told(
  client: CaissonClient,
  { run, status }: RunView,
  task: string,
  options: RunOptions,
): Promise<boolean> {
  const fixed = fixedOptions(options);
  if (fixed.length > 0)
    throw badInput(
      `Run ${shortRun(run)} has not ended (${status}): it goes on as it is, so leave out ${fixed.join(", ")}. Nothing was sent.`,
    );
  try {
    await client.message(run, task);
    return true;
  } catch (error) {
    if (error instanceof CaissonError && error.code === "run_ended") return false;
    throw error;
  }
}

function fixedOptions({ workspace, policy, image, model, accept, limit, yesTo }: RunOptions): string[] {
  const given = { workspace, policy, image, model };
  return [
    ...Object.entries(given).flatMap(([name, value]) => (value === undefined ? [] : [`--${name}`])),
    ...(accept.length > 0 ? ["--accept"] : []),
    ...(limit.length > 0 ? ["--limit"] : []),
    ...(yesTo.length > 0 ? ["--yes-to"] : []),
  ];
}

async function goOn(
  command: Command,
  client: CaissonClient,
  { run }: RunView,
  options: RunOptions,
): Promise<ExitStatus> {
  process.exitCode = EXIT.failed;
  if (!options.detach) return follow(command, client, run, { after: 0, unanswerable: "leave" });
  const view = await client.run(run);
  if (command.json) await writeJson(command, { run, seq: view.seq });
  else command.terminal.say([line(0, `Told; run ${run} goes on in the daemon.`)]);
  return EXIT.done;
}
