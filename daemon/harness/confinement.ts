import { confinementOf, isBeneath } from "../policy/folder-prefixes.ts";
import { NOTHING_DONE } from "../policy/history.ts";
import { judge } from "../policy/judge.ts";
import type { Policy } from "../policy/port.ts";
import type { Confinement, GatedSandbox } from "../sandbox/gate.ts";
import { type Governed, policiesOf } from "./policies.ts";
import type { NormaliseContext } from "./tools/tool.ts";

const TEMPORARY = "/tmp";
const HOME = "/home/agent";

/** How the kernel holds the commands of a run. */
export interface Confined extends Pick<NormaliseContext, "mayRead"> {
  /** Of every command of the model's. Absent: the sandbox's kernel has no Landlock, and holds none of it. */
  readonly landlock?: Confinement;
  /** Where commands may put what they keep for a while: `/tmp`, or the home folder where the policy has no `/tmp`. */
  readonly scratch: string;
  /** What `TMPDIR` has to say for that. */
  readonly env: Readonly<Record<string, string>>;
}

/** @param facts of the sandbox's kernel; the folder for what is temporary depends on the policy alone */
export async function confinementFor(run: Governed, facts: GatedSandbox["facts"]): Promise<Confined> {
  const policies = await policiesOf(run);
  const landlock = confinementOf(policies);
  const within = (folders: readonly string[]) => folders.some((folder) => isBeneath(TEMPORARY, folder));
  const usable = within(landlock.read) && within(landlock.write);
  return {
    ...(facts.landlock > 0 ? { landlock } : {}),
    scratch: usable ? TEMPORARY : HOME,
    env: usable ? {} : { TMPDIR: HOME },
    mayRead: (tool, folder) => mayRead(policies, tool, folder),
  };
}

/** What a person was asked about a folder, they need not be asked again about what is in it. */
function mayRead(policies: readonly Policy[], tool: string, folder: string): (path: string) => boolean {
  const verdictOn = (path: string) => judge(policies, { kind: "read", tool, path }, NOTHING_DONE).verdict;
  const asked = verdictOn(folder) === "ask";
  // A search tells of one file line by line.
  const known = new Map<string, boolean>();
  return (path) => {
    const verdict = known.has(path) ? undefined : verdictOn(path);
    const may = known.get(path) ?? (verdict === "allow" || (asked && verdict === "ask"));
    known.set(path, may);
    return may;
  };
}
