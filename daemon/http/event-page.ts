import { type Journal, JournalDamaged } from "../journal/port.ts";
import { CaissonError } from "../protocol/errors.ts";
import type { JournalEvent } from "../protocol/events.ts";
import type { RunId } from "../protocol/ids.ts";

/** A page ends after this many characters, whatever its `limit`, so that none takes long. */
const PAGE_CHARACTERS = 8 * 1024 * 1024;
/** Characters that are written out together. */
const PIECE_CHARACTERS = 64 * 1024;

/**
 * A page of events, `{items, next?}`, written out as it is read: none is in memory whole, however many are asked for.
 * Damage in the journal ends the page before it, and is what the next page says.
 * @throws CaissonError `after_past_head`, JournalDamaged when it stands at the page's beginning
 */
export async function* eventPage(
  journal: Journal,
  run: RunId,
  after: number,
  limit: number,
): AsyncGenerator<Uint8Array> {
  let text = '{"items":[';
  let count = 0;
  let characters = 0;
  let last = after;
  const cut = () => Buffer.from(`${text}],"next":"${last}"}`);
  try {
    for await (const event of eventsAfter(journal, run, after)) {
      if (count === limit || characters >= PAGE_CHARACTERS) return yield cut();
      const line = journal.lineOf(event);
      text += count === 0 ? line : `,${line}`;
      count += 1;
      characters += line.length;
      last = event.seq;
      if (text.length < PIECE_CHARACTERS) continue;
      yield Buffer.from(text);
      text = "";
    }
  } catch (error) {
    if (!(error instanceof JournalDamaged) || count === 0) throw error;
    return yield cut();
  }
  yield Buffer.from(`${text}]}`);
}

/**
 * Reads from the event before, so that an empty page and an `after` past the head can be told apart without asking
 * anything but the journal.
 */
async function* eventsAfter(journal: Journal, run: RunId, after: number): AsyncGenerator<JournalEvent> {
  let found = after === 0;
  for await (const batch of journal.read(run, Math.max(0, after - 1)))
    for (const event of batch) {
      found = true;
      if (event.seq > after) yield event;
    }
  if (!found)
    throw new CaissonError("after_past_head", `The run has no event ${after}: its journal ends before it.`);
}
