import { readFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { ORGANISATION_POLICY, PROJECT_POLICY } from "../../../daemon/protocol/policy-files.ts";
import type { EffectivePolicy, LayerText } from "../../../daemon/protocol/policy-layers.ts";
import type { PolicyExplanation } from "../../../daemon/protocol/views.ts";
import { type Command, writeJson } from "../command.ts";
import { ensureDaemon } from "../ensure-daemon.ts";
import { badInput, EXIT, type ExitStatus } from "../exit.ts";
import { VERDICT_STYLE, verdictLine } from "../render/events.ts";
import { EMPTY, type Line, line, span } from "../render/line.ts";
import type { Settings } from "../settings.ts";
import { readDocument } from "./run.ts";

export interface ExplainOptions {
  readonly exec?: string;
  readonly read?: string;
  readonly write?: string;
  readonly http?: string;
  readonly alone?: boolean;
}

/** `caisson policy explain FILE [--exec CMD | --read P | --write P | --http "METHOD URL"]` */
export async function explain(command: Command, file: string, options: ExplainOptions): Promise<ExitStatus> {
  const { exec, read, write, http } = options;
  const given = Object.entries({ exec, read, write, http }).filter(([, value]) => value !== undefined);
  if (given.length > 1)
    throw badInput(
      'Give one of --exec CMD, --read PATH, --write PATH and --http "METHOD URL", or none of them.',
    );
  const path = resolve(command.settings.folder, file);
  const text = await readDocument(path, "policy");
  const layers = options.alone ? [] : await layersAbove(command.settings, path);
  const body = { text, ...(layers.length > 0 ? { layers } : {}) };
  const client = await ensureDaemon(command);
  if (given.length === 0) {
    const effective = await client.effectivePolicy(body);
    if (command.json) await writeJson(command, effective);
    else command.terminal.say(effectiveLines(effective));
  } else {
    const verdict = await client.explainPolicy({ ...body, ...Object.fromEntries(given) });
    if (command.json) await writeJson(command, verdict);
    else command.terminal.say(explanationLines(verdict));
  }
  return EXIT.done;
}

/** The organisation's, and this folder's as its project's: as a run from here would be bound to them. */
async function layersAbove({ home, folder }: Settings, own: string): Promise<LayerText[]> {
  const places = [
    ["organisation", join(home, ORGANISATION_POLICY)],
    ["project", join(folder, PROJECT_POLICY)],
  ] as const;
  const found = places.map(async ([layer, path]): Promise<LayerText[]> => {
    if (path === own) return [];
    try {
      return [{ layer, text: await readFile(path, "utf8") }];
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException;
      if (code === "ENOENT" || code === "ENOTDIR") return [];
      throw badInput(`The ${layer}'s policy ${path} can't be read: ${message}. Leave it out with --alone.`);
    }
  });
  return (await Promise.all(found)).flat();
}

export function explanationLines({ verdict, rule, reason, layer, matched, held }: PolicyExplanation): Line[] {
  const matches = matched.map((one) =>
    line(2, `${one.decision.padEnd(5)} ${one.rule}`, span(` (${one.layer})`, "dim")),
  );
  return [
    { ...verdictLine(verdict, rule, ""), indent: 0 },
    line(0, reason),
    line(0, span(matches.length === 0 ? `no rule matched (${layer})` : "rules that matched:", "dim")),
    ...matches,
    ...(held === undefined ? [] : heldLines(held)),
  ];
}

const HELD_BY = { kernel: "kernel", "in-part": "in part", "file-tools": "file tools" } as const;

/** What the kernel lets commands at, and which rules for files hold where. */
function heldLines({ read, write, rules }: NonNullable<PolicyExplanation["held"]>): Line[] {
  const folders = (paths: readonly string[]) => (paths.length === 0 ? "nothing" : paths.join(", "));
  return [
    line(
      0,
      span("what commands may do by the kernel (with Landlock), beside what programs need to run:", "dim"),
    ),
    line(2, `read  ${folders(read)}`),
    line(2, `write ${folders(write)}`),
    ...(rules.length === 0 ? [] : [line(0, span("where rules for files hold:", "dim"))]),
    ...rules.map(({ rule, layer, decision, by, why }) =>
      line(
        2,
        `${HELD_BY[by].padEnd(10)} ${decision.padEnd(5)} ${rule}`,
        span(` (${layer})${why === undefined ? "" : `: ${why}`}`, "dim"),
      ),
    ),
  ];
}

export function effectiveLines({ layers, sections, settings }: EffectivePolicy): Line[] {
  const several = layers.length > 1;
  return [
    ...layers.map(({ layer, name, hash }) =>
      line(0, span(layer.padEnd(13), "dim"), name, span(` · ${hash.slice(0, 12)}`, "dim")),
    ),
    ...(several ? [line(0, span("Each layer that has a section must allow what is done.", "dim"))] : []),
    ...sections.flatMap(({ section, layers: having, rules }) => [
      EMPTY,
      line(0, span(section, "bold"), several ? span(` · ${having.join(", ")}`, "dim") : ""),
      ...rules.map(({ layer, rule, decision, pattern }) =>
        line(
          2,
          span((decision ?? "").padEnd(6), decision ? VERDICT_STYLE[decision] : "plain"),
          pattern,
          span(` · ${rule}${several ? ` (${layer})` : ""}`, "dim"),
        ),
      ),
    ]),
    EMPTY,
    line(0, span("settings", "bold")),
    ...settings.map(({ name, value, layer }) =>
      line(2, `${name} ${value}`, several ? span(` (${layer})`, "dim") : ""),
    ),
  ];
}
