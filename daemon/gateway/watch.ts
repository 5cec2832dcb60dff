/** Ends something that has stood still for too long. */
export interface Watch {
  /** Something moved. */
  moved(): void;
  stop(): void;
}

export function watch(idleMs: number, expired: () => void): Watch {
  const timer = setTimeout(expired, idleMs);
  return { moved: () => void timer.refresh(), stop: () => clearTimeout(timer) };
}
