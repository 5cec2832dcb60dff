import { setImmediate as nextTick } from "node:timers/promises";
import type { Harness } from "../../daemon/harness/port.ts";
import {
  BlobMissing,
  type Blobs,
  BodyTooLarge,
  type Journal,
  JournalMissing,
} from "../../daemon/journal/port.ts";
import { CHAIN_START, type ChainPosition, sealEvent, sha256 } from "../../daemon/protocol/chain.ts";
import { CaissonError } from "../../daemon/protocol/errors.ts";
import type { JournalEvent, NewEvent } from "../../daemon/protocol/events.ts";
import type { LiveFrame } from "../../daemon/protocol/frames.ts";
import type { GcReport } from "../../daemon/protocol/gc.ts";
import type { ApprovalView, RunView } from "../../daemon/protocol/views.ts";
import type { Views } from "../../daemon/views/port.ts";

export const RUN = "019aa3f0-5b00-7c3a-9d51-0f6f2a6c1e01";
export const UNKNOWN_RUN = "019aa3f0-5b00-7c3a-9d51-ffffffffffff";
const AT = "2026-11-21T09:00:00.000Z";

/** A journal in memory that reads in small batches and gives way between them, as a file would. */
export class MemoryJournal implements Pick<Journal, "read" | "lineOf" | "onAppended" | "onRemoved" | "runs"> {
  readonly #events = new Map<string, JournalEvent[]>();
  readonly #lines = new WeakMap<JournalEvent, string>();
  readonly #positions = new Map<string, ChainPosition>();
  readonly #listeners = new Set<(run: string, events: readonly JournalEvent[]) => void>();
  readonly #removalListeners = new Set<(run: string) => void>();
  /** Events handed out by `read`, to see that a slow reader isn't fed. */
  given = 0;
  readonly batch: number;

  constructor(batch = 8) {
    this.batch = batch;
  }

  get listeners(): number {
    return this.#listeners.size + this.#removalListeners.size;
  }

