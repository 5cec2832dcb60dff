import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { v7 as uuid } from "uuid";
import { createRedactor } from "../../daemon/boundary/redaction.ts";
import { SecretStore } from "../../daemon/boundary/run-secrets.ts";
import { CheckpointStorage, type StorageBounds } from "../../daemon/harness/checkpoints/storage.ts";
import type { Dependencies } from "../../daemon/harness/dependencies.ts";
import { Families } from "../../daemon/harness/families.ts";
import { RunHarness } from "../../daemon/harness/harness.ts";
import { LiveFeed } from "../../daemon/harness/live-feed.ts";
import { Notices } from "../../daemon/harness/notices.ts";
import { PolicyCache } from "../../daemon/harness/policy-cache.ts";
import { Removals } from "../../daemon/harness/removals.ts";
import { createToolbox } from "../../daemon/harness/tools/registry.ts";
import { openFileBlobs } from "../../daemon/journal/blobs.ts";
import { createDiskRoom } from "../../daemon/journal/disk-room.ts";
import { openFileJournal } from "../../daemon/journal/file-journal.ts";
import { createFileOutputStore } from "../../daemon/journal/file-output-store.ts";
import type { Blobs, Journal } from "../../daemon/journal/port.ts";
import { openModel } from "../../daemon/model/open-model.ts";
import { packageRoot } from "../../daemon/package-root.ts";
import { createPolicyLibrary } from "../../daemon/policy-library.ts";
import { END_TYPES, type JournalEvent } from "../../daemon/protocol/events.ts";
import type { LiveFrame } from "../../daemon/protocol/frames.ts";
import { gateSandboxes } from "../../daemon/sandbox/gate.ts";
import type { SandboxHost } from "../../daemon/sandbox/host.ts";
import { createSecretValues } from "../../daemon/secrets.ts";
import { checkpointsOfEnded } from "../../daemon/views/ended.ts";
import { familyOf } from "../../daemon/views/family.ts";
import { createViews } from "../../daemon/views/views.ts";
import { expectReplays } from "./replay/replays.ts";

const KEY = { name: "key", value: "sk-test-0123456789abcdef" };

export const SETTINGS: Dependencies["settings"] = {
  runsAtOnce: 4,
  sandboxes: 16,
  defaultModel: "claude-sonnet-5-5",
  modelAttempts: 3,
  modelRetryMs: 1,
  maximumWorkspaceBytes: 2 ** 30,
  checkpoints: "turn",
};

/** A harness over a real journal and a real sandbox host; only the model follows a script. */
export interface HarnessUnderTest {
  readonly harness: RunHarness;
  readonly journal: Journal;
  readonly blobs: Blobs;
  readonly frames: LiveFrame[];
  readonly home: string;
  /** All events of a run so far. */
  events(run: string): Promise<JournalEvent[]>;
  /** Resolves with the first event that matches, past or to come. */
  until(run: string, matches: (event: JournalEvent) => boolean): Promise<JournalEvent>;
  /** Resolves with all events when the run has ended. */
  ended(run: string): Promise<JournalEvent[]>;
  /** Stops this harness and gives another over the same home, as a daemon's restart does. */
  restart(bounds?: Partial<StorageBounds>): Promise<HarnessUnderTest>;
  close(): Promise<void>;
}

export async function harnessUnderTest(
  host: SandboxHost,
  change: Partial<Dependencies> = {},
  givenHome?: string,
  bounds: Partial<StorageBounds> = {},
): Promise<HarnessUnderTest> {
  const home = givenHome ?? (await mkdtemp(join(tmpdir(), "caisson-harness-")));
  const blobs = await openFileBlobs({ home });
  const journal = await openFileJournal({ home, clock: Date, blobs });
  const views = await createViews({ journal, blobs, file: join(home, "catalog.json") });
  const unended: string[] = [];
  for (const run of await journal.runs()) {
    let ended = false;
    for await (const batch of journal.read(run, 0)) ended ||= batch.some(isEnd);
    if (!ended) unended.push(run);
  }
  const live = new LiveFeed();
  const frames: LiveFrame[] = [];
  live.subscribe((frame) => frames.push(frame));
  const requests = new Map<string, { run: string; digest: string }>();
  const sandboxes = gateSandboxes(host, uuid);
  const redactor = change.redactor ?? createRedactor([KEY]);
  const values = createSecretValues({}, home);
  const harness = new RunHarness({
    journal,
    blobs,
    outputs: createFileOutputStore(home),
    sandboxes,
    removals: new Removals(sandboxes, { warn: quiet }),
    checkpointStorage: new CheckpointStorage(
      sandboxes,
      { kept: 20, diskBytes: 2 ** 40, ...bounds },
      { warn: quiet },
    ),
    openModel: (choice) => openModel(choice, { prices: new Map() }),
    policies: createPolicyLibrary(join(packageRoot, "policies")),
    policyCache: new PolicyCache(),
    organisationPolicy: undefined,
    families: new Families({ journal, blobs }, (run) =>
      familyOf(views.runs({ limit: Number.MAX_SAFE_INTEGER }).items, run),
    ),
    toolbox: createToolbox(),
    redactor,
    secrets: new SecretStore({ values, redactor, key: "home", canaries: false }),
    lookup: {
      unended: () => unended,
      racing: () => views.racing(),
      byRequestId: (id) => requests.get(id),
      checkpoints: (run) => checkpointsOfEnded(views, run),
    },
    newRunId: uuid,
    now: Date.now,
    systemTime: Date.now,
    disk: createDiskRoom(home),
    notices: new Notices(),
    log: { info: quiet, warn: quiet, error: (fields, message) => console.error(message, fields) },
    live,
    settings: SETTINGS,
    ...change,
  });
  await harness.recover();

  const events = async (run: string): Promise<JournalEvent[]> => {
    const all: JournalEvent[] = [];
    for await (const batch of journal.read(run, 0)) all.push(...batch);
    return all;
  };
  const until = async (run: string, matches: (event: JournalEvent) => boolean): Promise<JournalEvent> => {
    let stop = () => {};
    const come = new Promise<JournalEvent>((resolve) => {
      stop = journal.onAppended((of, appended) => {
        const found = of === run ? appended.find(matches) : undefined;
        if (found) resolve(found);
      });
    });
    const past = (await events(run)).find(matches);
    const found = past ?? (await come);
    stop();
    return found;
  };
  return {
    harness,
    journal,
    blobs,
    frames,
    home,
    events,
    until,
    ended: async (run) => {
      await until(run, isEnd);
      return events(run);
    },
    restart: async (changed = bounds) => {
      await harness.stop();
      await views.close();
      await journal.close();
      return harnessUnderTest(host, change, home, changed);
    },
    close: async () => {
      await harness.stop();
      await views.close();
      await journal.close();
      await expectReplays(home, [KEY]).finally(() => rm(home, { recursive: true, force: true }));
    },
  };
}

function isEnd(event: JournalEvent): boolean {
  return (END_TYPES as readonly string[]).includes(event.type);
}

function quiet(): void {}
