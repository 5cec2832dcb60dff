import type { RunId } from "../../daemon/protocol/ids.ts";
import { joined, Label, type Labels, meets, ORDINARY } from "../../daemon/protocol/labels.ts";
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

/** What a layer asks about before files are brought back. */
export interface AskRules {
  /** Of `files.export.ask`. */
  readonly globs: readonly string[];
  /** Of `data.flow`: rules that ask before data of such labels leaves, and what labels paths. */
  readonly flow: readonly { readonly rule: string; readonly when: Label }[];
  readonly labels: readonly { readonly path: string; readonly label: Label }[];
}

/**
 * Those of a run's files that somebody has to agree to: `.caisson` whatever the policy says, else by the `ask` globs
 * of each layer, and by its rules for data of such labels. What is denied never comes: the daemon leaves it out.
 * @param held what all that the run holds is
 */
export async function askedAmong(
  paths: readonly string[],
  layers: readonly AskRules[],
  held: Labels = ORDINARY,
): Promise<RuledPath[]> {
  const { default: picomatch } = await import("picomatch");
  const matcher = (glob: string) => {
    const matches = picomatch(glob, { dot: true, nonegate: true });
    return (path: string) => matches(path) || matches(`${WORKSPACE}/${path}`);
  };
  const rules = layers.map(({ globs }): RuleOf => {
    const matchers = globs.map(matcher);
    return (path) => {
      const index = matchers.findIndex((matches) => matches(path));
      return index === -1 ? undefined : `files.export.ask[${index}]`;
    };
  });
  // A label of any layer is one for the flow rules of all.
  const labelled = layers.flatMap(({ labels }) =>
    labels.map(({ path, label }) => ({ matches: matcher(path), label })),
  );
  const flows = layers.flatMap(({ flow }) => flow);
  const flowRule: RuleOf = (path) => {
    const own = labelled
      .filter(({ matches }) => matches(path))
      .reduce<Labels>((all, one) => joined(all, one.label), held);
    return flows.find(({ when }) => meets(own, when))?.rule;
  };
  // On some disks another spelling is the same file.
  const own = picomatch(OWN_FOLDER.glob, { dot: true, nocase: true });
  const ownRule: RuleOf = (path) => (own(path) ? OWN_FOLDER.rule : undefined);
  return paths.flatMap((path) => ruled(path, [ownRule, ...rules, flowRule]));
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
 * What the run's policy, as its journal has it, asks about before it is brought back, layer by layer.
 * @throws CliError when it can't be read: nothing is brought back unjudged
 */
export async function exportRulesOf(client: CaissonClient, run: RunId): Promise<AskRules[]> {
  for await (const event of client.events(run)) {
    if (event.type !== "policy.bound") continue;
    const texts = event.data.layers.map(({ text }) =>
      typeof text === "string" ? text : client.blobText(run, text.blob),
    );
    return Promise.all((await Promise.all(texts)).map(rulesIn));
  }
  return [];
}

export async function rulesIn(text: string): Promise<AskRules> {
  const { default: yaml } = await import("yaml");
  const { z } = await import("zod");
  const globs = z.array(z.string()).default([]);
  const Document = z.object({
    files: z.object({ export: z.object({ ask: globs }).optional() }).optional(),
    data: z
      .object({
        labels: z.array(Label.extend({ path: z.string().optional() })).default([]),
        flow: z
          .array(z.object({ id: z.string(), when: Label, to: z.array(z.string()), decision: z.string() }))
          .default([]),
      })
      .optional(),
  });
  try {
    const { files, data } = Document.parse(yaml.parse(text, { maxAliasCount: 100 }));
    const asks = data?.flow.filter(({ to, decision }) => decision === "ask" && to.includes("export")) ?? [];
    return {
      globs: files?.export?.ask ?? [],
      flow: asks.map(({ id, when }) => ({ rule: id, when })),
      labels: (data?.labels ?? []).flatMap(({ path, ...label }) =>
        path === undefined ? [] : [{ path, label }],
      ),
    };
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
