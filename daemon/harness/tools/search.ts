import picomatch from "picomatch";
import { z } from "zod";
import { KIT, type ProcessSpec } from "../../sandbox/gate.ts";
import { confinedTo, type NormaliseContext, resultOf, type Tool, ToolRefusal, WORKSPACE } from "./tool.ts";

const DEADLINE_MS = 60_000;
/** Most paths a search returns; more would only crowd the context. */
const MOST_PATHS = 1_000;
/** Bytes of the longest path, with the number after it. */
const PATH_MAX = 4_096 + 32;
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
    const spec = search(context, folder, [
      "find",
      folder,
      "-name",
      ".git",
      "-prune",
      "-o",
      "-type",
      "f",
      "-print0",
    ]);
    return {
      policy: [{ kind: "read", tool: "glob", path: folder }],
      async perform({ run }) {
        const listing = await run(spec, { quiet: true, keepBytes: LISTING_BYTES });
        if (listing.exitCode !== 0 && listing.stdout().length === 0) return resultOf(listing);
        const prefix = folder.endsWith("/") ? folder : `${folder}/`;
        const found = listing
          .stdout()
          .toString("utf8")
          .split("\0")
          .filter((path) => path.startsWith(prefix) && matches(path.slice(prefix.length)))
          .sort();
        const readable = found.filter(context.mayRead("glob", folder));
        return { ok: true, output: listed(readable) + leftOut(readable.length < found.length) };
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

/** So that nobody looks for it in vain. */
function leftOut(some: boolean): string {
  return some ? "\n[what the policy does not let be read is left out]" : "";
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
    // The kit's own programs, which know few options: the sandbox's might have been replaced by what it ran.
    const named = input.glob === undefined ? [] : ["-name", input.glob];
    // A line break in a name would make two lines of one, each about another path.
    const files = [
      "find",
      path,
      "-name",
      ".git",
      "-prune",
      "-o",
      "-type",
      "f",
      "!",
      "-path",
      "*\n*",
      ...named,
    ];
    const spec = search(context, path, [
      ...files,
      "-exec",
      KIT.busybox,
      "grep",
      "-HnE",
      "-e",
      input.pattern,
      "--",
      "{}",
      "+",
    ]);
    return {
      policy: [{ kind: "read", tool: "grep", path }],
      async perform({ run }) {
        const found = await run(spec, { quiet: true });
        const all = found.stdout().toString("utf8").split("\n");
        const mayRead = context.mayRead("grep", path);
        const may = all.filter((text) => text === "" || [...pathsOf(text, path)].every(mayRead));
        const lines = readable(may) + leftOut(may.length < all.length);
        if (lines !== "") return { ...resultOf(found), ok: true, output: lines.trimStart() };
        // grep ends with 1 where nothing matches, and says why where something is wrong.
        const failed = found.stderr.trim() !== "" || found.exitCode === undefined;
        return failed ? { ...resultOf(found), ok: false } : { ok: true, output: "No line matches." };
      },
    };
  },
};

/** Every path that a line `path:number:text` may be about, for names may have such numbers in them. */
function* pathsOf(line: string, searched: string): Generator<string> {
  // About none that anybody judged.
  if (!line.startsWith(searched)) yield "";
  for (const { index } of line.slice(0, PATH_MAX).matchAll(/:\d+:/g)) yield line.slice(0, index);
}

/** Lines of files that are no text are told by their path only. */
function readable(output: readonly string[]): string {
  const lines = output.map((line) => {
    const binary = line.includes("\0") || line.includes("\uFFFD");
    return binary ? `${line.split(":", 1)[0]}: a file that is no text matches` : line;
  });
  return [...new Set(lines)].join("\n").trimEnd();
}

function search(context: NormaliseContext, path: string, words: readonly string[]): ProcessSpec {
  return {
    id: context.action,
    argv: [KIT.busybox, ...words],
    cwd: "/",
    env: context.env,
    stdin: "none",
    deadlineMs: DEADLINE_MS,
    ...confinedTo(context, { read: path }),
  };
}
