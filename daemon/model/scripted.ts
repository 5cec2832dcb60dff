import { runInNewContext } from "node:vm";
import type { ContentBlock, ModelUsage } from "../protocol/content.ts";
import { abortError, type Clock, pause, systemClock } from "./clock.ts";
import { failureOfStatus } from "./failure.ts";
import {
  type Model,
  ModelFailure,
  type ModelRequest,
  type ModelResponse,
  type Observed,
  type RequestBlock,
} from "./port.ts";
import { parseScript, type Script, type ScriptPattern, type ScriptTurn } from "./script-document.ts";

/** Milliseconds one `expect.output` may take: a regular expression can run for years. */
const PATTERN_DEADLINE_MS = 1_000;
/** Characters of a result that a message about an unmet expectation shows. */
const SHOWN_CHARACTERS = 400;
const CHARACTERS_A_TOKEN = 4;

/** What the harness's own questions are answered with where the script says nothing. */
const NEUTRAL = {
  reflect: "Nothing to add.",
  compress: "Nothing to summarise.",
  validate: "Nothing to object.",
} as const;

function unmet(sentence: string): ModelFailure {
  return new ModelFailure("script", sentence, { retryable: false });
}

function matches(pattern: ScriptPattern, text: string): boolean {
  // An own context takes only strings, and its deadline also stops a pattern that backtracks without end.
  const scope = { source: pattern.source, flags: pattern.flags, text };
  return (
    runInNewContext("new RegExp(source, flags).test(text)", scope, { timeout: PATTERN_DEADLINE_MS }) === true
  );
}

function checkOutput(pattern: ScriptPattern, observed: Observed, place: string): void {
  const text = observed.results.join("\n");
  const wanted = `${place} expected output that matches /${pattern.source}/${pattern.flags}`;
  let met: boolean;
  try {
    met = matches(pattern, text);
  } catch {
    throw unmet(`${wanted}; matching it took longer than ${PATTERN_DEADLINE_MS} ms and was stopped`);
  }
  if (met) return;
  const shown = text.length > SHOWN_CHARACTERS ? `…${text.slice(-SHOWN_CHARACTERS)}` : text;
  throw unmet(`${wanted}; what came was ${text === "" ? "nothing" : JSON.stringify(shown)}`);
}

/** @throws ModelFailure `script` that tells what was expected and what came */
function checkExpectation(turn: ScriptTurn, observed: Observed): void {
  const place = `response ${observed.position + 1} of the script`;
  const verdict = turn.expect?.verdict;
  const came = observed.verdicts;
  if (verdict && (came.length === 0 || came.some((other) => other !== verdict)))
    throw unmet(`${place} expected verdict ${verdict}; what came was ${came.join(", ") || "no action"}`);
  if (turn.expect?.output) checkOutput(turn.expect.output, observed, place);
}

function blocksOf(turn: ScriptTurn, position: number): ContentBlock[] {
  const said: ContentBlock[] = turn.say ? [{ type: "text", text: turn.say }] : [];
  const used = (turn.use ?? []).map(
    ({ tool, input }, index): ContentBlock => ({
      type: "tool_use",
      id: `toolu_${position}_${index}`,
      name: tool,
      input: structuredClone(input),
    }),
  );
  return [...said, ...used];
}

function charactersOf(block: RequestBlock): number {
  switch (block.type) {
    case "text":
      return typeof block.text === "string" ? block.text.length : block.text.bytes;
    case "tool_use":
      return block.name.length + (JSON.stringify(block.input)?.length ?? 0);
    case "tool_result":
      return block.content.length;
    default:
      return 0;
  }
}

function tokensOf(blocks: readonly RequestBlock[]): number {
  return Math.ceil(blocks.reduce((sum, block) => sum + charactersOf(block), 0) / CHARACTERS_A_TOKEN);
}

function responseOf(request: ModelRequest, content: ContentBlock[]): ModelResponse {
  const system = Math.ceil(request.system.length / CHARACTERS_A_TOKEN);
  const usage: ModelUsage = {
    inputTokens: request.messages.reduce((sum, message) => sum + tokensOf(message.content), system),
    outputTokens: tokensOf(content),
    costUsd: 0,
  };
  const used = content.some((block) => block.type === "tool_use");
  return { content, stopReason: used ? "tool_use" : "end_turn", usage };
}

/** The turn at a position; undefined after the last one of a script that does not loop. */
function turnAt(script: Script, position: number): ScriptTurn | undefined {
  return script.turns[script.loop ? position % script.turns.length : position];
}

/**
 * A model that follows a script, for demo and tests. Its position is `observed.position`, so it goes back with
 * rewind and fork; how often a turn has failed comes from `observed.attempt`, else from this instance's memory.
 * @throws CaissonError `script_invalid`
 */
export function createScriptedModel(text: string, clock: Clock = systemClock): Model {
  const script = parseScript(text);
  const failures = new Map<number, number>();

  function failIfScripted(turn: ScriptTurn, observed: Observed): void {
    if (!turn.fail) return;
    const failed = observed.attempt ?? failures.get(observed.position) ?? 0;
    if (failed >= turn.fail.times) return;
    failures.set(observed.position, failed + 1);
    const headers = new Headers();
    if (turn.fail.retryAfterMs !== undefined) headers.set("retry-after-ms", `${turn.fail.retryAfterMs}`);
    const detail = `scripted failure ${failed + 1} of ${turn.fail.times}`;
    throw failureOfStatus(turn.fail.status, detail, { headers, now: clock.now() });
  }

  return {
    name: "script",
    priced: true,
    async respond(request, { signal, onText }) {
      if (signal.aborted) throw abortError();
      if (request.purpose !== "ordinary") {
        const answer = script.auxiliary[request.purpose] ?? NEUTRAL[request.purpose];
        return responseOf(request, [{ type: "text", text: answer }]);
      }
      const turn = turnAt(script, request.observed.position);
      if (!turn) return responseOf(request, []);
      checkExpectation(turn, request.observed);
      failIfScripted(turn, request.observed);
      if (turn.delayMs) await pause(clock, turn.delayMs, signal);
      if (turn.say) onText(turn.say);
      return responseOf(request, blocksOf(turn, request.observed.position));
    },
  };
}
