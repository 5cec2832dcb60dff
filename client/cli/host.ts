import type { OutputConfiguration } from "commander";
import type { Command } from "./command.ts";

/** Carries out what a command line asks for; resolves to the exit status. */
export type Work = (command: Command) => Promise<number>;

export interface StartOptions {
  /** Machine output is wanted. */
  readonly json: boolean;
  /** What a broken configuration means: most commands refuse it, those that look at it go on. */
  readonly broken: "refuse" | "pass over";
}

export interface Host {
  /** Called at most once, with the work that the command line asks for. */
  start(work: Work, options: StartOptions): Promise<void>;
  readonly output: OutputConfiguration;
  version(): string;
}
