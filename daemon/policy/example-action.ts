import { parseCommand } from "./parse-command.ts";
import { normalisePath } from "./path.ts";
import type { PolicyAction } from "./port.ts";

/** Where a run's workspace lies in its sandbox. */
const WORKSPACE = "/workspace";

/** An action as tests in policy files and `policy explain` write it. */
export interface ExampleAction {
  readonly exec?: string | undefined;
  readonly read?: string | undefined;
  readonly write?: string | undefined;
  readonly tool?: string | undefined;
  /** Method and URL. */
  readonly http?: string | undefined;
  readonly cwd?: string | undefined;
}

function absolute(path: string, cwd: string): string {
  return normalisePath(path, cwd) ?? path;
}

/** `registry:npm/left-pad` stands for that path at whatever registry of that kind this machine's client uses. */
function requestOf(method: string, url: string): PolicyAction {
  const [, registry, path = ""] = /^registry:(npm|pypi)(\/.*)?$/.exec(url) ?? [];
  if (registry !== "npm" && registry !== "pypi") return { kind: "http", tool: "fetch", method, url };
  return {
    kind: "http",
    tool: "fetch",
    method,
    url: `https://${registry}.registry.invalid${path}`,
    registry,
  };
}

/** The action that an example is of; its paths are as good as resolved. */
export function actionOf(example: ExampleAction): PolicyAction {
  const cwd = absolute(example.cwd ?? WORKSPACE, WORKSPACE);
  if (example.exec !== undefined)
    return { kind: "exec", tool: "bash", command: parseCommand(example.exec), cwd, env: {} };
  if (example.read !== undefined) return { kind: "read", tool: "read", path: absolute(example.read, cwd) };
  if (example.write !== undefined)
    return { kind: "write", tool: "write", path: absolute(example.write, cwd) };
  if (example.http !== undefined) {
    const [method = "", url = ""] = example.http.trim().split(/\s+/, 2);
    return requestOf(method, url);
  }
  return { kind: "tool", tool: example.tool ?? "", input: {} };
}
