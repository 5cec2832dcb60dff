import type { RunId } from "../../../daemon/protocol/ids.ts";
import { checkpointNamed } from "../checkpoint-names.ts";
import { type Command, connect, writeJson } from "../command.ts";
import { EXIT, type ExitStatus } from "../exit.ts";
import { runNamed } from "../names.ts";
import { type Line, line, span } from "../render/line.ts";
import { bytes, counted, shortRun } from "../render/quantities.ts";
import { type TakenBack, takenBack } from "../taken-back.ts";

/** `caisson checkpoint RUN`: one more, now or at the end of the turn, whatever the settings are. */
export async function checkpoint(
  command: Command,
  name: string,
  options: { readonly name?: string },
): Promise<ExitStatus> {
  const client = await connect(command);
  const run = await runNamed(client, name);
  const answer = await client.takeCheckpoint(run, options.name === undefined ? {} : { name: options.name });
  if (command.json) await writeJson(command, answer);
  else command.terminal.say(checkpointLines(run, answer));
  return EXIT.done;
}

type Answer = Awaited<ReturnType<Awaited<ReturnType<typeof connect>>["takeCheckpoint"]>>;

export function checkpointLines(run: RunId, answer: Answer): Line[] {
  const list = line(2, `caisson checkpoints ${shortRun(run)}`);
  if (!("id" in answer))
    return [line(0, "The checkpoint is taken at the end of this turn; it is in the journal then."), list];
  const named = answer.name === undefined ? "" : ` "${answer.name}"`;
  const what = ` · event ${answer.seq}, ${bytes(answer.bytes)}`;
  return [line(0, span("✓ ", "good"), `checkpoint ${answer.id}${named}`, span(what, "dim")), list];
}

/** `caisson rewind RUN --to CHECKPOINT|SEQ` */
export async function rewind(
  command: Command,
  name: string,
  options: { readonly to: string },
): Promise<ExitStatus> {
  const client = await connect(command);
  const run = await runNamed(client, name);
  const answer = await client.rewind(run, await checkpointNamed(client, run, options.to));
  if (command.json) {
    await writeJson(command, answer);
    return EXIT.done;
  }
  const [event] = (await client.eventPage(run, { after: answer.seq - 1, limit: 1 })).items;
  if (event?.type !== "run.rewound") throw new Error(`event ${answer.seq} is no rewind`);
  const { checkpoint: id, to } = event.data;
  const back = await takenBack(client.events(run, to), answer.seq);
  const rests = (await client.run(run)).status === "interrupted";
  command.terminal.say(rewoundLines(run, { id, to, seq: answer.seq, rests }, back));
  return EXIT.done;
}

interface Rewound {
  readonly id: string;
  readonly to: number;
  /** Of the rewind. */
  readonly seq: number;
  /** Somebody had interrupted the run: it stays so. */
  readonly rests: boolean;
}

export function rewoundLines(
  run: RunId,
  { id, to, seq, rests }: Rewound,
  { turns, actions, sent, messages }: TakenBack,
): Line[] {
  const short = shortRun(run);
  const back = `${counted(turns, "turn")} and ${counted(actions, "action")}`;
  const gone = turns + actions === 0 ? "nothing had to be taken back" : `taken back: ${back}`;
  const said = messages > 0 ? `, and what you said (${counted(messages, "message")})` : "";
  return [
    line(
      0,
      span("↺ ", "warn"),
      `Run ${short} ${rests ? "stands at" : "goes on from"} ${id} (event ${to}); ${gone}.`,
    ),
    ...(sent > 0
      ? [line(2, span(`${counted(sent, "request")} had left the sandbox: what they did stays done.`, "warn"))]
      : []),
    line(
      2,
      span(`What was spent and approved stays${said}. Nothing is erased: the journal has it all.`, "dim"),
    ),
    line(2, rests ? `caisson resume ${short}` : `caisson watch ${short} --after ${seq - 1}`),
  ];
}
