import type { EventOf, JournalEvent } from "../../../daemon/protocol/events.ts";
import { END_TYPES } from "../../../daemon/protocol/events.ts";
import type { RunId } from "../../../daemon/protocol/ids.ts";
import { isBlobReference } from "../../../daemon/protocol/text.ts";
import type { CaissonClient } from "../../api/client.ts";
import type { Watched } from "../../api/watch.ts";

/** Characters of live output kept to tell whether all of it has come. */
const KEPT = 256 * 1024;
/** Characters that are held for an action whose id the daemon has not answered yet. */
const HELD = 1024 * 1024;

export type Stream = "stdout" | "stderr";
export type Outcome = EventOf<"action.finished" | "action.unknown">;

export interface ShellSettings {
  readonly client: CaissonClient;
  readonly run: RunId;
  /** The newest event that is known already. */
  readonly after: number;
  /** Names the shell whose directory and variables the commands share. */
  readonly shell: string;
  readonly print: (stream: Stream, text: string) => Promise<void>;
  /** Something beside the output that the person should know. */
  readonly remark: (text: string) => void;
}

interface Current {
  readonly action: string;
  seen: string;
  seenBytes: number;
  readonly ended: (outcome: Outcome) => void;
}

/** A person's shell in a run's sandbox: one command after the other, their output as it comes. */
export class PersonsShell {
  readonly #settings: ShellSettings;
  readonly #leaving = new AbortController();
  #held: Watched[] | undefined;
  #heldCharacters = 0;
  #current: Current | undefined;
  #interrupts = 0;
  #watching: Promise<void> = Promise.resolve();
  #overNow: () => void = () => {};
  #lost: (error: unknown) => void = () => {};

  /** Resolves when the run has ended: nothing can be run any more. */
  readonly over: Promise<void>;
  /** Rejects when the daemon can't be had any more. */
  readonly #failed: Promise<never>;
  /** Where the shell is, as bash quotes it. */
  directory = "/workspace";

  constructor(settings: ShellSettings) {
    this.#settings = settings;
    this.over = new Promise((resolve) => {
      this.#overNow = resolve;
    });
    this.#failed = new Promise((_, reject) => {
      this.#lost = reject;
    });
    this.#failed.catch(() => undefined);
  }

  /** Resolves when output can be heard. @throws CaissonError, DaemonUnreachable */
  open(): Promise<void> {
    const opened = new Promise<void>((resolve) => {
      this.#watching = this.#watch(resolve).catch((error: unknown) => this.#lost(error));
    });
    return Promise.race([opened, this.#failed]);
  }

  /** Runs one command to its end. @throws CaissonError (`run_ended`, `no_sandbox`, …), DaemonUnreachable */
  async run(command: string): Promise<Outcome> {
    const { client, run, shell } = this.#settings;
    this.#held = [];
    this.#heldCharacters = 0;
    this.#interrupts = 0;
    const { action } = await client.shell(run, { command, shell });
    const outcome = new Promise<Outcome>((resolve) => {
      this.#current = { action, seen: "", seenBytes: 0, ended: resolve };
    });
    const held = this.#held;
    this.#held = undefined;
    for (const one of held) await this.#see(one);
    const event = await Promise.race([outcome, this.#failed]);
    const current = this.#current;
    this.#current = undefined;
    if (event.type !== "action.finished") return event;
    this.directory = event.data.directory ?? this.directory;
    if (current) await this.#rest(current, event.data);
    return event;
  }

  /** Stops the command that runs: first as Ctrl-C does, then for good. */
  interrupt(): void {
    const { client, run, remark } = this.#settings;
    const action = this.#current?.action;
    if (action === undefined) return;
    this.#interrupts += 1;
    const signal = this.#interrupts === 1 ? "SIGINT" : "SIGKILL";
    client.signalShell(run, { action, signal }).catch((error: unknown) => {
      if (error instanceof Error && "code" in error && error.code === "unknown_action") return;
      remark(`The command could not be stopped: ${error instanceof Error ? error.message : String(error)}`);
    });
  }

  async close(): Promise<void> {
    this.#leaving.abort();
    await this.#watching;
  }

  async #watch(opened: () => void): Promise<void> {
    const { client, run, after, remark } = this.#settings;
    for await (const seen of client.watch(run, after, { signal: this.#leaving.signal })) {
      if (seen.kind === "caught-up") opened();
      else if (seen.kind === "reconnecting")
        remark(`The connection was lost (${seen.reason}); trying again.`);
      else if (seen.kind === "event" && isEnd(seen.event)) this.#overNow();
      else if (this.#held) this.#hold(seen);
      else await this.#see(seen);
    }
  }

  /** The daemon's answer with the action's id may come after its first output. */
  #hold(seen: Watched): void {
    if (seen.kind === "live") this.#heldCharacters += seen.data.length;
    if (seen.kind !== "live" || this.#heldCharacters <= HELD) this.#held?.push(seen);
  }

  async #see(seen: Watched): Promise<void> {
    const current = this.#current;
    if (!current) return;
    if (seen.kind === "live" && seen.action === current.action && seen.stream !== "text") {
      current.seenBytes += Buffer.byteLength(seen.data);
      if (current.seen.length < KEPT) current.seen += seen.data;
      await this.#settings.print(seen.stream, seen.data);
    }
    if (seen.kind === "event" && isOutcome(seen.event) && seen.event.data.action === current.action)
      current.ended(seen.event);
  }

  /** Live output may be cut short on its way; the journal has it whole. */
  async #rest(current: Current, { output }: EventOf<"action.finished">["data"]): Promise<void> {
    const { client, run, print, remark } = this.#settings;
    const bytes = isBlobReference(output) ? output.bytes : Buffer.byteLength(output);
    if (current.seenBytes >= bytes) return;
    const whole = isBlobReference(output) ? await client.blobText(run, output.blob) : output;
    const told = current.seen.length < KEPT && whole.startsWith(current.seen);
    if (told) await print("stdout", whole.slice(current.seen.length));
    else remark("A part of the output did not come through; `caisson events` shows it all.");
  }
}

function isEnd(event: JournalEvent): boolean {
  return (END_TYPES as readonly string[]).includes(event.type);
}

function isOutcome(event: JournalEvent): event is Outcome {
  return event.type === "action.finished" || event.type === "action.unknown";
}
