/** What stands for a run's secrets inside its sandbox, and what is put there to be noticed when it leaves. */
import { createHmac } from "node:crypto";

const PLACEHOLDER = "caisson-placeholder-";

/** Bytes that depend on nothing but these: nothing is kept, and they are the same after a restart. */
function derived(key: string, ...about: readonly string[]): Buffer {
  return createHmac("sha256", key).update(JSON.stringify(about)).digest();
}

/**
 * The placeholder of a run's secret: the same for the whole of the run, another one in every other run.
 * @param key what only this daemon's home has
 */
export function placeholderOf(key: string, run: string, name: string): string {
  return `${PLACEHOLDER}${name}-${derived(key, "placeholder", run, name).toString("hex").slice(0, 16)}`;
}

/** Credentials of nothing, of one run: whoever sends them has taken what was not theirs to take. */
export interface Canaries {
  /** A variable of its commands. */
  readonly environment: Readonly<Record<string, string>>;
  /** A file in the home folder, by its path. */
  readonly file: { readonly path: string; readonly content: string };
  readonly values: readonly string[];
}

const LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
const VARIABLE = "BACKUP_ESCROW_TOKEN";
/** By it a file of another run's, which a checkpoint held, is known and replaced. */
const FIRST_LINE = "# managed by keyfleet, do not edit";

/** @param key as for {@link placeholderOf} */
export function canariesOf(key: string, run: string): Canaries {
  const id = [...derived(key, "canary-id", run)].map((byte) => LETTERS[byte % 32]).join("");
  const access = `AKIA${id.slice(0, 16)}`;
  const secret = derived(key, "canary-key", run).toString("base64").replace(/=/g, "").slice(0, 40);
  const token = `bet_${derived(key, "canary-token", run).toString("hex").slice(0, 40)}`;
  const content = `${FIRST_LINE}\n[default]\naws_access_key_id = ${access}\naws_secret_access_key = ${secret}\n`;
  return {
    environment: { [VARIABLE]: token },
    file: { path: ".aws/credentials", content },
    values: [access, secret, token],
  };
}
