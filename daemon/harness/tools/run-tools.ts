import { z } from "zod";
import { type Tool, ToolRefusal } from "./tool.ts";

/** Characters of an earlier output that one call returns. */
const PAGE = 8_000;

const OutputInput = z.strictObject({
  action: z.string().describe("The action whose output to read, such as a3."),
  offset: z.int().min(0).optional().describe("First character, from 0."),
  limit: z
    .int()
    .min(1)
    .max(PAGE)
    .optional()
    .describe(`Characters to return; ${PAGE} by default and at most.`),
});

export const output: Tool<z.infer<typeof OutputInput>> = {
  name: "output",
  description: "Returns any part of an earlier action's full output.",
  input: OutputInput,
  async normalise(input) {
    return {
      policy: [{ kind: "tool", tool: "output", input }],
      async perform({ outputOf }) {
        const text = await outputOf(input.action);
        if (text === undefined)
          return { ok: false, output: `There is no output of an action ${input.action}.` };
        const from = input.offset ?? 0;
        const part = text.slice(from, from + (input.limit ?? PAGE));
        return {
          ok: true,
          output: `${part}\n[characters ${from} to ${from + part.length} of ${text.length}]`,
        };
      },
    };
  },
};

const GiveUpInput = z.strictObject({
  reason: z.string().min(1).describe("Why the task can't be done."),
  evidence: z.string().optional().describe("What you saw that shows it."),
});

export const giveUp: Tool<z.infer<typeof GiveUpInput>> = {
  name: "give_up",
  description:
    "Ends the run as not done. Use it when the task can't be done within what is allowed, and say why.",
  input: GiveUpInput,
  async normalise(input) {
    if (input.reason.trim() === "") throw new ToolRefusal("Say why.");
    return {
      policy: [{ kind: "tool", tool: "give_up", input }],
      perform: async () => ({ ok: true, output: "The run ends here." }),
    };
  },
};
