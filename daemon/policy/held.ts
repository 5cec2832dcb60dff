/** Where each rule for files holds: by the kernel for all that runs, or only where a path is judged. */
import type { HeldRule } from "../protocol/views.ts";
import { folderPrefixes, isBeneath, NEEDED } from "./folder-prefixes.ts";
import { type GlobFolder, globFolders } from "./glob.ts";
import type { PathRule, Policy } from "./port.ts";

type Access = HeldRule["access"];
type Held = Pick<HeldRule, "by" | "why">;
type Prefixes = Readonly<Record<Access, readonly string[]>>;

/** Whether anything can be beneath both. */
function meet(one: string, other: string): boolean {
  return isBeneath(one, other) || isBeneath(other, one);
}

/** What is open to commands beneath these folders, by all layers together. */
function openBeneath(folders: readonly string[], open: readonly string[]): string[] {
  const both = folders.flatMap((folder) =>
    open.flatMap((prefix) =>
      isBeneath(prefix, folder) ? [prefix] : isBeneath(folder, prefix) ? [folder] : [],
    ),
  );
  return [...new Set(both)];
}

function allowHeld(folders: readonly GlobFolder[], access: Access, prefixes: Prefixes): Held {
  const wider = folders.filter(({ extent }) => extent !== "whole").map(({ folder }) => folder);
  const open = openBeneath(wider, prefixes[access]);
  if (open.includes("/"))
    return { by: "file-tools", why: `it names no folder to begin with, so commands may ${access} anything` };
  if (open.length > 0)
    return { by: "in-part", why: `commands may ${access} all that is beneath ${open.join(", ")}` };
  const movable = folders.find(({ folder }) =>
    prefixes.write.some((write) => write !== folder && isBeneath(folder, write)),
  );
  if (access === "read" && movable)
    return {
      by: "in-part",
      why: `what commands may write they can move into ${movable.folder}, and read there`,
    };
  return { by: "kernel" };
}

function denyHeld(folders: readonly GlobFolder[], access: Access, prefixes: Prefixes): Held {
  const open = prefixes[access].filter((prefix) => folders.some(({ folder }) => meet(folder, prefix)));
  if (open.length > 0)
    return { by: "file-tools", why: `commands may ${access} all that is beneath ${open.join(", ")}` };
  const needed = NEEDED[access].filter((need) => folders.some(({ folder }) => meet(folder, need)));
  if (needed.length === 0) return { by: "kernel" };
  return { by: "in-part", why: `programs need ${needed.join(", ")} to run at all` };
}

function askHeld(folders: readonly GlobFolder[], access: Access, prefixes: Prefixes): Held {
  const open = prefixes[access].some((prefix) => folders.some(({ folder }) => meet(folder, prefix)));
  if (open) return { by: "file-tools", why: "what a command does by itself is not asked for" };
  return { by: "file-tools", why: "commands don't get there, asked or not" };
}

function heldOf(rule: PathRule, access: Access, prefixes: Prefixes): Held {
  const folders = globFolders(rule.pattern);
  if (rule.decision === "allow") return allowHeld(folders, access, prefixes);
  return rule.decision === "deny" ? denyHeld(folders, access, prefixes) : askHeld(folders, access, prefixes);
}

/** Of every rule for files of all layers, where it holds for commands: see {@link HeldRule}. */
export function heldRules(layers: readonly Policy[], accesses: readonly Access[]): HeldRule[] {
  const prefixes = folderPrefixes(layers);
  return layers.flatMap((policy) =>
    accesses.flatMap((access) =>
      (policy.rules[access] ?? []).map((rule) => ({
        rule: rule.rule,
        layer: policy.layer,
        decision: rule.decision,
        access,
        ...heldOf(rule, access, prefixes),
      })),
    ),
  );
}
