import type { Command as Program } from "commander";
import type { StartOptions, Work } from "./host.ts";

/** How the program's parts add their commands. */
export type Add = (words: string, description: string) => Program;
export type Start = (work: Work, options: Json, broken?: StartOptions["broken"]) => Promise<void>;
export type Json = { readonly json?: boolean };

/** Gathers the values of an option that may be repeated. */
export function collect(value: string, before: readonly string[]): string[] {
  return [...before, value];
}
