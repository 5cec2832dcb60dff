/** A workspace on its way into its sandbox: what is labelled there, and what of it is kept from whoever runs there. */
import {
  entriesAmong,
  excludeLines,
  guardedWorkspace,
  isGuarded,
  type WorkspaceLabels,
  workspaceLabels,
} from "../boundary/guards.ts";
import type { IngestRules } from "../boundary/ingest.ts";
import type { Policy } from "../policy/port.ts";
import type { EventData } from "../protocol/events.ts";
import type { GatedSandbox } from "../sandbox/gate.ts";
import { pathLabels } from "./guarded-files.ts";
import { WORKSPACE } from "./tools/tool.ts";

const EXCLUDE_MS = 20_000;

type Told = NonNullable<EventData<"workspace.ingested">["labelled"]>;

/** What of a workspace is to be guarded. */
export interface Guards {
  readonly paths: ReadonlySet<string>;
  /** Absent: nothing of it is labelled. */
  readonly labelled?: Told;
}

/** Looks through an archive's names. A repository that comes along holds any file's content: then none is guarded. */
export async function guardsOf(
  policies: readonly Policy[],
  tar: () => AsyncIterable<Uint8Array>,
  rules: IngestRules,
): Promise<Guards> {
  const rulesOfPaths = policies.flatMap((policy) =>
    (policy.rules.labels ?? []).filter(({ source }) => source === "path"),
  );
  if (rulesOfPaths.length === 0) return { paths: new Set() };
  const found = await workspaceLabels(entriesAmong(tar(), rules), pathLabels(policies));
  const open = found.git && rules.git === "full";
  const paths = open ? [] : [...found.files].filter(([, one]) => isGuarded(one)).map(([path]) => path);
  const labelled = counted(found, open);
  // Its history may hold what is there no more.
  if (open)
    for (const { rule, label } of rulesOfPaths)
      if (isGuarded({ rule, label }) && !labelled.some((one) => one.rule === rule))
        labelled.push({ rule, label, files: 0, guarded: false });
  return { paths: new Set(paths), ...(labelled.length > 0 ? { labelled } : {}) };
}

function counted({ files }: WorkspaceLabels, open: boolean): Told {
  const kinds = new Map<string, Told[number]>();
  for (const labelled of files.values()) {
    const kind = JSON.stringify([labelled.rule, labelled.label]);
    const { files: before = 0 } = kinds.get(kind) ?? {};
    kinds.set(kind, { ...labelled, files: before + 1, guarded: !open && isGuarded(labelled) });
  }
  return [...kinds.values()];
}

/**
 * Puts the guarded files in, after everything else and before anything of an agent's runs: no symlink of an archive
 * stands above its files, so the engine writes where it is told to.
 */
export async function putGuarded(
  sandbox: GatedSandbox,
  { paths }: Guards,
  tar: AsyncIterable<Uint8Array>,
  rules: IngestRules,
): Promise<void> {
  if (paths.size === 0) return;
  await sandbox.putOwned(
    WORKSPACE,
    guardedWorkspace(tar, rules, (path) => paths.has(path)),
  );
  if (rules.git !== "fresh") return;
  const { output, outcome } = await sandbox.housekeep({
    program: "bash",
    arguments: [
      "-c",
      "[ ! -d .git ] || { /.caisson/busybox mkdir -p .git/info; /.caisson/busybox cat >> .git/info/exclude; }",
    ],
    cwd: WORKSPACE,
    stdin: once(excludeLines(paths)),
    deadlineMs: EXCLUDE_MS,
  });
  for await (const _ of output);
  await outcome;
}

async function* once(text: string): AsyncIterable<Uint8Array> {
  yield Buffer.from(text);
}
