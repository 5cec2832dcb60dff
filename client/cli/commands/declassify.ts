import { Confidentiality, Integrity } from "../../../daemon/protocol/labels.ts";
import { type Command, connect, writeJson } from "../command.ts";
import { badInput, EXIT, type ExitStatus } from "../exit.ts";
import { runNamed } from "../names.ts";
import { line, span } from "../render/line.ts";
import { shortRun } from "../render/quantities.ts";

/** `caisson declassify RUN --integrity trusted | --confidentiality internal --reason R`: only a person lowers labels. */
export async function declassify(
  command: Command,
  name: string,
  options: { readonly integrity?: string; readonly confidentiality?: string; readonly reason: string },
): Promise<ExitStatus> {
  const integrity = oneOf(Integrity, "--integrity", options.integrity);
  const confidentiality = oneOf(Confidentiality, "--confidentiality", options.confidentiality);
  if (integrity === undefined && confidentiality === undefined)
    throw badInput("Say what is to be lowered: --integrity trusted, --confidentiality internal, or both.");
  if (options.reason.trim() === "") throw badInput("The reason is empty. Nothing was changed.");
  const client = await connect(command);
  const answer = await client.declassify(await runNamed(client, name), {
    ...(integrity === undefined ? {} : { integrity }),
    ...(confidentiality === undefined ? {} : { confidentiality }),
    reason: options.reason,
  });
  if (command.json) {
    await writeJson(command, answer);
    return EXIT.done;
  }
  const labels = [integrity, confidentiality].filter((label) => label !== undefined).join(", ");
  command.terminal.say([
    line(0, `What the run holds is ${labels} from here on, by your word: event ${answer.seq}.`),
    line(2, span("What it reads from now on raises its labels again.", "dim")),
    line(2, `caisson show ${shortRun(answer.run)}`),
  ]);
  return EXIT.done;
}

function oneOf<T extends string>(
  words: { readonly options: readonly T[] },
  option: string,
  given: string | undefined,
): T | undefined {
  const found = words.options.find((one) => one === given);
  if (given !== undefined && found === undefined)
    throw badInput(`${option} is one of ${words.options.join(", ")}, not ${JSON.stringify(given)}.`);
  return found;
}
