/** Exit statuses, as docs promise them to scripts. */
export const EXIT = {
  done: 0,
  failed: 1,
  badInput: 2,
  /** Stopped by policy, or waiting for an approval nobody can give. */
  policy: 3,
  unreachable: 4,
  interrupted: 130,
} as const;
export type ExitStatus = (typeof EXIT)[keyof typeof EXIT];

/** Ends the command with a message for people: what happened, what was kept, what to do next. */
export class CliError extends Error {
  override readonly name = "CliError";
  readonly status: ExitStatus;
  constructor(status: ExitStatus, message: string, options?: ErrorOptions) {
    super(message, options);
    this.status = status;
  }
}

/** What a person wrote can't be used. */
export function badInput(message: string): CliError {
  return new CliError(EXIT.badInput, message);
}
