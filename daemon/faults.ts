/**
 * Faults that a test injects into a daemon in a process of its own. Two variables must be set on purpose,
 * `NODE_ENV=test` and `CAISSON_TEST_FAULTS=FILE`; with the second alone the daemon does not start.
 *
 * The file is a JSON list of {@link FaultRule}s, read again at every point, so that a test can change it while the
 * daemon runs: put it in place by renaming. Every point passed is appended to `FILE.passed`, a line each.
 */
import { appendFileSync, readFileSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { z } from "zod";
import { type Faults, JOURNAL_FAULT_POINTS } from "./journal/port.ts";
import { ENGINE_FAULT_POINTS } from "./sandbox/engine-calls.ts";

/** Every point at which a fault can be injected. */
export const FAULT_POINTS: readonly string[] = [...JOURNAL_FAULT_POINTS, ...ENGINE_FAULT_POINTS];

const FaultRule = z.strictObject({
  /** A point, or the beginning of several and a star: `engine.*`. */
  at: z
    .string()
    .refine((at) => FAULT_POINTS.some((point) => matches(at, point)), "no fault point has this name"),
  /** `kill`: SIGKILL to the daemon itself. `hang`: until the rule is taken out of the file. */
  do: z.enum(["kill", "fail", "hang", "wait"]),
  /** Milliseconds of a `wait`. */
  ms: z.int().min(0).optional(),
  /** Of a `fail`: the error's code, such as `ENOSPC` or `ECONNREFUSED`. */
  code: z.string().optional(),
  /** Of a `fail`: the HTTP status as if the engine had answered with it. */
  status: z.int().optional(),
  /** Times the point is passed unharmed first. */
  skip: z.int().min(0).optional(),
  /** Times the fault happens; absent: every time. */
  times: z.int().min(1).optional(),
});
export type FaultRule = z.infer<typeof FaultRule>;

const HANG_POLL_MS = 20;

/** @throws Error when the file is not there, has an error, or `NODE_ENV` is not `test` */
export function injectedFaults(env: NodeJS.ProcessEnv): Faults | undefined {
  const file = env.CAISSON_TEST_FAULTS;
  if (!file) return undefined;
  if (env.NODE_ENV !== "test") {
    throw new Error(
      "CAISSON_TEST_FAULTS makes the daemon fail on purpose, for tests. Unset it; nothing was started.",
    );
  }
  const faults = new InjectedFaults(file);
  faults.rules();
  return faults;
}

class InjectedFaults implements Faults {
  readonly #file: string;
  /** How often each rule, by its text, met its point. */
  readonly #met = new Map<string, number>();

  constructor(file: string) {
    this.#file = file;
  }

  rules(): FaultRule[] {
    return z.array(FaultRule).parse(JSON.parse(readFileSync(this.#file, "utf8")));
  }

  async at(point: string): Promise<void> {
    appendFileSync(`${this.#file}.passed`, `${point}\n`);
    for (const rule of this.rules())
      if (matches(rule.at, point) && this.#isDue(rule)) await this.#happen(rule, point);
  }

  #isDue(rule: FaultRule): boolean {
    const key = JSON.stringify(rule);
    const met = (this.#met.get(key) ?? 0) + 1;
    this.#met.set(key, met);
    const skip = rule.skip ?? 0;
    return met > skip && met <= skip + (rule.times ?? Number.POSITIVE_INFINITY);
  }

  async #happen(rule: FaultRule, point: string): Promise<void> {
    switch (rule.do) {
      case "kill":
        process.kill(process.pid, "SIGKILL");
        return;
      case "wait":
        await delay(rule.ms ?? 0);
        return;
      case "hang":
        while (this.#stands(rule)) await delay(HANG_POLL_MS);
        return;
      case "fail": {
        const { code, status } = rule;
        const error = new Error(`${code ?? status ?? "a fault"} injected at ${point}`);
        throw Object.assign(
          error,
          code !== undefined && { code },
          status !== undefined && { statusCode: status },
        );
      }
    }
  }

  #stands(rule: FaultRule): boolean {
    const text = JSON.stringify(rule);
    return this.rules().some((one) => JSON.stringify(one) === text);
  }
}

function matches(pattern: string, point: string): boolean {
  return pattern.endsWith("*") ? point.startsWith(pattern.slice(0, -1)) : pattern === point;
}
