import { createHash, type Hash } from "node:crypto";
import type { RequestMessage } from "../model/port.ts";
import type { Sha256 } from "../protocol/ids.ts";
import { sortedJson } from "./digest.ts";

const LEFT_OUT = "[left out: it was long ago. Use the output tool with the action's id to read it again.]";
/** The newest messages, which nothing is left out of. */
const NEWEST = 2;
/** Characters of JSON above which a message is written anew each time. */
const KEPT_CHARACTERS = 64 * 1024;
/** Messages between two marks from which a digest is worked out again. */
const MARKED = 64;

/** A context that was digested, and its digest's state before its message 0, 64, 128, … */
interface Digested {
  readonly head: string;
  readonly messages: readonly RequestMessage[];
  readonly marks: readonly Hash[];
}

/**
 * Fits messages into a budget and tells their digest. Most of a context is as it was a turn ago, so what is worked out
 * of a message is kept as long as the message.
 */
export class Budget {
  readonly #json = new WeakMap<RequestMessage, string>();
  #digested: Digested = { head: "", messages: [], marks: [] };
  readonly #shortened = new WeakMap<RequestMessage, { message: RequestMessage; characters: number }>();

  /** Leaves out the oldest results until the rest fits: they can be read again with the `output` tool. */
  within(messages: readonly RequestMessage[], characters: number): readonly RequestMessage[] {
    let excess = messages.reduce((sum, message) => sum + this.#charactersOf(message), 0) - characters;
    if (excess <= 0) return messages;
    return messages.map((message, index) => {
      if (excess <= 0 || index >= messages.length - NEWEST) return message;
      const whole = this.#withoutResults(message);
      const shorter = excess >= whole.characters ? whole : withoutResults(message, excess);
      excess -= shorter.characters;
      return shorter.message;
    });
  }

  /** Of a context: as `digestOf` has it of the three in a list. */
  digestOf(system: string, tools: unknown, messages: readonly RequestMessage[]): Sha256 {
    const head = `[${sortedJson(system)},${sortedJson(tools)},[`;
    const marks = this.#marksFor(head, messages);
    const first = createHash("sha256").update(head);
    const hash = (marks.at(-1) ?? first).copy();
    if (marks.length === 0) marks.push(first);
    for (let index = (marks.length - 1) * MARKED; index < messages.length; index += 1) {
      const message = messages[index];
      if (index === marks.length * MARKED) marks.push(hash.copy());
      if (message) hash.update(index === 0 ? this.#jsonOf(message) : `,${this.#jsonOf(message)}`);
    }
    this.#digested = { head, messages, marks };
    return hash.update("]]").digest("hex");
  }

  /** Those of the context before this one, as far as they are the same messages. */
  #marksFor(head: string, messages: readonly RequestMessage[]): Hash[] {
    const { head: before, messages: known, marks } = this.#digested;
    if (before !== head) return [];
    let same = 0;
    while (same < known.length && known[same] === messages[same]) same += 1;
    return marks.slice(0, Math.floor(same / MARKED) + 1);
  }

  #jsonOf(message: RequestMessage): string {
    const known = this.#json.get(message);
    if (known !== undefined) return known;
    const json = sortedJson(message);
    if (json.length <= KEPT_CHARACTERS) this.#json.set(message, json);
    return json;
  }

  /** Of its content; the role's are no text. */
  #charactersOf(message: RequestMessage): number {
    return this.#jsonOf(message).length - `{"content":,"role":"${message.role}"}`.length;
  }

  #withoutResults(message: RequestMessage) {
    const known = this.#shortened.get(message);
    if (known) return known;
    const shortened = withoutResults(message, Number.POSITIVE_INFINITY);
    this.#shortened.set(message, shortened);
    return shortened;
  }
}

/** Without so many results, from the first, that `excess` characters are left out, if there are as many. */
function withoutResults(message: RequestMessage, excess: number) {
  let characters = 0;
  const content = message.content.map((block) => {
    if (characters >= excess || block.type !== "tool_result" || block.content.length <= LEFT_OUT.length)
      return block;
    characters += block.content.length - LEFT_OUT.length;
    return { ...block, content: LEFT_OUT };
  });
  return { message: characters === 0 ? message : { ...message, content }, characters };
}
