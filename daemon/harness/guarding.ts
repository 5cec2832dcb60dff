/** Files that are kept from what runs in a sandbox: how they are read, and given to it. */
import { baseContents, indexBase } from "../boundary/export-base.ts";
import { GUARD_OWNER, type Labelled } from "../boundary/guards.ts";
import { listWorkspace } from "../boundary/sandbox-listing.ts";
import { writeTar } from "../boundary/tar.ts";
import { both, type Confidentiality, joined, type Label } from "../protocol/labels.ts";
import type { GatedSandbox } from "../sandbox/gate.ts";
import { keptFromModel } from "./flow.ts";
import { guardedFiles, hasGuarded, ingestedParts, isReleased } from "./guarded-files.ts";
import { ownerOf } from "./housekeeping.ts";
import { raised } from "./labelling.ts";
import type { LiveRun } from "./live-run.ts";
import type { Seen } from "./policies.ts";
import { sandboxOf } from "./steps/end.ts";
import { type GuardedContent, type GuardedFile, WORKSPACE } from "./tools/tool.ts";
import { inSandbox } from "./workspace.ts";
import { baseOf } from "./workspace-base.ts";

/**
 * The guarded file at an absolute path that was resolved in the sandbox; undefined: what is there is no such file.
 * Its content is taken from what was ingested, which nothing in the sandbox can have a part in: what stands at the path
 * by now may be another file that was moved there.
 */
export async function guardedAt(
  run: LiveRun,
  action: string,
  path: string,
): Promise<GuardedFile | undefined> {
  if (!hasGuarded(run) || (await ownerOf(sandboxOf(run), path)) !== GUARD_OWNER) return undefined;
  const files = await guardedFiles(run);
  const inside = path.slice(WORKSPACE.length + 1);
  const found = path.startsWith(`${WORKSPACE}/`) ? files.get(inside) : undefined;
  if (found === undefined) {
    const refusal = `${path} is kept from the sandbox, and was moved here; where it was ingested it can be asked for.`;
    return {
      refusal,
      read: async () => ({ withheld: { rule: "builtin.labels", reason: refusal }, marker: refusal }),
    };
  }
  const kept = `${path} is ${found.label.confidentiality} (${found.rule}): it is kept from commands and can't be changed`;
  return {
    refusal: `${kept} before it was read. Where the policy lets you, \`read\` it first.`,
    read: (maximum) => readGuarded(run, action, { path: inside, found, files }, maximum),
  };
}

interface Wanted {
  readonly path: string;
  readonly found: Labelled;
  readonly files: ReadonlyMap<string, Labelled>;
}

async function readGuarded(
  run: LiveRun,
  action: string,
  { path, found, files }: Wanted,
  maximum: number,
): Promise<GuardedContent | undefined> {
  const released = found.label.confidentiality ?? "secret";
  const label = [...files.values()]
    .filter((one) => isReleased(one, released))
    .reduce<Label>((all, one) => both(all, one.label), found.label);
  const under = run.state.branch.actions.find((one) => one.action === action);
  const source = `${path}, ${found.rule}`;
  const kept = await keptFromModel(run, joined(run.state.branch.held, label), under);
  if (kept) {
    const asked = { label: found.label, source, withheld: true } as const;
    await run.commit("synced", (state) => raised(state, [asked], action));
    return { withheld: { rule: kept.rule, reason: kept.reason }, marker: kept.marker };
  }
  const base = await baseOf(run);
  const file = (await indexBase(base)).files.get(path);
  if (file === undefined || file.size > maximum) return undefined;
  await run.commit("synced", (state) => raised(state, [{ label, source, released }], action));
  await release(run, sandboxOf(run), released);
  const content = (await baseContents(base, [file])).get(file.at);
  return content && { content };
}

/**
 * Gives guarded files so confidential, or less, to the sandbox's user, by whom they are written: whatever stands at
 * their paths, nothing is written that a command there could not write. One that was moved or removed stays so.
 */
async function release(run: Seen, sandbox: GatedSandbox, released: Confidentiality): Promise<void> {
  const files = await guardedFiles(run);
  const due = (path: string) => {
    const found = files.get(path);
    return found !== undefined && isReleased(found, released);
  };
  const listing = await listWorkspace(
    inSandbox(sandbox),
    WORKSPACE,
    undefined,
    ({ path, owner, type }) => !(owner === GUARD_OWNER && type === "file" && due(path)),
  );
  if (listing.size > 0)
    await sandbox.putTar(WORKSPACE, writeTar(ingestedParts(run, new Set(listing.keys()))));
}

/** A restored sandbox is brought to what the branch says of it. */
export async function releaseAgain(run: LiveRun): Promise<void> {
  const { released } = run.state.branch;
  if (run.sandbox && released !== undefined && hasGuarded(run)) await release(run, run.sandbox, released);
}
