/** What the daemon asks of the engine, by name: in errors, in measurements, and where faults are injected. */

/** Every call there is. One that is missing here does not compile. */
export const ENGINE_CALLS = [
  "version",
  "probe",
  "create container",
  "upload archive",
  "look at path",
  "put owned files",
  "attach",
  "start container",
  "inspect container",
  "unpause container",
  "rename container",
  "update container",
  "weigh container",
  "commit container",
  "list containers",
  "measure container",
  "remove container",
  "inspect image",
  "list images",
  "build image",
  "pull image",
  "import image",
  "tag image",
  "untag image",
  "list build stages",
  "remove build stage",
  "create kit container",
  "copy kit",
  "remove kit container",
] as const;

/** A call of the daemon's own, or one that a test or a bench makes beside it. */
export type EngineCall = (typeof ENGINE_CALLS)[number] | `${"test" | "bench"}: ${string}`;

type FaultPoint = `engine.${string}.${"before" | "after"}`;

/** Where a fault can be injected into a call: before the engine is asked, and when it has answered. */
export function faultPoint(call: EngineCall, moment: "before" | "after"): FaultPoint {
  return `engine.${call.replaceAll(" ", "-")}.${moment}`;
}

/** Every fault point of this room. */
export const ENGINE_FAULT_POINTS: readonly FaultPoint[] = ENGINE_CALLS.flatMap((call) => [
  faultPoint(call, "before"),
  faultPoint(call, "after"),
]);

/**
 * Faults to inject, for tests. `at` is awaited at every fault point, within the call's deadline: what it throws
 * happens as if the engine had failed there, and while it waits, the call hangs.
 */
export interface EngineFaults {
  at(point: string): Promise<void> | void;
}

/** One call that is over. */
export interface EngineCalled {
  readonly call: EngineCall;
  readonly durationMs: number;
  /** Absent: it succeeded. `refused`: the engine answered with an error. */
  readonly failure?: "unreachable" | "refused" | "late";
}

/** Hears of every call when it is over. Must not throw. */
export type EngineObserver = (called: EngineCalled) => void;
