import { setTimeout as pause } from "node:timers/promises";
import type { EventData, JournalEvent } from "../../daemon/protocol/events.ts";
import { type Told, ToldModel } from "../servers/told-model.ts";
import { DaemonUnderTest } from "./daemon-under-test.ts";
import { eventually } from "./eventually.ts";
import { residentBytes } from "./process.ts";
import { dataOf } from "./runs.ts";

const SAMPLE_MS = 20;
const END_MS = 600_000;
/** Actions of one neighbour, and the model's thinking time before each. */
const NEIGHBOUR_ACTIONS = 60;
const THINKING_MS = 50;

/** What one run came to. */
export interface Abuse {
  readonly run: string;
  readonly events: readonly JournalEvent[];
  /** The results as the model read them. */
  readonly heard: readonly string[];
  readonly finished: readonly EventData<"action.finished">[];
  /** Bytes by which the daemon's memory grew at most meanwhile. */
  readonly grown: number;
}

type Submission = Omit<
  Parameters<Awaited<ReturnType<DaemonUnderTest["client"]>>["submit"]>[0],
  "task" | "model"
>;

/** A daemon whose model does as it is told, whatever that is. */
export class AbusedDaemon {
  readonly daemon: DaemonUnderTest;
  readonly model: ToldModel;

  private constructor(daemon: DaemonUnderTest, model: ToldModel) {
    this.daemon = daemon;
    this.model = model;
  }

  static async start(): Promise<AbusedDaemon> {
    const model = await ToldModel.start();
    const prices = { told: { input: 0, output: 0, cacheRead: 0, cacheWrite: 0 } };
    const daemon = await DaemonUnderTest.start({
      env: { ANTHROPIC_BASE_URL: model.url, ANTHROPIC_API_KEY: "sk-test-abuse-0123456789" },
      prices: JSON.stringify({ models: prices }),
    });
    return new AbusedDaemon(daemon, model);
  }

  async submit(task: string, told: readonly Told[], body: Submission = {}): Promise<string> {
    this.model.tell(task, told);
    const client = await this.daemon.client();
    return (await client.submit({ task, model: "told", ...body })).run;
  }

  /** Runs to the end, with an eye on the daemon's memory. */
  async abuse(task: string, told: readonly Told[], body: Submission = {}): Promise<Abuse> {
    const memory = await MemoryWatch.start(this.daemon.pid);
    const run = await this.submit(task, told, body);
    const events = await this.daemon.untilEnded(run, END_MS);
    const finished = dataOf(events, "action.finished");
    return { run, events, heard: this.model.heard(task), finished, grown: await memory.stop() };
  }

  /** Resolves when nothing is left of ended runs: the pool's container alone. */
  async tidy(): Promise<void> {
    await eventually("only the pool is left", async () => (await this.daemon.containers()).length <= 1);
  }

  async cleanUp(): Promise<void> {
    await this.daemon.cleanUp();
    await this.model.close();
  }
}

/** The highest resident memory of a process over some time, above where it began. */
class MemoryWatch {
  readonly #pid: number;
  readonly #before: number;
  #most: number;
  readonly #timer: NodeJS.Timeout;

  private constructor(pid: number, before: number) {
    this.#pid = pid;
    this.#before = before;
    this.#most = before;
    this.#timer = setInterval(() => void this.#look().catch(() => undefined), SAMPLE_MS);
  }

  static async start(pid: number): Promise<MemoryWatch> {
    return new MemoryWatch(pid, await residentBytes(pid));
  }

  async #look(): Promise<void> {
    this.#most = Math.max(this.#most, await residentBytes(this.#pid));
  }

  async stop(): Promise<number> {
    await this.#look();
    clearInterval(this.#timer);
    return this.#most - this.#before;
  }
}

/** Runs beside others, one after the other, each of a few small actions. */
export class Neighbour {
  readonly #abused: AbusedDaemon;
  readonly #over: Promise<void>;
  #stopped = false;
  /** Milliseconds of each action, from proposal to journalled result. */
  readonly latencies: number[] = [];
  runs = 0;

  constructor(abused: AbusedDaemon) {
    this.#abused = abused;
    this.#over = this.#live();
    this.#over.catch(() => undefined);
  }

  /** @throws when a run did not complete, or an action did not do what it should */
  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#over;
  }

  async #live(): Promise<void> {
    while (!this.#stopped) {
      const events = await neighbourRun(this.#abused, `neighbour ${this.runs}`, () => this.#stopped);
      this.latencies.push(...latenciesOf(events));
      this.runs += 1;
    }
  }
}

/** One run of small actions; fewer when `over` says so. */
export async function neighbourRun(
  { daemon, model }: AbusedDaemon,
  task: string,
  over: () => boolean = () => false,
  actions = NEIGHBOUR_ACTIONS,
): Promise<JournalEvent[]> {
  model.tell(task, async (results) => {
    await pause(THINKING_MS);
    return results.length < actions && !over() ? `echo "$((${results.length} + 1)) of many"` : undefined;
  });
  const client = await daemon.client();
  const { run } = await client.submit({ task, model: "told" });
  const events = await daemon.untilEnded(run, END_MS);
  const outputs = dataOf(events, "action.finished").map(({ output }) => output);
  const wrong = outputs.findIndex((output, at) => output !== `${at + 1} of many\n`);
  if (wrong !== -1)
    throw new Error(`a neighbour's action ${wrong + 1} gave ${JSON.stringify(outputs[wrong])}`);
  const last = events.at(-1);
  if (last?.type !== "run.completed") throw new Error(`a neighbour ended so: ${JSON.stringify(last)}`);
  return events;
}

/** Milliseconds from each action's proposal to its result in the journal. */
export function latenciesOf(events: readonly JournalEvent[]): number[] {
  const proposed = new Map<string, number>();
  return events.flatMap((event) => {
    if (event.type === "action.proposed") proposed.set(event.data.action, Date.parse(event.at));
    const began = event.type === "action.finished" ? proposed.get(event.data.action) : undefined;
    return began === undefined ? [] : [Date.parse(event.at) - began];
  });
}
