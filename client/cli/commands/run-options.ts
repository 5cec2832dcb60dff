/** What `caisson run` is told beside the task. */
export interface RunOptions {
  readonly workspace?: string;
  readonly policy?: string;
  readonly image?: string;
  readonly model?: string;
  readonly accept: readonly string[];
  readonly limit: readonly string[];
  readonly yesTo: readonly string[];
  readonly continue?: string;
  readonly detach?: boolean;
}