  /** Starts a run and appends; the listeners hear of it in the same tick, as the port asks. */
  append(run: string, events: readonly NewEvent[]): readonly JournalEvent[] {
    const list = this.#events.get(run) ?? [];
    let position = this.#positions.get(run) ?? CHAIN_START;
    const appended = events.map((event) => {
      const sealed = sealEvent(position, AT, event);
      position = { seq: sealed.event.seq, head: sealed.event.hash };
      this.#lines.set(sealed.event, sealed.line);
      return sealed.event;
    });
    list.push(...appended);
    this.#events.set(run, list);
    this.#positions.set(run, position);
    for (const listener of this.#listeners) listener(run, appended);
    return appended;
  }

  events(run: string): readonly JournalEvent[] {
    return this.#events.get(run) ?? [];
  }

  seqOf(run: string): number {
    return this.#positions.get(run)?.seq ?? 0;
  }

  headOf(run: string): string {
    return (this.#positions.get(run) ?? CHAIN_START).head;
  }

  async *read(run: string, after: number): AsyncGenerator<readonly JournalEvent[]> {
    const list = this.#events.get(run);
    if (list === undefined) throw new JournalMissing(`run ${run} has no journal`);
    const written = list.length;
    for (let at = after; at < written; at += this.batch) {
      await nextTick();
      const batch = list.slice(at, Math.min(at + this.batch, written));
      this.given += batch.length;
      yield batch;
    }
    await nextTick();
  }

  lineOf(event: JournalEvent): string {
    return this.#lines.get(event) ?? JSON.stringify(event);
  }

  onAppended(listener: (run: string, events: readonly JournalEvent[]) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  onRemoved(listener: (run: string) => void): () => void {
    this.#removalListeners.add(listener);
    return () => this.#removalListeners.delete(listener);
  }

  /** Forgets a run. */
  remove(run: string): void {
    this.#events.delete(run);
    this.#positions.delete(run);
    for (const listener of this.#removalListeners) listener(run);
  }

  async runs(): Promise<readonly string[]> {
    return [...this.#events.keys()];
  }
}

/** Blobs in memory. */
export class MemoryBlobs implements Pick<Blobs, "put" | "has" | "read"> {
  readonly contents = new Map<string, Buffer>();

  async put(content: AsyncIterable<Uint8Array>, maximumBytes: number) {
    const chunks: Uint8Array[] = [];
    let bytes = 0;
    for await (const chunk of content) {
      bytes += chunk.length;
      if (bytes > maximumBytes) throw new BodyTooLarge(`over ${maximumBytes} bytes`);
      chunks.push(chunk);
    }
    const whole = Buffer.concat(chunks);
    const hash = sha256(whole);
    this.contents.set(hash, whole);
    return { hash, bytes };
  }

  async has(hash: string): Promise<boolean> {
    return this.contents.has(hash);
  }

  async *read(hash: string): AsyncGenerator<Uint8Array> {
    const content = this.contents.get(hash);
    if (content === undefined) throw new BlobMissing(hash);
    for (let at = 0; at < content.length; at += 1000) yield content.subarray(at, at + 1000);
  }
}

/** Events that differ, so that a duplicate or a gap shows. */
export function messages(count: number, from = 0, text = "message"): readonly NewEvent[] {
  return Array.from({ length: count }, (_, index) => ({
    type: "message.received" as const,
    data: { text: `${text} ${from + index} \u00e9\u{1f40b}` },
  }));
}

function gcReport(dryRun: boolean): GcReport {
  const before = { images: 2, bytes: 5 };
  const after = { images: 1, bytes: 3 };
  return { dryRun, runs: [], orphans: { images: 1, bytes: 2 }, before, after, budgetBytes: 10 };
}

/** A harness of canned answers that keeps what it was asked, and can be told to fail. */
export class CannedHarness {
  readonly calls: { readonly method: string; readonly arguments: readonly unknown[] }[] = [];
  readonly #live = new Set<(frame: LiveFrame) => void>();
  /** Thrown by the next call. */
  failure: unknown;

  get face(): Harness {
    return {
      submit: async (body) => this.#answer("submit", [body], { run: RUN, seq: 1 }),
      checkSubmission: async (body) =>
        this.#answer("checkSubmission", [body], {
          policy: "coding",
          image: "base",
          workspace: { entries: 10, archiveBytes: 20, contentBytes: 30 },
        }),
      checkedWorkspace: (archive) => this.#answer("checkedWorkspace", [], archive),
      message: async (run, text) => this.#answer("message", [run, text], { run, seq: 2 }),
      interrupt: async (run, reason) => this.#answer("interrupt", [run, reason], { run, seq: 3 }),
      resume: async (run) => this.#answer("resume", [run], { run, seq: 4 }),
      shell: async (run, body) => this.#answer("shell", [run, body], { action: "a1", seq: 4 }),
      signalShell: async (run, body) => this.#answer("signalShell", [run, body], undefined),
      checkpoint: async (run, name) => this.#answer("checkpoint", [run, name], { run, seq: 7 }),
      undo: async (run, action) => this.#answer("undo", [run, action], { action: "a9", seq: 8 }),
      rewind: async (run, to) => this.#answer("rewind", [run, to], { run, seq: 6 }),
      race: async (run, body) =>
        this.#answer("race", [run, body], { run, race: "r1", branches: [UNKNOWN_RUN], seq: 7 }),
      fork: async (run, body) => this.#answer("fork", [run, body], { run: UNKNOWN_RUN, seq: 2 }),
      collectGarbage: async (dryRun) => this.#answer("collectGarbage", [dryRun], gcReport(dryRun)),
      checkpointStorage: () => ({ bytes: 3, images: 1, budgetBytes: 10 }),
      cancel: async (run) => this.#answer("cancel", [run], { run, seq: 5 }),
      lowerLabels: async (run, body) => this.#answer("lowerLabels", [run, body], { run, seq: 9 }),
      remove: async (run) => this.#answer("remove", [run], undefined),
      decideApproval: async (id, decision) => this.#answer("decideApproval", [id, decision], approval(id)),
      revokeApproval: async (id) => this.#answer("revokeApproval", [id], approval(id)),
      diff: async (run, compared) =>
        this.#answer("diff", [run, compared], {
          patch: "diff --git a/x b/x\n",
          ignored: 3,
          omitted: [{ path: "é", reason: "held" }],
        }),
      workspace: async (run, path, at) =>
        this.#answer(
          "workspace",
          at !== undefined ? [run, path, at] : path === undefined ? [run] : [run, path],
          {
            tar: archive(),
            files: "all" as const,
            leftOut: 0,
          },
        ),
      replay: async (run) => this.#answer("replay", [run], { identical: true, events: 4 }),
      policies: async () => this.#answer("policies", [], [{ name: "coding", hash: "a".repeat(64) }]),
      checkPolicy: (text) =>
        this.#answer("checkPolicy", [text], {
          ok: true,
          errors: [],
          warnings: [],
          untouched: [],
          tests: { passed: 1, failed: [] },
        }),
      explainPolicy: (body) =>
        this.#answer("explainPolicy", [body], {
          verdict: "deny",
          rule: "default",
          reason: "Nothing matched.",
          layer: "run",
          matched: [],
        }),
      effectivePolicy: (body) =>
        this.#answer("effectivePolicy", [body], { layers: [], sections: [], settings: [] }),
      backtest: async (run, text) =>
        this.#answer("backtest", [run, text], {
          run,
          policy: { name: "mine", hash: "a".repeat(64) },
          judged: 3,
          changed: 0,
          otherRule: 0,
          changes: [],
        }),
      learnPolicy: async (body) =>
        this.#answer("learnPolicy", [body], {
          text: "version: 1\n",
          runs: body.runs.length,
          allowed: 1,
          denied: 0,
          notes: [],
        }),
      onLive: (listener) => {
        this.#live.add(listener);
        return () => this.#live.delete(listener);
      },
    };
  }

  live(frame: LiveFrame): void {
    for (const listener of this.#live) listener(frame);
  }

  get listeners(): number {
    return this.#live.size;
  }

  #answer<T>(method: string, args: readonly unknown[], answer: T): T {
    this.calls.push({ method, arguments: args });
    const { failure } = this;
    this.failure = undefined;
    if (failure !== undefined) throw failure;
    if (args[0] === UNKNOWN_RUN) throw new CaissonError("unknown_run", "There is no such run.");
    return answer;
  }
}

