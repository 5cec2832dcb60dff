import { z } from "zod";
import { INPUT_MAX, KIT, type ProcessSpec } from "../../sandbox/gate.ts";
import {
  type Collected,
  confinedTo,
  type GuardedFile,
  type NormaliseContext,
  type PerformContext,
  type Tool,
  ToolRefusal,
  type ToolResult,
} from "./tool.ts";

/** Most bytes of a file that `read` takes in. */
const FILE_BYTES = 8 * 1024 * 1024;
const DEADLINE_MS = 60_000;
const LINES = 2_000;

const ReadInput = z.strictObject({
  path: z.string().min(1).describe("Path of the file; relative ones are from /workspace."),
  offset: z.int().min(1).optional().describe("First line to return, from 1."),
  limit: z.int().min(1).optional().describe(`Number of lines to return; ${LINES} by default.`),
});

export const read: Tool<z.infer<typeof ReadInput>> = {
  name: "read",
  description: "Reads a text file. Returns its lines, numbered.",
  input: ReadInput,
  async normalise(input, context) {
    const path = await context.resolve(input.path);
    return {
      policy: [{ kind: "read", tool: "read", path }],
      async perform({ run, guarded }) {
        const kept = await guarded(path);
        const file = kept ? await readGuarded(kept, path) : await readFile(run, context, path);
        return typeof file === "string" ? { ok: true, output: numbered(file, input) } : file;
      },
    };
  },
};

const WriteInput = z.strictObject({
  path: z.string().min(1).describe("Path of the file; relative ones are from /workspace."),
  content: z.string().describe("The whole new content."),
});

export const write: Tool<z.infer<typeof WriteInput>> = {
  name: "write",
  description: "Writes a file, replacing what was there. Missing folders are made.",
  input: WriteInput,
  async normalise(input, context) {
    const path = await context.resolve(input.path);
    const settle = (collected: Collected) => written(collected, path, input.content);
    return {
      policy: [{ kind: "write", tool: "write", path }],
      perform: async ({ run, guarded }) => {
        await refuseGuarded(guarded, path);
        return settle(await run(writing(context, path, input.content), { quiet: true }));
      },
      settle,
    };
  },
};

const EditInput = z.strictObject({
  path: z.string().min(1).describe("Path of the file; relative ones are from /workspace."),
  old: z.string().min(1).describe("The exact text to replace; it must occur once, or give all."),
  new: z.string().describe("What to put in its place."),
  all: z.boolean().optional().describe("Replace every occurrence."),
});

export const edit: Tool<z.infer<typeof EditInput>> = {
  name: "edit",
  description: "Replaces an exact piece of text in a file.",
  input: EditInput,
  async normalise(input, context) {
    const path = await context.resolve(input.path);
    return {
      policy: [
        { kind: "write", tool: "edit", path },
        { kind: "read", tool: "edit", path },
      ],
      async perform({ run, guarded }) {
        await refuseGuarded(guarded, path);
        const file = await readFile(run, context, path);
        if (typeof file !== "string") return file;
        const changed = replaced(file, input);
        if (typeof changed !== "string") return changed;
        return edited(await run(writing(context, path, changed), { quiet: true }), path);
      },
      settle: (collected) => edited(collected, path),
    };
  },
};

function replaced(
  file: string,
  { old, new: replacement, all }: z.infer<typeof EditInput>,
): string | ToolResult {
  const pieces = file.split(old);
  if (pieces.length === 1)
    return { ok: false, output: "The old text does not occur in the file; nothing was changed." };
  if (pieces.length > 2 && !all) {
    return {
      ok: false,
      output: `The old text occurs ${pieces.length - 1} times; nothing was changed. Give more of its surroundings, or all: true.`,
    };
  }
  return pieces.join(replacement);
}

function written(collected: Collected, path: string, content: string): ToolResult {
  if (collected.exitCode !== 0) return failed(collected, path);
  return { ok: true, output: `Wrote ${Buffer.byteLength(content)} bytes to ${path}.` };
}

function edited(collected: Collected, path: string): ToolResult {
  return collected.exitCode === 0 ? { ok: true, output: `Edited ${path}.` } : failed(collected, path);
}

function failed(collected: Collected, path: string): ToolResult {
  const why =
    collected.stderr.trim() || collected.startError || (collected.timedOut ? "timed out" : "it was stopped");
  return { ok: false, output: `${path}: ${why}` };
}

/** The file's text, or the failure to tell the model. Not UTF-8: said so, since an edit would damage it. */
async function readFile(
  run: PerformContext["run"],
  context: NormaliseContext,
  path: string,
): Promise<string | ToolResult> {
  const spec = {
    ...helper(context, `${context.action}.read`, ["read", path]),
    ...confinedTo(context, { read: path }),
  };
  const collected = await run(spec, { quiet: true, keepBytes: FILE_BYTES });
  if (collected.exitCode !== 0) return failed(collected, path);
  if (collected.droppedBytes)
    return { ok: false, output: `${path} is larger than ${FILE_BYTES} bytes; read it in parts with bash.` };
  return textOf(collected.stdout(), path);
}

/** As {@link readFile}, of a file that nothing in the sandbox can read. */
async function readGuarded(file: GuardedFile, path: string): Promise<string | ToolResult> {
  const got = await file.read(FILE_BYTES);
  if (got === undefined)
    return { ok: false, output: `${path} is larger than ${FILE_BYTES} bytes; it can't be read at once.` };
  if ("marker" in got) return { ok: false, output: got.marker, withheld: got.withheld };
  return textOf(got.content, path);
}

/** @throws ToolRefusal for a file that is kept from the sandbox */
async function refuseGuarded(guarded: PerformContext["guarded"], path: string): Promise<void> {
  const kept = await guarded(path);
  if (kept) throw new ToolRefusal(kept.refusal);
}

function textOf(bytes: Uint8Array, path: string): string | ToolResult {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return {
      ok: false,
      output: `${path} is not UTF-8 text (${bytes.length} bytes); look at it with bash.`,
    };
  }
}

function writing(context: NormaliseContext, path: string, content: string): ProcessSpec {
  const bytes = Buffer.from(content, "utf8");
  if (bytes.length > INPUT_MAX)
    throw new ToolRefusal(`The content is larger than ${INPUT_MAX} bytes; write it in parts with bash.`);
  // Folders that are missing are made, so the rule can't be narrower; the helper itself follows no symlink.
  const [topmost] = path.slice(1).split("/");
  return {
    ...helper(context, context.action, ["write", path]),
    ...confinedTo(context, { write: `/${topmost}` }),
    inputFd: { fd: 0, bytes },
  };
}

function helper(context: NormaliseContext, id: string, words: readonly string[]): ProcessSpec {
  return {
    id,
    argv: [KIT.runner, "file", ...words],
    cwd: "/",
    env: context.env,
    stdin: "none",
    deadlineMs: DEADLINE_MS,
  };
}

function numbered(text: string, { offset = 1, limit = LINES }: z.infer<typeof ReadInput>): string {
  const lines = text.split("\n");
  if (lines.at(-1) === "") lines.pop();
  const chosen = lines.slice(offset - 1, offset - 1 + limit);
  const shown = chosen.map((line, index) => `${String(offset + index).padStart(6)}\t${line}`);
  if (chosen.length === 0) return `The file has ${lines.length} lines.`;
  const last = offset + chosen.length - 1;
  return last < lines.length
    ? `${shown.join("\n")}\n[lines ${offset} to ${last} of ${lines.length}]`
    : shown.join("\n");
}
