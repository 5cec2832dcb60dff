import {
  BlobDamaged,
  BlobMissing,
  type Blobs,
  type Faults,
  type Journal,
  JournalDamaged,
  JournalMissing,
} from "../journal/port.ts";
import type { JournalEvent } from "../protocol/events.ts";
import type { RunId } from "../protocol/ids.ts";
import type { NoticeBoard } from "../protocol/notices.ts";
import type { ApprovalView, QuestionView, RunView } from "../protocol/views.ts";
import { BlobOwners } from "./blob-owners.ts";
import { openCatalogue } from "./catalogue.ts";
import { CatalogueWriter } from "./catalogue-writer.ts";
import { cursorOf, RunOrder } from "./pages.ts";
import type { Views } from "./port.ts";
import {
  afterEnd,
  damagedSummary,
  initialProjection,
  noticed,
  type Projection,
  project,
  type RunSummary,
  summarise,
} from "./projection.ts";

/** What can be wrong with a journal or a history: then nothing is known of the blobs it names. */
const UNREADABLE = [JournalMissing, JournalDamaged, BlobMissing, BlobDamaged] as const;
/** Journals read at once at start. */
const READERS = 8;

export interface ViewsOptions {
  readonly journal: Journal;
  /** Where the histories of forks stand. */
  readonly blobs: Pick<Blobs, "read">;
  /** The cache, `$CAISSON_HOME/catalog.json`. */
  readonly file: string;
  /** Told of a cache that could not be written and of journals that could not be read. */
  readonly failed?: (error: unknown) => void;
  /** What journals can't say of runs now. */
  readonly notices?: Pick<NoticeBoard, "of">;
  readonly faults?: Faults;
}

export interface OpenViews extends Views {
  /** Folds a run's journal again from its beginning; drops the run if it has none any more. */
  refresh(run: RunId): Promise<void>;
  /** Writes the cache now. */
  flush(): Promise<void>;
  /** Stops following the journal and writes the cache. */
  close(): Promise<void>;
}

/** Reads the catalogue, folds what is new in the journals (J5), then follows them. */
export async function createViews(options: ViewsOptions): Promise<OpenViews> {
  const failed = options.failed ?? (() => undefined);
  const cache = new CatalogueWriter(await openCatalogue(options.file, options.faults), failed);
  const views = new FoldedViews(options, cache, failed);
  await views.start();
  return views;
}

class FoldedViews implements OpenViews {
  readonly #journal: Journal;
  readonly #cache: CatalogueWriter;
  readonly #failed: (error: unknown) => void;
  readonly #notices: Pick<NoticeBoard, "of">;
  readonly #owners: BlobOwners;
  readonly #order = new RunOrder();
  readonly #summaries = new Map<RunId, RunSummary>();
  /** Of the runs that go on. */
  readonly #projections = new Map<RunId, Projection>();
  /** Runs whose summary is older than their projection. */
  readonly #stale = new Set<RunId>();
  readonly #requests = new Map<string, RunId>();
  /** Events that came while their run was being read. */
  readonly #early = new Map<RunId, JournalEvent[]>();
  readonly #stops: (() => void)[];

