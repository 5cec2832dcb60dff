/**
 * A signal that aborts with the first of several, and holds on to them. `AbortSignal.any` does not: a timeout that
 * nothing else refers to is collected with the garbage, and never comes (Node 20; nodejs/node#57736).
 */
export function anySignal(signals: readonly AbortSignal[]): AbortSignal {
  return Object.assign(AbortSignal.any([...signals]), { signals });
}
