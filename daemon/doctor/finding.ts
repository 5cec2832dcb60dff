/** One thing looked at. `broken` keeps runs from working; a `warning` does not. */
export interface Finding {
  readonly check: string;
  readonly state: "ok" | "warning" | "broken";
  readonly detail: string;
  /** What to do about it. */
  readonly remedy?: string;
}

export function ok(check: string, detail: string): Finding {
  return { check, state: "ok", detail };
}

export function warning(check: string, detail: string, remedy: string): Finding {
  return { check, state: "warning", detail, remedy };
}

export function broken(check: string, detail: string, remedy: string): Finding {
  return { check, state: "broken", detail, remedy };
}

export function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
