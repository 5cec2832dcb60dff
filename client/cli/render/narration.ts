import type { EventData, JournalEvent } from "../../../daemon/protocol/events.ts";
import type { LiveFrame } from "../../../daemon/protocol/frames.ts";
import { previewOf } from "../../../daemon/protocol/text.ts";
import { eventLines } from "./events.ts";
import { EMPTY, type Line, line, paragraphs, span } from "./line.ts";
import { LiveOutput, outputLines } from "./output.ts";

/** Actions whose live output is kept apart at a time; more are told when they finish. */
const LIVE_ACTIONS = 100;
/** Characters of a model's unfinished line that wait for their line feed. */
const LIVE_TEXT = 8_000;

/**
 * Tells a run: events as lines, and between them what comes live, so that nothing is told twice. Knows nothing of
 * terminals or time.
 */
export class Narration {
  /** Proposed actions: a turn proposes several before the first is judged, so each is told with its verdict. */
  readonly #proposed = new Map<string, Extract<JournalEvent, { type: "action.proposed" }>>();
  /** The action that the lines just told are about. */
  #about = "";
  readonly #outputs = new Map<string, LiveOutput>();
  /** What the model has said live in the present turn, and how much of it was told. */
  #saying = "";
  #told = 0;
  /** The model's last words, which a run's summary may repeat. */
  #lastWords = "";

  event(event: JournalEvent): Line[] {
    switch (event.type) {
      case "action.proposed":
        this.#proposed.set(event.data.action, event);
        return [];
      case "action.judged":
        this.#about = event.data.action;
        return [...this.#heading(event.data.action), ...eventLines(event)];
      case "approval.decided":
        return [...this.#turnTo(event.data.action), ...eventLines(event)];
      case "action.finished":
        return [...this.#turnTo(event.data.action), ...this.#outputOf(event.data), ...eventLines(event)];
      case "action.unknown":
      case "sandbox.lost":
        return [...this.#unfinished(), ...eventLines(event)];
      case "model.responded":
        return this.#said(event);
      case "run.completed":
        return this.#summary(event);
      case "model.failed":
        return [...this.#brokenOff(), ...eventLines(event)];
      default:
        return eventLines(event);
    }
  }

  live({ action, data }: Omit<LiveFrame, "type">): Line[] {
    if (action === undefined) return this.#saysMore(data);
    const output = this.#outputs.get(action) ?? new LiveOutput();
    if (!this.#outputs.has(action) && this.#outputs.size >= LIVE_ACTIONS) return [];
    this.#outputs.set(action, output);
    const lines = output.push(data);
    return lines.length === 0 ? [] : [...this.#turnTo(action), ...lines];
  }

  /** Actions alike are judged before the first is carried out, and people act beside the agent: who is told of now? */
  #turnTo(action: string): Line[] {
    if (this.#about === action || !this.#proposed.has(action)) return [];
    this.#about = action;
    return this.#heading(action);
  }

  #heading(action: string): Line[] {
    const proposed = this.#proposed.get(action);
    return proposed ? eventLines(proposed) : [EMPTY, line(0, span(`▸ action ${action}`, "accent"))];
  }

  /** That the run is completed stands in the last words of whoever follows it. */
  #summary({ data }: Extract<JournalEvent, { type: "run.completed" }>): Line[] {
    const summary = previewOf(data.summary);
    return summary.trim() === this.#lastWords.trim() ? [] : [EMPTY, ...paragraphs(0, summary)];
  }

  #outputOf({ action, output }: EventData<"action.finished">): Line[] {
    const tool = this.#proposed.get(action)?.data.tool ?? "";
    const live = this.#outputs.get(action);
    this.#proposed.delete(action);
    this.#outputs.delete(action);
    return live && !live.unseen ? live.end() : outputLines(tool, output);
  }

  #unfinished(): Line[] {
    const lines = [...this.#outputs.values()].flatMap((output) => output.end());
    this.#outputs.clear();
    return lines;
  }

  #saysMore(data: string): Line[] {
    this.#saying += data;
    const end = this.#saying.lastIndexOf("\n") + 1;
    const until = this.#saying.length - this.#told > LIVE_TEXT ? this.#saying.length : end;
    if (until <= this.#told) return [];
    const first = this.#told === 0;
    const lines = paragraphs(0, this.#saying.slice(this.#told, until));
    this.#told = until;
    return first ? [EMPTY, ...lines] : lines;
  }

  #said(event: Extract<JournalEvent, { type: "model.responded" }>): Line[] {
    const whole = event.data.content
      .flatMap((block) => (block.type === "text" ? [previewOf(block.text)] : []))
      .join("");
    const told = this.#saying.slice(0, this.#told).trimEnd();
    this.#lastWords = whole;
    this.#saying = "";
    this.#told = 0;
    if (told === "" || !whole.startsWith(told)) return eventLines(event);
    const rest = whole.slice(told.length).replace(/^\n/, "");
    return rest.trim() === "" ? [] : paragraphs(0, rest);
  }

  #brokenOff(): Line[] {
    const told = this.#told > 0;
    this.#saying = "";
    this.#told = 0;
    return told ? paragraphs(0, "… (the response broke off)", "dim") : [];
  }
}
