import { randomUUID } from "node:crypto";
import { readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { createAuthority, type RunAuthority, restoreAuthority } from "./gateway/authority.ts";
import { JournalUnwritable } from "./journal/port.ts";
import type { RunId } from "./protocol/ids.ts";

/** Authorities that are kept at hand; the others are read again. */
const KEPT = 200;

/**
 * Each run's own certificate authority: made when it is first asked for, kept in the run's folder of the home, where
 * only this user can read it, and removed with the run.
 */
export class Authorities {
  readonly #home: string;
  readonly #authorities = new Map<RunId, Promise<RunAuthority>>();

  constructor(home: string) {
    this.#home = home;
  }

  /** @throws Error when what is kept is damaged @throws JournalUnwritable when it can't be kept */
  of(run: RunId): Promise<RunAuthority> {
    const known = this.#authorities.get(run) ?? this.#readOrMade(run);
    this.#authorities.delete(run);
    this.#authorities.set(run, known);
    known.catch(() => this.#authorities.delete(run));
    const [oldest] = this.#authorities.keys();
    if (this.#authorities.size > KEPT && oldest !== undefined) this.#authorities.delete(oldest);
    return known;
  }

  async #readOrMade(run: RunId): Promise<RunAuthority> {
    const path = join(this.#home, "runs", run, "authority.json");
    const kept = await readFile(path, "utf8").catch((error: NodeJS.ErrnoException) => {
      if (error.code === "ENOENT") return undefined;
      throw error;
    });
    if (kept !== undefined) return restoreAuthority(JSON.parse(kept));
    const made = await createAuthority(run);
    const fresh = `${path}.${randomUUID()}`;
    try {
      await writeFile(fresh, JSON.stringify(made.saved), { mode: 0o600, flush: true });
      await rename(fresh, path);
    } catch (error) {
      const said = error instanceof Error ? error.message : String(error);
      throw new JournalUnwritable(`the run's certificate authority could not be kept: ${said}`, {
        cause: error,
      });
    } finally {
      await rm(fresh, { force: true });
    }
    return made;
  }
}
