/**
 * Who comes first when sandboxes want more processors than there are: commands that only want a moment. One that goes
 * on for longer has its sandbox weigh less in the engine's scheduler until nothing of it runs any more. It still has
 * all that others leave, and of several such each has as much as the next.
 */

/** Milliseconds a command may run before its sandbox gives way. */
const MOMENT_MS = 250;
/** Shares of processor time, by Docker's scale: of a sandbox that runs what is short, and of one that gives way. */
const SHARES = 1_024;
const GIVING_WAY = 64;

export interface PrecedenceParts {
  /** Sets the sandbox's shares; when it fails, they stay as they were until the next change. */
  readonly weigh: (shares: number) => Promise<void>;
  /** Whether anything of any command still runs. */
  readonly busy: () => Promise<boolean>;
}

export class Precedence {
  readonly #parts: PrecedenceParts;
  #running = 0;
  #begun = 0;
  /** Whether an ended command may have left something running. */
  #left = false;
  /** There from the first command on, until the sandbox is found to be quiet. */
  #timer: NodeJS.Timeout | undefined;
  #wanted = SHARES;
  /** Undefined: a daemon before this one may have set them. */
  #set: number | undefined = SHARES;
  #changing = false;

  constructor(parts: PrecedenceParts) {
    this.#parts = parts;
  }

  /** A command that was there before this daemon goes on. */
  resumed(): void {
    this.#set = undefined;
    this.began();
  }

  began(): void {
    this.#running += 1;
    this.#begun += 1;
    this.#timer ??= setTimeout(() => this.#want(GIVING_WAY), MOMENT_MS).unref();
  }

  /** @param left whether processes of the command's still run: they give way as it would have */
  ended(left: boolean): void {
    this.#running -= 1;
    this.#left ||= left;
    if (this.#running > 0 || left) return;
    if (this.#left) void this.#lookWhetherQuiet();
    else this.#comeBack();
  }

  /** Nothing is changed any more by the time alone. */
  end(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  async #lookWhetherQuiet(): Promise<void> {
    const begun = this.#begun;
    const busy = await this.#parts.busy().catch(() => true);
    // What has begun since looks for itself when it ends.
    if (busy || begun !== this.#begun) return;
    this.#left = false;
    this.#comeBack();
  }

  #comeBack(): void {
    this.end();
    this.#want(SHARES);
  }

  #want(shares: number): void {
    this.#wanted = shares;
    if (!this.#changing) void this.#change();
  }

  async #change(): Promise<void> {
    this.#changing = true;
    while (this.#set !== this.#wanted) {
      const shares = this.#wanted;
      await this.#parts.weigh(shares).catch(() => undefined);
      this.#set = shares;
    }
    this.#changing = false;
  }
}
