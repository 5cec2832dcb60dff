import pLimit from "p-limit";
import type { RunId } from "../protocol/ids.ts";
import type { GatedSandbox, GatedSandboxHost } from "../sandbox/gate.ts";

/** Where a removal that failed is told. */
export interface RemovalLog {
  warn(fields: Readonly<Record<string, unknown>>, message: string): void;
}

/** An engine is no quicker with more, and each is a whole tree of files to delete. */
const AT_ONCE = 8;

/**
 * Removes sandboxes that no run needs any more, in the background: a container of 100,000 files can take its engine a
 * minute, and what the run was for is on disk by then. What a daemon leaves of it, the next start removes (S5).
 */
export class Removals {
  readonly #sandboxes: Pick<GatedSandboxHost, "remove">;
  readonly #log: RemovalLog;
  readonly #turns = pLimit(AT_ONCE);
  readonly #underway = new Map<string, { readonly run: RunId | undefined; readonly gone: Promise<void> }>();

  constructor(sandboxes: Pick<GatedSandboxHost, "remove">, log: RemovalLog) {
    this.#sandboxes = sandboxes;
    this.#log = log;
  }

  /**
   * Begins a removal; one under way is not begun again. One that fails is told, and tried again by its host.
   * @param attached what the run had of it, if anything: it is let go of as well
   */
  begin(id: string, run?: RunId, attached?: Pick<GatedSandbox, "destroy">): void {
    if (this.#underway.has(id)) return;
    const gone = this.#turns(() => (attached ? attached.destroy() : this.#sandboxes.remove(id)))
      .catch((error: unknown) => {
        const fields = { ...(run === undefined ? {} : { run }), sandbox: id, error: String(error) };
        this.#log.warn(fields, "the sandbox could not be removed; it is tried again");
      })
      .finally(() => this.#underway.delete(id));
    this.#underway.set(id, { run, gone });
  }

  /** Resolves when none of the run's sandboxes is being removed. */
  async of(run: RunId): Promise<void> {
    await Promise.all([...this.#underway.values()].filter((one) => one.run === run).map(({ gone }) => gone));
  }

  /** Resolves when nothing is being removed. */
  async settled(): Promise<void> {
    while (this.#underway.size > 0) await Promise.all([...this.#underway.values()].map(({ gone }) => gone));
  }
}
