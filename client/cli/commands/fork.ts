import type { z } from "zod";
import type { ForkRun } from "../../../daemon/protocol/commands.ts";
import { checkpointNamed } from "../checkpoint-names.ts";
import { type Command, connect, writeJson } from "../command.ts";
import { EXIT, type ExitStatus } from "../exit.ts";
import { follow } from "../follow.ts";
import { runNamed } from "../names.ts";
import { line, span } from "../render/line.ts";
import { shortRun } from "../render/quantities.ts";
import { modelChoice } from "./run.ts";

export interface ForkOptions {
  readonly at: string;
  readonly task?: string;
  readonly model?: string;
  readonly detach?: boolean;
}

/**
 * `caisson fork RUN --at CHECKPOINT|SEQ`: a new run from there, followed as one that was just submitted. With
 * `--json` it is not followed: what is printed is the daemon's answer.
 */
export async function fork(command: Command, name: string, options: ForkOptions): Promise<ExitStatus> {
  const { task, model } = options;
  const other: Omit<z.input<typeof ForkRun>, "at"> = {
    ...(task === undefined ? {} : { task }),
    ...(model === undefined ? {} : { model: await modelChoice(command.settings.folder, model) }),
  };
  const client = await connect(command);
  const parent = await runNamed(client, name);
  const at = await checkpointNamed(client, parent, options.at);
  const accepted = await client.fork(parent, { at, ...other });
  const { terminal } = command;
  // Should whoever reads our output leave early, the run's success is not known.
  process.exitCode = EXIT.failed;
  if (command.json) {
    await writeJson(command, accepted);
    return EXIT.done;
  }
  const where = `Run ${accepted.run} goes on from ${shortRun(parent)} at ${options.at}.`;
  const told = [
    line(0, where),
    line(2, `caisson watch ${shortRun(accepted.run)}`, span("   see it live", "dim")),
  ];
  if (!options.detach) {
    terminal.remark(told.slice(0, 1));
    return follow(command, client, accepted.run, { after: 0, unanswerable: "leave" });
  }
  terminal.say(told);
  return EXIT.done;
}
