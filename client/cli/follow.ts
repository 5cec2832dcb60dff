import { CaissonError } from "../../daemon/protocol/errors.ts";
import { END_TYPES, type JournalEvent } from "../../daemon/protocol/events.ts";
import type { RunId } from "../../daemon/protocol/ids.ts";
import type { CaissonClient } from "../api/client.ts";
import type { Watched } from "../api/watch.ts";
import { type Answer, type Asked, answerLines, askedTogetherLines, askPerson } from "./approval-prompt.ts";
import { type Command, writeJson } from "./command.ts";
import { EXIT, type ExitStatus } from "./exit.ts";
import type { IngestRow } from "./ingest-row.ts";
import { closingLines, detachedLines, interruptedLines, waitingLines } from "./render/closing.ts";
import { EMPTY, type Line, line, span } from "./render/line.ts";
import { Narration } from "./render/narration.ts";
import { shortRun } from "./render/quantities.ts";

export interface FollowOptions {
  readonly after: number;
  /** What to do at an approval that nobody here can answer: leave with status 3, or go on watching. */
  readonly unanswerable: "leave" | "stay";
  /** Told of every event before a person is; stopped at the end. */
  readonly ingesting?: IngestRow;
}

/** Tells a run as it goes until it ends, is interrupted, or is left; resolves to the exit status. */
export async function follow(
  command: Command,
  client: CaissonClient,
  run: RunId,
  options: FollowOptions,
): Promise<ExitStatus> {
  const following = new Following(command, client, run, options);
  const interrupted = () => following.controlC();
  process.on("SIGINT", interrupted);
  try {
    return await following.toTheEnd();
  } finally {
    process.off("SIGINT", interrupted);
    options.ingesting?.stop();
  }
}

class Following {
  readonly #command: Command;
  readonly #client: CaissonClient;
  readonly #run: RunId;
  readonly #options: FollowOptions;
  readonly #narration = new Narration();
  readonly #leaving = new AbortController();
  readonly #pending = new Map<string, Asked>();
  /** Actions that were asked for, answered or not. */
  readonly #asked = new Set<string>();
  #left: ExitStatus | undefined;
  #caughtUp = false;
  #interrupted = false;
  #interrupting = false;
  /** The question that stands on the terminal, and what came meanwhile. */
  #question: { readonly approvals: ReadonlySet<string>; readonly obsolete: AbortController } | undefined;
  #held: Line[] = [];

  constructor(command: Command, client: CaissonClient, run: RunId, options: FollowOptions) {
    this.#command = command;
    this.#client = client;
    this.#run = run;
    this.#options = options;
  }

  async toTheEnd(): Promise<ExitStatus> {
    const { signal } = this.#leaving;
    for await (const seen of this.#client.watch(this.#run, this.#options.after, { signal })) {
      const status = await this.#see(seen);
      if (status !== undefined) return status;
    }
    return this.#left ?? EXIT.interrupted;
  }

