import { confinementOf, isBeneath } from "../policy/folder-prefixes.ts";
import type { Confinement, GatedSandbox } from "../sandbox/gate.ts";
import { type Governed, policiesOf } from "./policies.ts";

const TEMPORARY = "/tmp";
const HOME = "/home/agent";

/** How the kernel holds the commands of a run. */
export interface Confined {
  /** Of every command of the model's. Absent: the sandbox's kernel has no Landlock, and holds none of it. */
  readonly landlock?: Confinement;
  /** Where commands may put what they keep for a while: `/tmp`, or the home folder where the policy has no `/tmp`. */
  readonly scratch: string;
  /** What `TMPDIR` has to say for that. */
  readonly env: Readonly<Record<string, string>>;
}

/** @param facts of the sandbox's kernel; the folder for what is temporary depends on the policy alone */
export async function confinementFor(run: Governed, facts: GatedSandbox["facts"]): Promise<Confined> {
  const landlock = confinementOf(await policiesOf(run));
  const within = (folders: readonly string[]) => folders.some((folder) => isBeneath(TEMPORARY, folder));
  const usable = within(landlock.read) && within(landlock.write);
  return {
    ...(facts.landlock > 0 ? { landlock } : {}),
    scratch: usable ? TEMPORARY : HOME,
    env: usable ? {} : { TMPDIR: HOME },
  };
}
