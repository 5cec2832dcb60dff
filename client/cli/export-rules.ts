import type { RunId } from "../../daemon/protocol/ids.ts";
import type { CaissonClient } from "../api/client.ts";
import type { Command } from "./command.ts";
import { CliError, EXIT } from "./exit.ts";
import { line, span } from "./render/line.ts";
import { listed } from "./render/listed.ts";

/** Where a workspace stands in its sandbox; rules may be written with it or relative to it. */
const WORKSPACE = "/workspace";
/** A project's own policy narrows runs to come, so what a run made of it is never brought back unseen. */
const OWN_FOLDER = { rule: "builtin.caisson", glob: "**/.caisson/**" };

export interface RuledPath {
  readonly path: string;
  /** As the policy names it: `files.export.ask[0]`. */
  readonly rule: string;
}

type RuleOf = (path: string) => string | undefined;

/**
 * Those of a run's files that somebody has to agree to: `.caisson` whatever the policy says, else by the `ask` globs
 * of each layer. What is denied never comes: the daemon leaves it out.
 */
export async function askedAmong(
  paths: readonly string[],
  layers: readonly (readonly string[])[],
): Promise<RuledPath[]> {
  const { default: picomatch } = await import("picomatch");
  const rules = layers.map((globs): RuleOf => {
    const matchers = globs.map((glob) => picomatch(glob, { dot: true, nonegate: true }));
    return (path) => {
      const index = matchers.findIndex((matches) => matches(path) || matches(`${WORKSPACE}/${path}`));
      return index === -1 ? undefined : `files.export.ask[${index}]`;
    };
  });
  // On some disks another spelling is the same file.
  const own = picomatch(OWN_FOLDER.glob, { dot: true, nocase: true });
  const ownRule: RuleOf = (path) => (own(path) ? OWN_FOLDER.rule : undefined);
  return paths.flatMap((path) => ruled(path, [ownRule, ...rules]));
}

/** The first rule that names the path or a folder above it: a glob that names a folder means all below it. */
function ruled(path: string, rules: readonly RuleOf[]): RuledPath[] {
  const parts = path.split("/");
  for (let length = 1; length <= parts.length; length += 1) {
    const place = parts.slice(0, length).join("/");
    for (const ruleOf of rules) {
      const rule = ruleOf(place);
      if (rule !== undefined) return [{ path, rule }];
    }
  }
  return [];
}

/**
 * What the run's policy, as its journal has it, asks about before it is brought back: globs, layer by layer.
 * @throws CliError when it can't be read: nothing is brought back unjudged
 */
export async function exportRulesOf(client: CaissonClient, run: RunId): Promise<string[][]> {
  for await (const event of client.events(run)) {
    if (event.type !== "policy.bound") continue;
    const texts = event.data.layers.map(({ text }) =>
      typeof text === "string" ? text : client.blobText(run, text.blob),
    );
    return Promise.all((await Promise.all(texts)).map(rulesIn));
  }
  return [];
}

export async function rulesIn(text: string): Promise<string[]> {
  const { parse } = await import("yaml");
  const { z } = await import("zod");
  const globs = z.array(z.string()).default([]);
  const Document = z.object({
    files: z.object({ export: z.object({ ask: globs }).optional() }).optional(),
  });
  try {
    const { files } = Document.parse(parse(text, { maxAliasCount: 100 }));
    return files?.export?.ask ?? [];
  } catch (error) {
    throw new CliError(
      EXIT.failed,
      `The run's policy can't be read, so nothing was brought back: ${(error as Error).message}`,
    );
  }
}

/**
 * Some files may come back only when the one who brings them agrees: in advance with `--yes-to`, or now.
 * @throws CliError when they don't agree, or can't be asked
 */
export async function askForExport(
  { terminal }: Command,
  asked: readonly RuledPath[],
  yesTo: readonly string[],
): Promise<void> {
  const open = asked.filter(({ rule }) => !yesTo.includes(rule));
  if (open.length === 0) return;
  terminal.remark([
    line(0, span("The policy asks before these files are brought back:", "warn")),
    ...listed(open.map(({ path, rule }) => line(2, path, span(` · ${rule}`, "dim")))),
  ]);
  if (!terminal.interactive) {
    const rules = [...new Set(open.map(({ rule }) => rule))].map((rule) => ` --yes-to '${rule}'`).join("");
    throw new CliError(
      EXIT.policy,
      `Nobody can be asked here, so nothing was changed. Look at them with \`caisson diff\`, then agree:${rules}`,
    );
  }
  const { confirm } = await import("@clack/prompts");
  const agreed = await confirm({ message: "Bring them back?", initialValue: false });
  if (agreed !== true) throw new CliError(EXIT.policy, "Nothing was changed.");
}
