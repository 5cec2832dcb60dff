/**
 * What of the rules for files a kernel can hold for arbitrary commands: folders below which all is allowed. A glob's
 * folder is the literal path before its first wildcard; of several layers only what all of them allow remains. What a
 * list asks or denies inside of an allowed folder can't be said so: it holds in the file tools and in redirects.
 */
import { type GlobFolder, globFolders } from "./glob.ts";
import type { Policy } from "./port.ts";

type Access = "read" | "write";

/** Absolute paths; a command may read, or write, what is beneath them. */
export interface FolderPrefixes {
  readonly read: readonly string[];
  readonly write: readonly string[];
}

/** Folders of a sandbox that are programs' own: they need them to run at all, whatever a policy says of files. */
export interface Needed extends FolderPrefixes {
  /** Those that images may have as symlinks; no command can put one there. */
  readonly follow: readonly string[];
}

const HOME = "/home/agent";
/** Programs and libraries as images lay them out, their settings, and what the kernel tells. */
const PROGRAMS = [
  "/.caisson",
  "/bin",
  "/sbin",
  "/lib",
  "/lib32",
  "/lib64",
  "/libx32",
  "/usr",
  "/etc",
  "/opt",
  "/nix",
  "/proc",
  "/sys",
];
/** `/dev`: null and its like, terminals, shared memory. The home folder: caches, settings, the shell's own state. */
const USED = ["/dev", HOME];

export const NEEDED: Needed = {
  read: [...PROGRAMS, ...USED],
  write: USED,
  follow: [...PROGRAMS, ...USED],
};

/** Whether a path is this one or beneath it. */
export function isBeneath(path: string, folder: string): boolean {
  if (!path.startsWith(folder)) return false;
  return path.length === folder.length || folder === "/" || path.charAt(folder.length) === "/";
}

/** Without those that lie beneath another one. */
function shortest(paths: readonly string[]): string[] {
  const kept: string[] = [];
  // Sorted, a folder comes before what is beneath it.
  for (const path of [...paths].sort()) if (!kept.some((folder) => isBeneath(path, folder))) kept.push(path);
  return kept;
}

function foldersOf(policy: Policy, access: Access, decision: "allow" | "deny"): GlobFolder[] {
  const rules = policy.rules[access] ?? [];
  return rules.filter((rule) => rule.decision === decision).flatMap(({ pattern }) => globFolders(pattern));
}

/** What one layer lets commands at; one whose every path is denied drops out. */
function prefixesOf(policy: Policy, access: Access): string[] {
  const denied = foldersOf(policy, access, "deny").filter(({ extent }) => extent === "whole");
  const allowed = foldersOf(policy, access, "allow").map(({ folder }) => folder);
  return allowed.filter((path) => !denied.some(({ folder }) => isBeneath(path, folder)));
}

/** What lies in both: of two folders that share anything the one inside of the other. */
function common(these: readonly string[], those: readonly string[]): string[] {
  return these.flatMap((one) =>
    those.flatMap((other) => (isBeneath(one, other) ? [one] : isBeneath(other, one) ? [other] : [])),
  );
}

/** Undefined: the layer has no opinion. What its tiers allow where it has no list is everything. */
function opinionOf(policy: Policy, access: Access): string[] | undefined {
  const tier = policy.rules.tiers?.[EFFECT[access]];
  if (tier?.decision === "deny") return [];
  if (policy.rules[access] !== undefined) return prefixesOf(policy, access);
  if (tier === undefined) return undefined;
  return tier.decision === "allow" ? ["/"] : [];
}
/** What tiers call it. */
const EFFECT = { read: "read", write: "local" } as const;

function prefixes(layers: readonly Policy[], access: Access): string[] {
  const opinions = layers.flatMap((policy) => {
    const folders = opinionOf(policy, access);
    return folders === undefined ? [] : [{ folders, grants: policy.layer !== "project" }];
  });
  // Where what is read is listed and what is written is not, nothing is. A project's own file came with the workspace.
  if (!opinions.some(({ grants }) => grants) && layers.some(saysOfFiles)) return [];
  return shortest(opinions.map(({ folders }) => folders).reduce(common, ["/"]));
}

function saysOfFiles({ layer, rules: { read, write } }: Policy): boolean {
  return layer !== "project" && (read !== undefined || write !== undefined);
}

/**
 * The folders that the layers together let a command at. Writing does not imply reading, nor reading writing: each list
 * says what it says, and one that is missing beside the other allows nothing. A policy that says nothing of files leaves
 * commands to its rules for them.
 */
export function folderPrefixes(layers: readonly Policy[]): FolderPrefixes {
  return { read: prefixes(layers, "read"), write: prefixes(layers, "write") };
}

/** The same beside what programs need to run at all: what a command is confined to. */
export function confinementOf(layers: readonly Policy[]): Needed {
  const own = folderPrefixes(layers);
  const read = shortest([...NEEDED.read, ...own.read]);
  const write = shortest([...NEEDED.write, ...own.write]);
  return { read, write, follow: NEEDED.follow.filter((path) => read.includes(path)) };
}
