import { readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { v7 as uuid } from "uuid";
import { announce } from "./announcement.ts";
import { DETECTORS } from "./boundary/detectors.ts";
import { createRedactor, type Redactor } from "./boundary/redaction.ts";
import { SecretStore } from "./boundary/run-secrets.ts";
import type { Config } from "./config.ts";
import { injectedFaults } from "./faults.ts";
import { CheckpointStorage } from "./harness/checkpoints/storage.ts";
import type { PolicyLibrary } from "./harness/dependencies.ts";
import { Families } from "./harness/families.ts";
import { RunHarness } from "./harness/harness.ts";
import { LiveFeed } from "./harness/live-feed.ts";
import { Notices } from "./harness/notices.ts";
import { PolicyCache } from "./harness/policy-cache.ts";
import { Removals } from "./harness/removals.ts";
import { steadyClock } from "./harness/steady.ts";
import { DEFAULT_POLICY } from "./harness/submission.ts";
import { createToolbox } from "./harness/tools/registry.ts";
import { type Home, openHome } from "./home.ts";
import { createAccess } from "./http/access.ts";
import { Admission } from "./http/admission.ts";
import { createHttpApp } from "./http/app.ts";
import { createHttpServer } from "./http/server.ts";
import { openFileBlobs } from "./journal/blobs.ts";
import { createDiskRoom } from "./journal/disk-room.ts";
import { openFileJournal } from "./journal/file-journal.ts";
import { createFileOutputStore } from "./journal/file-output-store.ts";
import type { DiskRoom, Faults } from "./journal/port.ts";
import { createLog, type Logger } from "./log/logger.ts";
import { logRun } from "./log/run-log.ts";
import { createMetrics, type Metrics } from "./metrics/metrics.ts";
import { openModel } from "./model/open-model.ts";
import { loadPrices } from "./model/prices.ts";
import { createOrganisationPolicy, tellOfOrganisation } from "./organisation-policy.ts";
import { createOutside } from "./outside.ts";
import { packageRoot } from "./package-root.ts";
import { createPolicyLibrary } from "./policy-library.ts";
import { ARCHIVE_BYTES } from "./protocol/archive.ts";
import { ENDED, RunStatus } from "./protocol/views.ts";
import { createDockerHost } from "./sandbox/docker-host.ts";
import { Engine } from "./sandbox/engine.ts";
import { gateSandboxes } from "./sandbox/gate.ts";
import type { HostFacts, SandboxHost } from "./sandbox/host.ts";
import { Images } from "./sandbox/images.ts";
import { configuredSecrets, createSecretValues } from "./secrets.ts";
import { createStream } from "./sockets/stream.ts";
import { version } from "./version.ts";
import { checkpointsOfEnded } from "./views/ended.ts";
import { familyOf } from "./views/family.ts";
import type { Views } from "./views/port.ts";
import { createViews } from "./views/views.ts";

const MODEL_ATTEMPTS = 8;
const MODEL_RETRY_MS = 500;
/** Milliseconds that requests under way have when the daemon stops. */
const GRACE_MS = 3_000;

export interface RunningDaemon {
  readonly address: string;
  /** Leaves every run where it is, removes the pool, gives the home free. */
  stop(): Promise<void>;
}

/** The daemon, put together: home, journal, sandboxes, harness, recovery, and only then the listener. */
export async function serve(config: Config, env: NodeJS.ProcessEnv): Promise<RunningDaemon> {
  const faults = injectedFaults(env);
  const home = await openHome(config.home, config.token);
  const redactor = createRedactor(configuredSecrets(env, home.token), DETECTORS);
  const log = createLog({ home: home.path, redactor, level: config.logLevel, echo: true });
  for (const secret of redactor.refused)
    log.warn(secret, "a secret can't be looked for in what leaves the daemon");
  if (faults) log.warn({}, "faults are injected on purpose: this daemon is under test");
  const broke = (err: Error) => log.error({ err }, "the daemon broke and ends");
  process.on("uncaughtExceptionMonitor", broke);
  const over = () => process.off("uncaughtExceptionMonitor", broke);
  try {
    const { address, stop } = await start({ config, env, home, redactor, log, faults });
    return { address, stop: () => stop().finally(over) };
  } catch (err) {
    log.error({ err }, "the daemon could not start");
    over();
    throw err;
  }
}

interface Parts {
  readonly config: Config;
  readonly env: NodeJS.ProcessEnv;
  readonly home: Home;
  readonly redactor: Redactor;
  readonly log: Logger;
  readonly faults: Faults | undefined;
}

async function start(parts: Parts): Promise<RunningDaemon> {
  const { config, env, home, redactor, log } = parts;
  const toolbox = createToolbox();
  const metrics = createMetrics(
    toolbox.definitions.map(({ name }) => name),
    version,
  );
  const disk = createDiskRoom(home.path);
  const notices = new Notices();
  const { journal, blobs } = await openJournal(parts, metrics, disk);
  const views = await createViews({
    journal,
    blobs,
    file: join(home.path, "catalog.json"),
    failed: (err) => log.warn({ err }, "the catalogue could not be kept up to date"),
    notices,
    ...(parts.faults ? { faults: parts.faults } : {}),
  });
  const { host, sandboxes, facts } = await openSandboxes(parts, metrics);
  const prices = await loadPrices(await personsPrices(config.pricesFile));
  const live = new LiveFeed();
  const values = createSecretValues(env, home.path);
  const secrets = new SecretStore({ values, redactor, key: home.token, canaries: config.canaries });
  const policyCache = new PolicyCache();
  const policies = createPolicyLibrary(join(packageRoot, "policies"));
  const organisationPolicy = createOrganisationPolicy(home.path);
  await tellOfOrganisation({ organisationPolicy, policyCache }, log);
  const { checkpointsKept: kept, checkpointDiskBytes: diskBytes } = config;
  const checkpointStorage = new CheckpointStorage(sandboxes, { kept, diskBytes }, log);
  const outside = createOutside({ home: home.path, env, log });
  const harness = new RunHarness({
    journal,
    blobs,
    outputs: createFileOutputStore(home.path, parts.faults),
    sandboxes,
    removals: new Removals(sandboxes, log),
    checkpointStorage,
    openModel: (choice) => openModel(choice, { prices, env, idleTimeoutMs: config.modelIdleMs }),
    policies,
    policyCache,
    organisationPolicy,
    families: new Families({ journal, blobs }, (id) => familyOf(allRuns(views), id)),
    outside,
    toolbox,
    redactor,
    secrets,
    lookup: {
      unended: () => unendedRuns(views),
      racing: () => views.racing(),
      byRequestId: (id) => views.byRequestId(id),
      checkpoints: (id) => checkpointsOfEnded(views, id),
    },
    newRunId: uuid,
    now: steadyClock(),
    systemTime: Date.now,
    disk,
    notices,
    log,
    judged: metrics.judged,
    waitedForCheckpoint: metrics.waitedForCheckpoint,
    live,
    settings: {
      runsAtOnce: config.runsAtOnce,
      sandboxes: config.sandboxes,
      defaultModel: config.model,
      modelAttempts: MODEL_ATTEMPTS,
      modelRetryMs: MODEL_RETRY_MS,
      maximumWorkspaceBytes: ARCHIVE_BYTES,
      checkpoints: config.checkpoints,
    },
  });
  await harness.recover();
  const access = createAccess({ token: home.token, host: config.host });
  const admission = new Admission();
  const app = createHttpApp({
    admission,
    harness,
    views,
    journal,
    blobs,
    metrics,
    version,
    access,
    log,
    maximumWorkspaceBytes: ARCHIVE_BYTES,
  });
  const server = createHttpServer(app, admission);
  const stream = createStream({
    server: server.server,
    admission,
    access,
    journal,
    harness,
    notices,
    cutOff: (reason) => {
      metrics.cutOff(reason);
      log.debug({ reason }, "a WebSocket was cut off");
    },
  });
  metrics.observe({
    runs: () => allRuns(views),
    approvalsPending: () => views.approvals().filter(({ decision }) => decision === undefined).length,
    pool: () => host.pool(),
    streamSockets: () => stream.sockets,
    checkpoints: () => checkpointStorage.usage,
    disks: { home: home.path, ...engineDisk(facts, env) },
  });
  const listening = await server.listen(config.host, config.port);
  const address = `${config.host.includes(":") ? `[${config.host}]` : config.host}:${listening.port}`;
  const announcement = join(home.path, "daemon.json");
  const startedAt = new Date().toISOString();
  const leaving = new AbortController();
  await announce(
    announcement,
    { pid: process.pid, address, version, startedAt },
    {
      disk,
      leaving: leaving.signal,
      told: (err) => log.warn({ err }, "the disk has no room; runs wait until there is some"),
    },
  );
  const engine = facts.engineVersion;
  log.info({ address, version, engine, node: process.version, home: home.path }, "listening");
  void warmPool(host, policies, policyCache, log);
  return {
    address,
    stop: async () => {
      log.info({}, "stopping; runs go on when a daemon starts again");
      leaving.abort();
      await takeAll([
        () => stream.close(),
        () => harness.stop(),
        () => outside.close(),
        () => server.close(GRACE_MS),
        () => views.close(),
        () => journal.close(),
        () => host.close(),
        () => rm(announcement, { force: true }),
        () => home.release(),
      ]);
      log.info({ version }, "stopped");
    },
  };
}

/**
 * Takes every step in turn, whatever became of those before: what can't be closed leaves nothing else open.
 * @throws what the first that failed threw
 */
async function takeAll(steps: readonly (() => Promise<void> | void)[]): Promise<void> {
  const failures: unknown[] = [];
  for (const step of steps) {
    try {
      await step();
    } catch (error) {
      failures.push(error);
    }
  }
  if (failures.length > 0) throw failures[0];
}

/** Blobs and journals; what is appended is counted, and the log tells of it. */
async function openJournal({ home, log, faults }: Parts, metrics: Metrics, room: DiskRoom) {
  const faulty = faults ? { faults } : {};
  const blobs = await openFileBlobs({ home: home.path, room, ...faulty });
  const file = await openFileJournal({
    home: home.path,
    clock: Date,
    blobs,
    listenerFailed: (err) => log.error({ err }, "a follower of the journal failed"),
    ...faulty,
  });
  const journal = metrics.journal(file);
  journal.onAppended((run, events) => logRun(log, run, events));
  return { journal, blobs };
}

function allRuns(views: Views) {
  return views.runs({ limit: Number.MAX_SAFE_INTEGER }).items;
}

/** Oldest first: the order in which they get their turn again. */
function unendedRuns(views: Views) {
  const status = new Set(RunStatus.options.filter((one) => !ENDED.has(one)));
  const { items } = views.runs({ status, limit: Number.MAX_SAFE_INTEGER });
  return items.map(({ run }) => run).reverse();
}

/** The pool begins with what most runs ask for; what else they ask for is kept warm from then on. */
async function warmPool(
  host: SandboxHost,
  policies: PolicyLibrary,
  policyCache: PolicyCache,
  log: Logger,
): Promise<void> {
  const text = await policies.text(DEFAULT_POLICY);
  if (text === undefined)
    return log.warn({ policy: DEFAULT_POLICY }, "there is no default policy; the pool starts empty");
  try {
    const { image, memoryBytes, cpus, pids, diskBytes } = policyCache.parsed(text, "run").sandbox;
    await host.warm(image, { memoryBytes, cpus, pids, diskBytes });
  } catch (error) {
    log.warn({ error: String(error) }, "the pool could not be filled; sandboxes are made when asked for");
  }
}

async function openSandboxes({ config, home, log, faults }: Parts, metrics: Metrics) {
  const engine = await Engine.connect({
    faults,
    observe: (called) => {
      metrics.engineCalled(called);
      const grave = called.failure === "late" || called.failure === "unreachable";
      log[grave ? "warn" : "debug"]({ ...called }, "engine call");
    },
  });
  const images = new Images(engine);
  const host = createDockerHost({
    owner: home.owner,
    engine,
    images,
    kitPath: () => images.ensureKit((line) => log.info(line)),
    config: { poolSize: config.pool },
    log,
  });
  const facts = await host.probe();
  const unaccepted = facts.unenforced.filter((limit) => !config.acceptUnenforced.includes(limit));
  if (unaccepted.length > 0) {
    throw new Error(
      `This engine can't enforce: ${unaccepted.join(", ")}. Use another engine, or accept it in config.yaml under daemon.acceptUnenforced.`,
    );
  }
  return { host, sandboxes: gateSandboxes(host, uuid), facts };
}

/** A remote engine's folder would be looked for on the wrong machine. */
function engineDisk({ dataFolder }: HostFacts, { DOCKER_HOST }: NodeJS.ProcessEnv): { engine?: string } {
  const local = !DOCKER_HOST || DOCKER_HOST.startsWith("unix://");
  return local && dataFolder !== undefined ? { engine: dataFolder } : {};
}

async function personsPrices(file: string | undefined): Promise<{ text: string; file: string } | undefined> {
  if (file === undefined) return undefined;
  try {
    return { text: await readFile(file, "utf8"), file };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}
