import { hydrate } from "../journal/hydrate.ts";
import { JournalMissing } from "../journal/port.ts";
import { CaissonError } from "../protocol/errors.ts";
import type { Ending, EventData, EventOf } from "../protocol/events.ts";
import type { RunId } from "../protocol/ids.ts";
import { isBlobReference, type Text } from "../protocol/text.ts";
import type { Dependencies } from "./dependencies.ts";
import { changesIn } from "./patch-summary.ts";

/** Characters of each part of a recap that the model is told; the newest messages count. */
const TASK = 4_000;
const MESSAGE = 1_000;
const MESSAGES = 10;
const WORDS = 4_000;
const EARLIER = 6_000;
const FILES = 100;
/** Bytes of a diff above which its files are not listed. */
const DIFF_BYTES = 8 * 1024 * 1024;

type Sequel = Pick<EventData<"run.submitted">, "parent" | "recap">;

interface Parts {
  readonly submitted?: EventData<"run.submitted">;
  readonly messages: readonly Text[];
  readonly stopped?: EventData<"sandbox.stopped">;
  readonly ended?: EventOf<"run.completed" | "run.failed" | "run.cancelled">;
}

/**
 * What a run that continues an ended one takes from it: words, bounded and copied, so that its own journal suffices
 * to read it. Not the files: those are what the person gives it.
 * @throws CaissonError `unknown_run`, `run_active`
 */
export async function sequelOf(deps: Dependencies, run: RunId): Promise<Sequel> {
  const { submitted, messages, stopped, ended } = await partsOf(deps, run);
  if (!submitted) throw new CaissonError("unknown_run", `There is no run ${run} to continue.`);
  if (!ended) {
    const detail = `Run ${run} has not ended; nothing was submitted. Send it a message instead, and it goes on.`;
    throw new CaissonError("run_active", detail);
  }
  const text = async (one: Text) => String(await hydrate(one, deps.blobs));
  const said = await Promise.all(messages.slice(-MESSAGES).map(text));
  const recap = [
    "You continue an earlier run. This is what is left of it. Its sandbox is gone: the files in /workspace are those that the person has now, with or without what that run changed, so look before you rely on it.",
    submitted.recap === undefined
      ? ""
      : part("What it continued itself", await text(submitted.recap), EARLIER),
    part("Its task", await text(submitted.task), TASK),
    said.length === 0
      ? ""
      : `# What the person told it\n${said.map((one) => `- ${cut(one, MESSAGE)}`).join("\n")}`,
    part("How it ended", await endingText(deps, ended), WORDS),
    `# What it changed\n${await changesText(deps, stopped?.diff)}`,
  ];
  return { parent: { run, seq: ended.seq }, recap: recap.filter((one) => one !== "").join("\n\n") };
}

async function partsOf(deps: Dependencies, run: RunId): Promise<Parts> {
  let parts: Parts = { messages: [] };
  try {
    for await (const batch of deps.journal.read(run, 0))
      for (const event of batch) {
        if (event.type === "run.submitted") parts = { ...parts, submitted: event.data };
        if (event.type === "message.received")
          parts = { ...parts, messages: [...parts.messages, event.data.text] };
        if (event.type === "sandbox.stopped") parts = { ...parts, stopped: event.data };
        if (event.type === "run.completed" || event.type === "run.failed" || event.type === "run.cancelled")
          parts = { ...parts, ended: event };
      }
  } catch (error) {
    if (!(error instanceof JournalMissing)) throw error;
  }
  return parts;
}

async function endingText(deps: Dependencies, ended: NonNullable<Parts["ended"]>): Promise<string> {
  const { type, ...data } = { type: ended.type, ...(await hydrate(ended.data, deps.blobs)) } as Ending;
  if (type === "run.completed")
    return `It was completed. Its last words:\n${"summary" in data ? data.summary : ""}`;
  const reason = "reason" in data && data.reason !== undefined ? `: ${data.reason}` : ".";
  return type === "run.cancelled" ? `It was cancelled${reason}` : `It failed${reason}`;
}

async function changesText(deps: Dependencies, diff: Text | undefined): Promise<string> {
  if (diff === undefined) return "That is not known.";
  if (isBlobReference(diff) && diff.bytes > DIFF_BYTES) return `Much: its diff has ${diff.bytes} bytes.`;
  const changes = changesIn(String(await hydrate(diff, deps.blobs)));
  if (changes.length === 0) return "Nothing.";
  const more = changes.length > FILES ? [`… and ${changes.length - FILES} more files`] : [];
  return [...changes.slice(0, FILES), ...more].join("\n");
}

function part(title: string, text: string, most: number): string {
  return `# ${title}\n${cut(text, most)}`;
}

function cut(text: string, most: number): string {
  return text.length > most ? `${text.slice(0, most)}…` : text;
}
