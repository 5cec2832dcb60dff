import { z } from "zod";
import { shellProcess } from "../../sandbox/shell.ts";
import { shellResultOf, type Tool } from "./tool.ts";

const Input = z.strictObject({
  command: z
    .string()
    .min(1)
    .max(1_000_000)
    .refine((text) => !text.includes("\0"), "a command can't hold a zero byte")
    .describe("The command, in bash. Directory and exported variables persist from call to call."),
  cwd: z.string().optional().describe("Directory to change to first."),
  timeoutMs: z
    .int()
    .min(1)
    .max(86_400_000)
    .optional()
    .describe("Milliseconds after which the command is stopped."),
  background: z
    .boolean()
    .optional()
    .describe("Start it and return at once; it goes on running. Its output goes to the file that is named."),
});

/** Where a sandbox keeps its shell's directory and exported variables. */
export const SHELL_STATE = "/home/agent/.caisson-shell";
const KILL_GRACE_MS = 2_000;

export const bash: Tool<z.infer<typeof Input>> = {
  name: "bash",
  description:
    "Runs a command in bash inside the sandbox and returns its output and exit status. " +
    "The working directory and exported variables persist between calls.",
  input: Input,
  async normalise(input, context) {
    const command = context.parseCommand(input.command);
    const cwd = input.cwd === undefined ? undefined : await context.resolve(input.cwd);
    const log = `${context.scratch}/background-${context.action}.log`;
    const text = command.strict ?? input.command;
    const spec = shellProcess({
      id: context.action,
      command: input.background ? inBackground(text, log) : text,
      statePath: SHELL_STATE,
      env: context.env,
      ...(context.landlock ? { landlock: context.landlock } : {}),
      deadlineMs: Math.min(input.timeoutMs ?? context.timeoutMs, context.timeoutMs),
      killGraceMs: KILL_GRACE_MS,
      ...(cwd === undefined ? {} : { cwd }),
    });
    return {
      policy: [{ kind: "exec", tool: "bash", command, cwd: cwd ?? "", env: {} }],
      perform: async ({ run }) => shellResultOf(await run(spec)),
      settle: shellResultOf,
    };
  },
};

/** The braces keep the text one command whatever it holds; the log lets the model look at what it prints. */
function inBackground(command: string, log: string): string {
  return `{ ${command}\n} >${log} 2>&1 </dev/null &\nprintf 'started in the background as process %s; output in %s\\n' "$!" ${log}`;
}
