import type { EventOf } from "../../../daemon/protocol/events.ts";
import { ActionId, type RunId } from "../../../daemon/protocol/ids.ts";
import { previewOf } from "../../../daemon/protocol/text.ts";
import type { CaissonClient } from "../../api/client.ts";
import { type Command, connect, writeJson } from "../command.ts";
import { badInput, CliError, EXIT, type ExitStatus } from "../exit.ts";
import { runNamed } from "../names.ts";
import { line, paragraphs, span } from "../render/line.ts";
import { shortRun } from "../render/quantities.ts";

/** `caisson undo RUN ACTION`: waits until it is done, or could not be. */
export async function undo(command: Command, name: string, action: string): Promise<ExitStatus> {
  if (!ActionId.safeParse(action).success)
    throw badInput(
      `${JSON.stringify(action)} is no action: write such as a4, as \`caisson events\` shows it.`,
    );
  const client = await connect(command);
  const run = await runNamed(client, name);
  const started = await client.undo(run, action);
  const outcome = await outcomeOf(client, run, started.action, started.seq);
  if (command.json) {
    await writeJson(command, outcome);
    return outcome.type === "action.finished" && outcome.data.ok ? EXIT.done : EXIT.failed;
  }
  if (outcome.type === "action.unknown")
    throw new CliError(EXIT.failed, `What came of it is not known: ${outcome.data.reason}`);
  const said = previewOf(outcome.data.output);
  if (!outcome.data.ok) throw new CliError(EXIT.failed, said || `${action} could not be taken back.`);
  const [first = "", ...rest] = said.trimEnd().split("\n");
  command.terminal.say([
    line(0, span("✓ ", "good"), first),
    ...paragraphs(0, rest.join("\n")),
    line(
      2,
      span(`It is ${started.action} in the journal: caisson undo ${shortRun(run)} ${started.action}`, "dim"),
    ),
  ]);
  return EXIT.done;
}

type Outcome = EventOf<"action.finished" | "action.unknown">;

async function outcomeOf(
  client: CaissonClient,
  run: RunId,
  action: ActionId,
  after: number,
): Promise<Outcome> {
  for await (const watched of client.watch(run, after)) {
    if (watched.kind !== "event") continue;
    const { event } = watched;
    if (event.type !== "action.finished" && event.type !== "action.unknown") continue;
    if (event.data.action === action) return event;
  }
  throw new CliError(EXIT.unreachable, "The daemon left before it was told what came of it.");
}
