import { isMap, isNode, isScalar, Lexer, LineCounter, Parser, parseDocument } from "yaml";
import { z } from "zod";
import { CaissonError } from "../protocol/errors.ts";
import { Decision } from "../protocol/verdicts.ts";
import { beyondYamlBounds } from "../protocol/yaml-bounds.ts";

/** Longest script in characters. */
const LONGEST = 1_000_000;
const SHAPE = "A script is YAML with `turns`, and optionally `loop` and `auxiliary`; see docs.";

/** A `/pattern/flags` in JavaScript's notation, checked but not compiled: it runs under a deadline. */
export interface ScriptPattern {
  readonly source: string;
  readonly flags: string;
}

const Pattern = z.string().transform((text, context): ScriptPattern => {
  const parts = /^\/(.+)\/([a-z]*)$/s.exec(text);
  if (!parts) {
    context.addIssue({
      code: "custom",
      message: "write a JavaScript regular expression between slashes, such as /1 failed/i",
    });
    return z.NEVER;
  }
  const pattern = { source: parts[1] ?? "", flags: parts[2] ?? "" };
  try {
    new RegExp(pattern.source, pattern.flags);
  } catch (error) {
    context.addIssue({ code: "custom", message: error instanceof Error ? error.message : String(error) });
  }
  return pattern;
});

export const ScriptTurn = z.strictObject({
  say: z.string().optional(),
  use: z
    .array(z.strictObject({ tool: z.string().min(1), input: z.record(z.string(), z.unknown()).default({}) }))
    .max(100)
    .optional(),
  expect: z.strictObject({ output: Pattern.optional(), verdict: Decision.optional() }).optional(),
  fail: z
    .strictObject({
      status: z.int().min(400).max(599),
      times: z.int().min(1).max(1_000).default(1),
      retryAfterMs: z.int().min(0).max(3_600_000).optional(),
    })
    .optional(),
  delayMs: z.int().min(0).max(3_600_000).optional(),
});
export type ScriptTurn = z.infer<typeof ScriptTurn>;

export const Script = z.strictObject({
  turns: z.array(ScriptTurn).min(1).max(10_000),
  loop: z.boolean().default(false),
  auxiliary: z
    .strictObject({
      reflect: z.string().optional(),
      compress: z.string().optional(),
      validate: z.string().optional(),
    })
    .default({}),
});
export type Script = z.infer<typeof Script>;

interface Problem {
  readonly line: number;
  readonly column: number;
  readonly message: string;
}

function refuse(problems: readonly Problem[]): never {
  const first = problems[0];
  const more = problems.length > 1 ? ` (and ${problems.length - 1} more)` : "";
  throw new CaissonError(
    "script_invalid",
    `The script is refused, nothing was started: line ${first?.line}, column ${first?.column}: ${first?.message}${more}. ${SHAPE}`,
    {
      errors: problems.map(({ line, column, message }) => ({
        path: `line ${line}, column ${column}`,
        message,
      })),
    },
  );
}

/** Reads a script's text. @throws CaissonError `script_invalid` with line and column of every problem */
export function parseScript(text: string): Script {
  if (text.length > LONGEST) refuse([{ line: 1, column: 1, message: `longer than ${LONGEST} characters` }]);
  const beyond = beyondYamlBounds(text, { Lexer, Parser });
  if (beyond !== undefined) refuse([{ line: 1, column: 1, message: beyond }]);
  const lines = new LineCounter();
  const document = parseDocument(text, {
    version: "1.2",
    strict: true,
    uniqueKeys: true,
    lineCounter: lines,
  });
  const placed = (offset: number, message: string): Problem => {
    const place = lines.linePos(offset);
    return { line: Math.max(1, place.line), column: Math.max(1, place.col), message };
  };
  const faults = [...document.errors, ...document.warnings];
  if (faults.length > 0)
    refuse(
      faults.slice(0, 100).map((fault) => placed(fault.pos[0], fault.message.split(" at line ")[0] ?? "")),
    );
  let content: unknown;
  try {
    // Aliases can grow a small text without bound; a script has no need of them.
    content = document.toJS({ maxAliasCount: 0 });
  } catch (error) {
    refuse([
      placed(0, `aliases are not allowed (${error instanceof Error ? error.message : String(error)})`),
    ]);
  }
  const parsed = Script.safeParse(content);
  if (parsed.success) return parsed.data;
  return refuse(
    parsed.error.issues.slice(0, 100).map((issue) => {
      const path = issue.path.filter((part) => typeof part !== "symbol");
      const key = issue.code === "unrecognized_keys" ? issue.keys[0] : undefined;
      return placed(offsetOf(document, path, key), `${path.join(".") || "script"}: ${issue.message}`);
    }),
  );
}

/** Where the deepest node on `path` begins, or the key in it. */
function offsetOf(
  document: ReturnType<typeof parseDocument>,
  path: readonly (string | number)[],
  key: string | undefined,
): number {
  for (let depth = path.length; depth >= 0; depth--) {
    const node = depth === 0 ? document.contents : document.getIn(path.slice(0, depth), true);
    if (!isNode(node) || !node.range) continue;
    const keys = isMap(node) ? node.items.map((pair) => pair.key) : [];
    const found = keys.find((other) => isScalar(other) && String(other.value) === key);
    return (isScalar(found) ? found.range : undefined)?.[0] ?? node.range[0];
  }
  return 0;
}
