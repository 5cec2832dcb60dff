import type { EventData } from "../../protocol/events.ts";
import { compared, type Difference } from "./compare.ts";
import type { Expectation } from "./expectation.ts";

export const turnStarted: Expectation<"turn.started"> = ({ event, step }) => {
  const turn = step.do === "start-turn" ? step.turn : undefined;
  return compared("event", event.data, { turn }, () => "The turn has another number today.");
};

type Manifest = EventData<"model.requested">["manifest"];

const PARTS: Readonly<Record<keyof Manifest, string>> = {
  system: "the system prompt",
  tools: "the tools' descriptions",
  events: "which events it is told of",
  inherited: "how much of its history it is told",
  stores: "which memory and plan entries it is told of",
};

export const modelRequested: Expectation<"model.requested"> = async ({ event: { data }, state, today }) => {
  const { turn } = state.branch;
  const model = state.submitted?.data.model;
  const own = { turn, ...(typeof model === "string" ? { model } : {}) };
  const other = compared("event", data, own, (keys) => `The model is asked differently today: ${keys}.`);
  if (other) return other;
  const { manifest, digest, request } = await today.context(state);
  const part = (Object.keys(PARTS) as (keyof Manifest)[]).find((key) =>
    compared("context", data.manifest, { [key]: manifest[key] }, () => ""),
  );
  if (part) {
    const excerpt = part === "system" ? { text: request.system } : {};
    return context(PARTS[part], data.manifest[part], { [part]: manifest[part], ...excerpt }, part);
  }
  if (digest === data.digest) return undefined;
  const { messages } = request;
  const newest = { messages: messages.length, newest: messages.at(-1) };
  return context("how the events are told in its messages", data.digest, { digest, ...newest }, "digest");
};

function context(what: string, recorded: unknown, got: Record<string, unknown>, key: string): Difference {
  const { expected, got: today } = compared("context", { [key]: recorded }, got, () => "") ?? {};
  return {
    what: "context",
    expected,
    got: today,
    detail: `The model is shown something else today: ${what}. The journal keeps digests of it, not the text.`,
  };
}
