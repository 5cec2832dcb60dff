import { z } from "zod";
import { isMalformedInput, type ToolDefinition } from "../../model/port.ts";
import { bash } from "./bash.ts";
import { fetch } from "./fetch.ts";
import { edit, read, write } from "./files.ts";
import { giveUp, output } from "./run-tools.ts";
import { glob, grep } from "./search.ts";
import type { NormaliseContext, Plan, Tool } from "./tool.ts";
import { ToolRefusal } from "./tool.ts";

export interface Toolbox {
  readonly definitions: readonly ToolDefinition[];
  /** @throws ToolRefusal when there is no such tool or the input does not fit it */
  normalise(tool: string, input: unknown, context: NormaliseContext): Promise<Plan>;
}

/** The tools of every run, in the order in which the model is told of them. */
export function createToolbox(): Toolbox {
  const entries = [
    entry(bash),
    entry(read),
    entry(write),
    entry(edit),
    entry(glob),
    entry(grep),
    entry(fetch),
    entry(output),
    entry(giveUp),
  ];
  const byName = new Map(entries.map((one) => [one.definition.name, one]));
  return {
    definitions: entries.map((one) => one.definition),
    async normalise(tool, input, context) {
      const found = byName.get(tool);
      if (!found)
        throw new ToolRefusal(`There is no tool ${tool}. There are: ${[...byName.keys()].join(", ")}.`);
      return found.normalise(input, context);
    },
  };
}

function entry<I>(tool: Tool<I>) {
  const { $schema: _, ...inputSchema } = z.toJSONSchema(tool.input, { io: "input" });
  const definition: ToolDefinition = { name: tool.name, description: tool.description, inputSchema };
  const normalise = async (raw: unknown, context: NormaliseContext): Promise<Plan> => {
    if (isMalformedInput(raw)) throw new ToolRefusal(`The input could not be read as JSON: ${raw.reason}`);
    const parsed = tool.input.safeParse(raw);
    if (!parsed.success)
      throw new ToolRefusal(`The input does not fit ${tool.name}:\n${z.prettifyError(parsed.error)}`);
    return tool.normalise(parsed.data, context);
  };
  return { definition, normalise };
}
