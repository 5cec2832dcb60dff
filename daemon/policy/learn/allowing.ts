import type { PolicyDocument } from "../document.ts";
import { normalisePath } from "../path.ts";
import type { PolicyAction, SimpleCommand } from "../port.ts";
import { readDocumentSafely } from "../read-document.ts";
import { type Draft, type Others, policyOf, type RecordedRuns, verdictOn } from "./draft.ts";
import { execRulesFor } from "./exec-forms.ts";
import { networkRulesFor } from "./network-rules.ts";
import type { Gathered, Observation } from "./observation.ts";
import { pathGlobsFor } from "./path-rules.ts";

type ExecAction = Extract<PolicyAction, { kind: "exec" }>;
type PathAction = Extract<PolicyAction, { kind: "read" | "write" }>;

/** How readily many different commands become one rule: listed up to `most`. */
export interface Breadth {
  readonly most: number;
  readonly wide: boolean;
}

/** A document's defaults: what a text may have where it does not say. */
const COMMANDS = 50;
const BYTES = 65_536;

/** What allows all that was allowed, and of the runs' own policies what no verdict shows. */
export async function allowing(
  name: string,
  all: Gathered,
  recorded: RecordedRuns,
  breadth: Breadth,
  others: Others,
): Promise<Draft> {
  const observed = [...all.allowed, ...all.disputed];
  const notes: string[] = [];
  const make = (shell: "strict" | "contained"): PolicyDocument => {
    notes.length = 0;
    return documentOf(name, observed, recorded, breadth, shell, notes);
  };
  const strict = make("strict");
  const holds = execsOf(observed).length > 0 && (await holdsFor(strict, observed, others));
  return { document: holds ? strict : make("contained"), all, samples: [], notes: [...notes] };
}

async function holdsFor(
  document: PolicyDocument,
  observed: readonly Observation[],
  others: Others,
): Promise<boolean> {
  const policy = policyOf(document);
  for (const { action } of observed) {
    await others();
    if (verdictOn(policy, action).verdict !== "allow") return false;
  }
  return true;
}

export function execsOf(observations: readonly Pick<Observation, "action">[]): ExecAction[] {
  return observations.flatMap(({ action }) => (action.kind === "exec" ? [action] : []));
}

/** The commands of a text that need a rule. */
export function partsOf({ command }: ExecAction): SimpleCommand[] {
  return command.commands.filter(({ guess }) => !guess);
}

function documentOf(
  name: string,
  observed: readonly Observation[],
  recorded: RecordedRuns,
  { most, wide }: Breadth,
  shell: "strict" | "contained",
  notes: string[],
): PolicyDocument {
  const execs = execsOf(observed);
  const tools = observed.flatMap(({ action }) => (action.kind === "tool" ? [action.tool] : []));
  const network = networkRulesFor(observed);
  const learnt = execRulesFor(execs.flatMap(partsOf), most, wide);
  if (execs.length > 0) notes.push(...learnt.notes);
  const files = filesOf(observed, recorded, shell);
  return {
    version: 1,
    name,
    default: "deny",
    ...(tools.length > 0
      ? { tools: [{ id: "tools", tool: [...new Set(tools)].sort(), decision: "allow" }] }
      : {}),
    ...(execs.length > 0 ? { exec: { shell, rules: [...learnt.rules], ...limitsOf(execs) } } : {}),
    ...(Object.keys(files).length > 0 ? { files } : {}),
    ...(network.length > 0 ? { network } : {}),
    ...(Object.keys(recorded.limits).length > 0 ? { limits: recorded.limits } : {}),
    ...sandboxOf(recorded),
  };
}

function limitsOf(execs: readonly ExecAction[]) {
  const commands = Math.max(...execs.map((action) => partsOf(action).length));
  const bytes = Math.max(...execs.map(({ command }) => Buffer.byteLength(command.text)));
  const limits = {
    ...(commands > COMMANDS ? { commands } : {}),
    ...(bytes > BYTES ? { bytes } : {}),
  };
  return Object.keys(limits).length > 0 ? { limits } : {};
}

/** Commands read and write what no journal names: they keep the folders that they had. */
function filesOf(
  observed: readonly Observation[],
  { folders, layers }: RecordedRuns,
  shell: "strict" | "contained",
): NonNullable<PolicyDocument["files"]> {
  const commands = execsOf(observed);
  const of = (access: "read" | "write") => {
    const paths = observed.flatMap(({ action }) => (action.kind === access ? [action as PathAction] : []));
    const redirected = shell === "strict" ? commands.flatMap((one) => redirectsOf(one, access)) : [];
    const allow = pathGlobsFor([...paths, ...redirected], commands.length > 0 ? folders[access] : []);
    return allow.length > 0 ? { [access]: { allow } } : {};
  };
  return { ...boundaryOf(layers), ...of("read"), ...of("write") };
}

function redirectsOf({ command, cwd }: ExecAction, access: "read" | "write"): PathAction[] {
  return command.redirects.flatMap((redirect): PathAction[] => {
    if (redirect.access !== access || redirect.path === undefined) return [];
    const path = normalisePath(redirect.path, cwd === "" ? "/workspace" : cwd);
    return path === undefined ? [] : [{ kind: access, tool: "bash", path }];
  });
}

/** What was kept from sandboxes and from people's folders stays so: no verdict tells of it. */
function boundaryOf(
  layers: RecordedRuns["layers"],
): Pick<NonNullable<PolicyDocument["files"]>, "ingest" | "export"> {
  const documents = documentsOf(layers);
  const union = (lists: readonly (readonly string[] | undefined)[]) => [
    ...new Set(lists.flatMap((list) => list ?? [])),
  ];
  const ingest = union(documents.map(({ files }) => files?.ingest?.deny));
  const deny = union(documents.map(({ files }) => files?.export?.deny));
  const ask = union(documents.map(({ files }) => files?.export?.ask)).filter((glob) => !deny.includes(glob));
  const modes = documents.map(({ files }) => files?.ingest?.git ?? "full");
  const git = (["none", "fresh"] as const).find((mode) => modes.includes(mode));
  const withheld = { ...(ingest.length > 0 ? { deny: ingest } : {}), ...(git ? { git } : {}) };
  const exported = { ...(deny.length > 0 ? { deny } : {}), ...(ask.length > 0 ? { ask } : {}) };
  return {
    ...(Object.keys(withheld).length > 0 ? { ingest: withheld } : {}),
    ...(Object.keys(exported).length > 0 ? { export: exported } : {}),
  };
}

/** What can't be read any more, since a secret in it was redacted, has no part in it. */
export function documentsOf(layers: RecordedRuns["layers"]): PolicyDocument[] {
  return layers.flatMap(({ text }) => {
    const found = readDocumentSafely(text);
    return "read" in found ? [found.read.document] : [];
  });
}

function sandboxOf({ images }: RecordedRuns): Pick<PolicyDocument, "sandbox"> {
  const [image, ...others] = [...new Set(images)];
  if (image === undefined) return {};
  return { sandbox: { image, images: [image, ...others] } };
}