  /** The first one interrupts the run, the second one leaves it. */
  controlC(): void {
    if (this.#interrupting) {
      this.#remark(detachedLines(this.#run));
      this.#leave(EXIT.interrupted);
      return;
    }
    this.#interrupting = true;
    this.#remark([line(0, span("Interrupting the run … (Ctrl-C again: leave it running)", "warn"))]);
    this.#client.interrupt(this.#run).then(
      () => this.#leaveInterrupted(),
      (error: unknown) => {
        // A run that has just ended tells so itself.
        if (error instanceof CaissonError && error.code === "run_ended") return;
        const reason = error instanceof Error ? error.message : String(error);
        this.#remark([line(0, span(`The run could not be interrupted: ${reason}`, "bad"))]);
        this.#leave(EXIT.unreachable);
      },
    );
  }

  #leave(status: ExitStatus): void {
    this.#left ??= status;
    this.#question?.obsolete.abort();
    this.#leaving.abort();
  }

  #leaveInterrupted(): void {
    if (this.#left !== undefined) return;
    this.#remark(interruptedLines(this.#run));
    this.#leave(EXIT.interrupted);
  }

  async #see(seen: Watched): Promise<ExitStatus | undefined> {
    switch (seen.kind) {
      case "event":
        return this.#event(seen.event);
      case "live":
        if (!this.#command.json) this.#say(this.#narration.live(seen));
        return undefined;
      case "notice":
        this.#remark([line(0, span(seen.detail, "warn"))]);
        return undefined;
      case "caught-up":
        this.#caughtUp = true;
        return this.#stateNow();
      case "reconnecting":
        this.#remark([line(0, span(`The connection was lost (${seen.reason}); trying again.`, "dim"))]);
        return undefined;
    }
  }

  async #event(event: JournalEvent): Promise<ExitStatus | undefined> {
    this.#keepTrack(event);
    this.#options.ingesting?.see(event.type);
    if (this.#command.json) await writeJson(this.#command, event);
    else this.#say(this.#narration.event(event));
    if (isEnd(event)) return this.#end(event);
    return this.#caughtUp ? this.#stateNow() : undefined;
  }

  #keepTrack(event: JournalEvent): void {
    if (event.type === "approval.requested") {
      this.#pending.set(event.data.approval, event.data);
      this.#asked.add(event.data.action);
    }
    if (event.type === "approval.decided") {
      this.#pending.delete(event.data.approval);
      if (this.#question?.approvals.has(event.data.approval)) this.#question.obsolete.abort();
    }
    if (event.type === "run.interrupted") this.#interrupted = event.data.by === "person";
    if (event.type === "run.resumed" || event.type === "message.received") this.#interrupted = false;
  }

  /** What the state asks of whoever watches: to leave, or to answer. */
  #stateNow(): ExitStatus | undefined {
    if (this.#interrupted) {
      this.#leaveInterrupted();
      return EXIT.interrupted;
    }
    const group = this.#askedTogether();
    if (group === undefined || this.#question !== undefined) return undefined;
    if (this.#command.terminal.interactive) {
      void this.#ask(group);
      return undefined;
    }
    return this.#tellHowToAnswer(group);
  }

  /** What waits first, with those asked alike at the same moment; undefined until all of them have come. */
  #askedTogether(): readonly Asked[] | undefined {
    const first = this.#pending.values().next().value;
    if (first?.alike === undefined) return first && [first];
    if (!this.#asked.has(first.alike.at(-1) ?? "")) return undefined;
    return [...this.#pending.values()].filter((asked) => first.alike?.includes(asked.action));
  }

  #tellHowToAnswer(group: readonly Asked[]): ExitStatus | undefined {
    this.#remark([...askedTogetherLines(group, Date.now(), "nothing"), ...answerLines(group)]);
    for (const { approval } of group) this.#pending.delete(approval);
    if (this.#options.unanswerable === "stay") return undefined;
    this.#remark(waitingLines(this.#run));
    return EXIT.policy;
  }

  async #ask(group: readonly Asked[]): Promise<void> {
    const obsolete = new AbortController();
    this.#command.terminal.say(askedTogetherLines(group, Date.now(), "verdict"));
    this.#question = { approvals: new Set(group.map(({ approval }) => approval)), obsolete };
    const answer = await askPerson(obsolete.signal, group.length).catch((): Answer => "obsolete");
    this.#question = undefined;
    this.#say(this.#held.splice(0));
    // Of those alike that somebody else answered, the others are asked again.
    if (!obsolete.signal.aborted) for (const { approval } of group) this.#pending.delete(approval);
    if (answer === "interrupt") this.controlC();
    else if (answer !== "obsolete") for (const asked of group) await this.#answer(asked, answer);
    if (this.#left === undefined) this.#stateNow();
  }

  async #answer(asked: Asked, answer: Exclude<Answer, string>): Promise<void> {
    try {
      await this.#client.decideApproval(asked.approval, answer);
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      this.#remark([line(2, span(reason, "warn"))]);
    }
  }

  async #end(event: EndEvent): Promise<ExitStatus> {
    this.#question?.obsolete.abort();
    const view = await this.#client.run(this.#run).catch(() => undefined);
    const lines = view ? closingLines(view) : [line(0, `caisson show ${shortRun(this.#run)}`)];
    if (this.#command.json) this.#remark(lines);
    else this.#command.terminal.say([EMPTY, ...lines]);
    return statusOf(event);
  }

  #say(lines: readonly Line[]): void {
    if (lines.length === 0) return;
    if (this.#question) this.#held.push(...lines);
    else this.#command.terminal.say(lines);
  }

  #remark(lines: readonly Line[]): void {
    this.#command.terminal.remark(lines);
  }
}

type EndEvent = Extract<JournalEvent, { type: (typeof END_TYPES)[number] }>;

function isEnd(event: JournalEvent): event is EndEvent {
  return (END_TYPES as readonly string[]).includes(event.type);
}

function statusOf(event: EndEvent): ExitStatus {
  if (event.type === "run.completed") return EXIT.done;
  return event.type === "run.failed" && event.data.code === "policy" ? EXIT.policy : EXIT.failed;
}