export async function* archive(): AsyncGenerator<Uint8Array> {
  yield Buffer.alloc(1024, 1);
  yield Buffer.alloc(1024, 2);
}

function approval(id: string): ApprovalView {
  const [run = "", action = ""] = id.split(".");
  return {
    id,
    run,
    action,
    tool: "bash",
    input: { command: "git push" },
    rule: "push",
    reason: "Publishing needs a person.",
    askedAt: AT,
    expiresAt: AT,
  };
}

/** One run with one owned blob, no checkpoints. */
export function cannedViews(journal: MemoryJournal, owned: ReadonlySet<string>): Views {
  const view = (run: string): RunView => ({
    run,
    task: "do it",
    status: "running",
    seq: journal.seqOf(run),
    head: journal.headOf(run),
    createdAt: AT,
    model: "claude-sonnet-5-5",
    policy: { name: "coding" },
    usage: { inputTokens: 0, outputTokens: 0 },
  });
  const has = (run: string) => journal.seqOf(run) > 0;
  return {
    runs: ({ status }) => ({ items: status?.has("running") === false ? [] : [view(RUN)] }),
    run: (run) => (has(run) ? view(run) : undefined),
    byRequestId: () => undefined,
    approvals: () => [approval(`${RUN}.a1`)],
    approval: (id) => approval(id),
    questions: () => [],
    checkpoints: () => [],
    racing: () => [],
    ownsBlob: async (run, hash) => has(run) && owned.has(hash),
  };
}
