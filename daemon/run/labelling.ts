/** How a run's labels rise and are lowered. Pure. */
import type { EventData } from "../protocol/events.ts";
import { highest, joined, lowered } from "../protocol/labels.ts";
import type { Branch } from "./state.ts";

type Labelled = Pick<Branch, "labels" | "held" | "released">;

/** After something was read, or was asked for and withheld: then only what leaves is judged by it. */
export function afterRaise(
  { labels, held, released }: Labelled,
  raise: Pick<EventData<"label.raised">, "label" | "released" | "withheld">,
): Labelled {
  return {
    labels: joined(labels, raise.label),
    held: raise.withheld ? held : joined(held, raise.label),
    released: highest(released, raise.released),
  };
}

/** After a person's word, which raises nothing. */
export function afterLowering(
  { labels, held, released }: Labelled,
  { label }: EventData<"label.lowered">,
): Labelled {
  return { labels: lowered(labels, label), held: lowered(held, label), released };
}
