import type { RunId } from "../../daemon/protocol/ids.ts";
import type { CaissonClient } from "../api/client.ts";
import { patchPaths } from "../workspace/patch-paths.ts";
import { CliError, EXIT } from "./exit.ts";

/** Where a workspace stands in its sandbox; rules may be written with it or relative to it. */
const WORKSPACE = "/workspace";

/** Globs of one policy layer over what may leave the sandbox. */
export interface ExportRules {
  readonly deny: readonly string[];
  readonly ask: readonly string[];
}

export interface RuledPath {
  readonly path: string;
  /** As the policy names it: `files.export.ask[0]`. */
  readonly rule: string;
}

/** A patch as a run's export rules see it. */
export interface SortedPatch {
  /** Without the files whose export is denied. */
  readonly patch: string;
  readonly denied: readonly RuledPath[];
  readonly asked: readonly RuledPath[];
}

type RuleOf = (path: string) => string | undefined;

/** Sorts a patch's files by the rules of all layers: deny beats ask beats allow. */
export async function sortPatch(patch: string, layers: readonly ExportRules[]): Promise<SortedPatch> {
  const { default: picomatch } = await import("picomatch");
  const matcher = (globs: readonly string[], place: string): RuleOf => {
    const matchers = globs.map((glob) => picomatch(glob, { dot: true, nonegate: true }));
    return (path) => {
      const index = matchers.findIndex((matches) => matches(path) || matches(`${WORKSPACE}/${path}`));
      return index === -1 ? undefined : `${place}[${index}]`;
    };
  };
  const deny = layers.map((one) => matcher(one.deny, "files.export.deny"));
  const ask = layers.map((one) => matcher(one.ask, "files.export.ask"));
  const denied: RuledPath[] = [];
  const asked: RuledPath[] = [];
  const kept = sectionsOf(patch).filter((section) => {
    const paths = patchPaths(section);
    const refused = paths.flatMap((path) => ruled(path, deny));
    denied.push(...refused);
    if (refused.length === 0) asked.push(...paths.flatMap((path) => ruled(path, ask)));
    return refused.length === 0;
  });
  return { patch: kept.join(""), denied, asked };
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

/** One section a file. Lines of content begin with a mark of their own, so that only headings begin like this. */
function sectionsOf(patch: string): string[] {
  return patch === "" ? [] : patch.split(/(?<=\n)(?=diff --git )/);
}

/**
 * What the run's policy, as its journal has it, says of export.
 * @throws CliError when it can't be read: nothing is brought back unjudged
 */
export async function exportRulesOf(client: CaissonClient, run: RunId): Promise<ExportRules[]> {
  for await (const event of client.events(run)) {
    if (event.type !== "policy.bound") continue;
    const texts = event.data.layers.map(({ text }) =>
      typeof text === "string" ? text : client.blobText(run, text.blob),
    );
    return Promise.all((await Promise.all(texts)).map(rulesIn));
  }
  return [];
}

export async function rulesIn(text: string): Promise<ExportRules> {
  const { parse } = await import("yaml");
  const { z } = await import("zod");
  const globs = z.array(z.string()).default([]);
  const Document = z.object({
    files: z.object({ export: z.object({ deny: globs, ask: globs }).optional() }).optional(),
  });
  try {
    const { files } = Document.parse(parse(text, { maxAliasCount: 100 }));
    return files?.export ?? { deny: [], ask: [] };
  } catch (error) {
    throw new CliError(
      EXIT.failed,
      `The run's policy can't be read, so nothing was brought back: ${(error as Error).message}`,
    );
  }
}
