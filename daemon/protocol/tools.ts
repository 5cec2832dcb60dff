/** Tools that change no file in a sandbox, whatever their input. */
const READING: ReadonlySet<string> = new Set([
  "read",
  "glob",
  "grep",
  "fetch",
  "output",
  "plan",
  "remember",
  "recall",
  "compress",
  "ask",
  "delegate",
  "give_up",
]);

/** Whether an action of this tool may change files in its sandbox: any tool may that is not known to read only. */
export function mayChangeFiles(tool: string): boolean {
  return !READING.has(tool);
}
