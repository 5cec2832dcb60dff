import type { Redactor } from "../boundary/redaction.ts";
import type { SecretStore } from "../boundary/run-secrets.ts";
import type { OutputStore } from "../journal/output-store.ts";
import type { Blobs, DiskRoom, Journal } from "../journal/port.ts";
import type { Model } from "../model/port.ts";
import type { RunId, Sha256 } from "../protocol/ids.ts";
import type { CheckpointView, PolicyView } from "../protocol/views.ts";
import type { GatedSandboxHost } from "../sandbox/gate.ts";
import type { CheckpointStorage } from "./checkpoints/storage.ts";
import type { Outside } from "./egress/outside.ts";
import type { Families } from "./families.ts";
import type { LiveFeed } from "./live-feed.ts";
import type { Notices } from "./notices.ts";
import type { PolicyCache } from "./policy-cache.ts";
import type { Removals } from "./removals.ts";
import type { Toolbox } from "./tools/registry.ts";

/** The ready policies of this daemon, by name. */
export interface PolicyLibrary {
  list(): Promise<readonly PolicyView[]>;
  /** The document's text; undefined when there is no policy of that name. */
  text(name: string): Promise<string | undefined>;
}

/** The organisation's policy, which narrows every run's. */
export interface OrganisationPolicy {
  /**
   * The document as it is now; undefined: there is none.
   * @throws CaissonError `policy_invalid` when there is one that can't be read
   */
  text(): Promise<string | undefined>;
}

export interface Log {
  info(fields: Readonly<Record<string, unknown>>, message: string): void;
  warn(fields: Readonly<Record<string, unknown>>, message: string): void;
  error(fields: Readonly<Record<string, unknown>>, message: string): void;
}

export interface HarnessSettings {
  /** Runs that work at the same time; others queue. One that waits for a person keeps its sandbox and makes room. */
  readonly runsAtOnce: number;
  /** Runs that have a sandbox at the same time, those that wait for a person included; new ones queue beyond it. */
  readonly sandboxes: number;
  readonly defaultModel: string;
  /** Attempts for one model request before the run fails. */
  readonly modelAttempts: number;
  /** Milliseconds before the first new attempt; doubled for each further one. */
  readonly modelRetryMs: number;
  /** Milliseconds that a run waits for an engine that is away, until it fails; default ten minutes. */
  readonly enginePatienceMs?: number;
  readonly maximumWorkspaceBytes: number;
  /** At the end of every turn that changed something, or only when a person asks for one. */
  readonly checkpoints: "turn" | "off";
}

/** All that the harness is given. It makes nothing of this itself, and keeps nothing beside it. */
export interface Dependencies {
  readonly journal: Journal;
  readonly blobs: Blobs;
  readonly outputs: OutputStore;
  readonly sandboxes: GatedSandboxHost;
  readonly removals: Removals;
  readonly checkpointStorage: CheckpointStorage;
  /** @throws CaissonError `script_invalid`, `model_unconfigured` */
  readonly openModel: (choice: string | { readonly script: string }) => Promise<Model>;
  readonly policies: PolicyLibrary;
  readonly policyCache: PolicyCache;
  readonly organisationPolicy: OrganisationPolicy | undefined;
  /** Which runs share their limits. */
  readonly families: Families;
  /** The way out of sandboxes; absent: there is none. */
  readonly outside?: Outside;
  readonly toolbox: Toolbox;
  readonly redactor: Redactor;
  /** Knows what the secrets of policies are; asked before anything of a run is kept. */
  readonly secrets: Pick<SecretStore, "bind">;
  readonly lookup: {
    /** Runs that have not ended, as far as the views know. */
    unended(): readonly RunId[];
    /**
     * Those of a run that has ended. `unknown`: it has no journal. `unreadable`: its journal can't be read to its
     * end, or it has not ended.
     */
    checkpoints(run: RunId): readonly CheckpointView[] | "unknown" | "unreadable";
    /** Runs from which races go on, those that have ended too, as far as the views know. */
    racing(): readonly RunId[];
    byRequestId(requestId: string): { readonly run: RunId; readonly digest: Sha256 } | undefined;
  };
  readonly newRunId: () => RunId;
  /** Milliseconds since the epoch, going on steadily whatever is done to the system's clock: for all reckoning. */
  readonly now: () => number;
  /** Milliseconds since the epoch as the system's clock says: for times that people read. */
  readonly systemTime: () => number;
  readonly disk: DiskRoom;
  readonly notices: Notices;
  readonly log: Log;
  /** Told how many milliseconds the judging of an action took. Must not throw. */
  readonly judged?: (ms: number) => void;
  /** Told how many milliseconds an action stood waiting for a checkpoint to be taken. Must not throw. */
  readonly waitedForCheckpoint?: (ms: number) => void;
  readonly settings: HarnessSettings;
  readonly live: LiveFeed;
}