  constructor(
    { journal, blobs, notices = { of: () => undefined } }: ViewsOptions,
    cache: CatalogueWriter,
    failed: (error: unknown) => void,
  ) {
    this.#notices = notices;
    this.#journal = journal;
    this.#cache = cache;
    this.#failed = failed;
    this.#owners = new BlobOwners(journal, blobs);
    this.#stops = [
      journal.onAppended((run, events) => this.#appended(run, events)),
      journal.onRemoved((run) => this.#forget(run)),
    ];
  }

  async start(): Promise<void> {
    const runs = await this.#journal.runs();
    this.#cache.retain(new Set(runs));
    const waiting = [...runs];
    const reader = async () => {
      for (let run = waiting.shift(); run !== undefined; run = waiting.shift()) await this.#load(run);
    };
    await Promise.all(Array.from({ length: READERS }, reader));
  }

  runs(query: Parameters<Views["runs"]>[0]): ReturnType<Views["runs"]> {
    const items: RunView[] = [];
    for (const run of this.#order.after(query.cursor)) {
      const view = this.run(run);
      if (!view || (query.status && !query.status.has(view.status))) continue;
      if (items.length === query.limit) return { items, next: cursorOf(items.at(-1)?.run ?? run) };
      items.push(view);
    }
    return { items };
  }

  run(id: RunId): RunView | undefined {
    const view = this.#summary(id)?.view;
    return view && noticed(view, this.#notices.of(id));
  }

  byRequestId(requestId: string): ReturnType<Views["byRequestId"]> {
    const run = this.#requests.get(requestId);
    const digest = run === undefined ? undefined : this.#summary(run)?.requestDigest;
    return run === undefined || digest === undefined ? undefined : { run, digest };
  }

  racing(): readonly RunId[] {
    return [...this.#summaries.keys()].filter((run) => (this.#summary(run)?.races ?? []).length > 0);
  }

  approvals(): readonly ApprovalView[] {
    const going = this.#going();
    const pending = going.flatMap((one) => one.approvals.filter(({ id }) => one.pending.includes(id)));
    const decided = going.flatMap((one) => one.approvals.filter(({ decision }) => decision !== undefined));
    return [...pending.sort(byAge), ...decided.sort(byAge)];
  }

  approval(id: string): ApprovalView | undefined {
    return this.#summary(id.split(".")[0] ?? "")?.approvals.find((approval) => approval.id === id);
  }

  questions(): readonly QuestionView[] {
    const going = this.#going();
    const pending = going.flatMap((one) => one.questions.filter(({ id }) => one.pending.includes(id)));
    const answered = going.flatMap((one) => one.questions.filter(({ answer }) => answer !== undefined));
    return [...pending.sort(byAge), ...answered.sort(byAge)];
  }

  checkpoints(run: RunId): ReturnType<Views["checkpoints"]> {
    return this.#summary(run)?.checkpoints ?? [];
  }

  async ownsBlob(run: RunId, hash: string): Promise<boolean> {
    if (!this.#summaries.has(run)) return false;
    try {
      return await this.#owners.owns(run, hash);
    } catch (error) {
      if (UNREADABLE.some((kind) => error instanceof kind)) return false;
      throw error;
    }
  }

  async refresh(run: RunId): Promise<void> {
    this.#forget(run);
    await this.#load(run);
  }

  flush(): Promise<void> {
    return this.#cache.flush();
  }

  async close(): Promise<void> {
    for (const stop of this.#stops) stop();
    await this.#cache.close();
  }

  #going(): RunSummary[] {
    const going = [...this.#projections.keys()].filter((run) => this.#notices.of(run)?.kind !== "stopped");
    return going.flatMap((run) => this.#summary(run) ?? []);
  }

  /** The run's summary, brought up to date if events have come since it was last asked for. */
  #summary(run: RunId): RunSummary | undefined {
    const projection = this.#projections.get(run);
    if (projection && this.#stale.delete(run)) {
      const summary = summarise(projection);
      if (summary) this.#summaries.set(run, summary);
    }
    return this.#summaries.get(run);
  }

  /** Takes a run from the cache or its journal; a damaged journal is shown as such and stops no other (J4). */
  async #load(run: RunId): Promise<void> {
    const early: JournalEvent[] = [];
    this.#early.set(run, early);
    try {
      const bytes = await this.#journal.bytes(run);
      const cached = this.#cache.get(run);
      if (cached && cached.bytes <= bytes) this.#keep(run, cached.summary);
      if (cached?.bytes !== bytes) await this.#read(run);
    } catch (error) {
      this.#unreadable(run, error);
    }
    this.#early.delete(run);
    this.#appended(run, early);
  }

  async #read(run: RunId): Promise<void> {
    const from = this.#summaries.get(run)?.view;
    let head = from?.head;
    for await (const events of this.#journal.read(run, from?.seq ?? 0)) {
      if (head !== undefined && events[0]?.prev !== head) {
        // The journal is not the one that the cache saw.
        this.#forget(run);
        return this.#read(run);
      }
      head = undefined;
      this.#fold(run, events);
    }
  }

  #unreadable(run: RunId, error: unknown): void {
    this.#failed(error);
    if (error instanceof JournalMissing) {
      this.#forget(run);
      return;
    }
    const reason = error instanceof Error ? error.message : String(error);
    const summary = damagedSummary(run, this.#summary(run), reason);
    this.#projections.delete(run);
    this.#keep(run, summary);
  }

  #appended(run: RunId, events: readonly JournalEvent[]): void {
    const early = this.#early.get(run);
    if (early) {
      early.push(...events);
      return;
    }
    const known = this.#seqOf(run);
    const unseen = events.filter((event) => event.seq > known);
    if (unseen.length > 0) this.#fold(run, unseen);
  }

  #seqOf(run: RunId): number {
    return this.#projections.get(run)?.state.seq ?? this.#summaries.get(run)?.view.seq ?? 0;
  }

  #fold(run: RunId, events: readonly JournalEvent[]): void {
    const before = this.#projections.get(run);
    let summary = before ? undefined : this.#summaries.get(run);
    let projection = before ?? initialProjection;
    for (const event of events) {
      if (summary) {
        summary = afterEnd(summary, event);
        continue;
      }
      projection = project(projection, event);
      if (projection.state.ended) summary = summarise(projection);
    }
    if (summary) this.#ended(run, summary);
    else this.#goesOn(run, projection, before === undefined);
  }

  #goesOn(run: RunId, projection: Projection, isNew: boolean): void {
    this.#projections.set(run, projection);
    this.#stale.add(run);
    if (!isNew) return;
    const summary = this.#summary(run);
    if (summary) this.#keep(run, summary);
  }

  #ended(run: RunId, summary: RunSummary): void {
    this.#projections.delete(run);
    this.#stale.delete(run);
    this.#keep(run, summary);
    void this.#journal.bytes(run).then(
      (bytes) => {
        // More may have been appended meanwhile; then its own turn caches it.
        if (this.#summaries.get(run) === summary) this.#cache.set(run, { bytes, summary });
      },
      (error) => this.#failed(error),
    );
  }

  #keep(run: RunId, summary: RunSummary): void {
    this.#summaries.set(run, summary);
    this.#order.add(run);
    if (summary.requestId !== undefined) this.#requests.set(summary.requestId, run);
  }

  #forget(run: RunId): void {
    const requestId = this.#summaries.get(run)?.requestId;
    if (requestId !== undefined) this.#requests.delete(requestId);
    this.#summaries.delete(run);
    this.#projections.delete(run);
    this.#stale.delete(run);
    this.#order.delete(run);
    this.#owners.forget(run);
    this.#cache.delete(run);
  }
}

function byAge(one: { readonly askedAt: string }, other: { readonly askedAt: string }): number {
  return one.askedAt < other.askedAt ? -1 : one.askedAt > other.askedAt ? 1 : 0;
}
