import { parseCommand } from "../policy/parse-command.ts";
import type { PolicyAction } from "../policy/port.ts";
import { WORKSPACE } from "./tools/tool.ts";

/** An acceptance or score command in normal form: run in the workspace, in a shell of its own. */
export function checkAction(text: string): Extract<PolicyAction, { kind: "exec" }> {
  return { kind: "exec", tool: "bash", command: parseCommand(text), cwd: WORKSPACE, env: {} };
}
