import picomatch from "picomatch";
import { z } from "zod";
import { KIT, type ProcessSpec } from "../../sandbox/gate.ts";
import { type NormaliseContext, resultOf, type Tool, ToolRefusal, WORKSPACE } from "./tool.ts";

const DEADLINE_MS = 60_000;
/** Most paths a search returns; more would only crowd the context. */
const MOST_PATHS = 1_000;
const LISTING_BYTES = 16 * 1024 * 1024;

const GlobInput = z.strictObject({
  pattern: z.string().min(1).max(1_000).describe("A glob such as src/**/*.ts, relative to the folder."),
  path: z.string().optional().describe("The folder; /workspace by default."),
});

export const glob: Tool<z.infer<typeof GlobInput>> = {
  name: "glob",
  description: "Lists files whose path matches a glob.",
  input: GlobInput,
  async normalise(input, context) {
    const folder = await context.resolve(input.path ?? WORKSPACE);
    const matches = picomatch(input.pattern, { dot: true });
    const spec = search(context, ["find", folder, "-name", ".git", "-prune", "-o", "-type", "f", "-print0"]);
    return {
      policy: [{ kind: "read", tool: "glob", path: folder }],
      async perform({ run }) {
        const listing = await run(spec, { quiet: true, keepBytes: LISTING_BYTES });
        if (listing.exitCode !== 0 && listing.stdout.length === 0) return resultOf(listing);
        const prefix = folder.endsWith("/") ? folder : `${folder}/`;
        const found = listing.stdout
          .toString("utf8")
          .split("\0")
          .filter((path) => path.startsWith(prefix) && matches(path.slice(prefix.length)))
          .sort();
        return { ok: true, output: listed(found) };
      },
    };
  },
};

function listed(found: readonly string[]): string {
  if (found.length === 0) return "No file matches.";
  const shown = found.slice(0, MOST_PATHS).join("\n");
  return found.length > MOST_PATHS
    ? `${shown}\n[${found.length - MOST_PATHS} more; narrow the pattern]`
    : shown;
}

const GrepInput = z.strictObject({
  pattern: z.string().min(1).max(10_000).describe("An extended regular expression."),
  path: z.string().optional().describe("The file or folder; /workspace by default."),
  glob: z.string().max(1_000).optional().describe("Only files whose name matches, such as *.ts."),
});

export const grep: Tool<z.infer<typeof GrepInput>> = {
  name: "grep",
  description: "Searches files for a regular expression. Returns path:line:text.",
  input: GrepInput,
  async normalise(input, context) {
    const path = await context.resolve(input.path ?? WORKSPACE);
    if (input.glob?.includes("/"))
      throw new ToolRefusal("glob is matched against file names; give a folder in path.");
    const only = input.glob === undefined ? [] : [`--include=${input.glob}`];
    const words = ["grep", "-rnIE", "--exclude-dir=.git", ...only, "-e", input.pattern, "--", path];
    const spec = search(context, words);
    return {
      policy: [{ kind: "read", tool: "grep", path }],
      async perform({ run }) {
        const found = await run(spec, { quiet: true });
        // grep's own convention: 1 is "no line matched", 2 and more an error.
        if (found.exitCode === 1 && found.text === "") return { ok: true, output: "No line matches." };
        return { ...resultOf(found), ok: found.exitCode === 0 || found.stdout.length > 0 };
      },
    };
  },
};

function search(context: NormaliseContext, words: readonly string[]): ProcessSpec {
  return {
    id: context.action,
    argv: [KIT.busybox, ...words],
    cwd: "/",
    env: context.env,
    stdin: "none",
    deadlineMs: DEADLINE_MS,
  };
}
