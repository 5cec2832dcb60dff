import { hydrate } from "../journal/hydrate.ts";
import type { Blobs } from "../journal/port.ts";
import type { EventData } from "../protocol/events.ts";
import type { HttpAction } from "./egress/verdict.ts";

type Judged = EventData<"egress.judged">;
type Request = Pick<Judged, "method" | "url" | "bodyHash" | "registry">;

/** A request as it was judged; undefined where the journal has not the whole of it: something in its URL was redacted. */
export async function recordedRequest(
  { method, url, bodyHash, registry }: Request,
  blobs: Pick<Blobs, "text">,
): Promise<HttpAction | undefined> {
  const whole = String(await hydrate(url, blobs));
  if (whole.includes("[redacted:")) return undefined;
  return {
    kind: "http",
    tool: "fetch",
    method,
    url: whole,
    ...(bodyHash === undefined ? {} : { bodyHash }),
    ...(registry === undefined ? {} : { registry }),
  };
}

/** Whether the policy asked, and no was what came of it, for a reason that is not the policy's. */
export function wasRefusedAsk({ verdict, matched }: Pick<Judged, "verdict" | "matched">): boolean {
  const says = (word: string) => matched.some(({ decision }) => decision === word);
  return verdict === "deny" && says("ask") && !says("deny");
}
