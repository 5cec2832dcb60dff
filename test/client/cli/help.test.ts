import { CommanderError, type Command as Program } from "commander";
import { describe, expect, test } from "vitest";
import { commandsOf, EXAMPLES } from "../../../client/cli/examples.ts";
import { createProgram } from "../../../client/cli/program.ts";

interface Tried {
  readonly program: Program;
  readonly started: () => number;
  readonly written: () => string;
}

/** The real command line over a host that starts nothing. */
function tried(): Tried {
  let started = 0;
  let written = "";
  const write = (text: string) => {
    written += text;
  };
  const program = createProgram({
    start: async () => {
      started += 1;
    },
    output: { writeOut: write, writeErr: write },
    version: () => "0",
  });
  return { program, started: () => started, written: () => written };
}

/** A shell's words, as far as examples need it: quotes; nothing after a pipe or a redirection. */
function wordsOf(example: string): string[] {
  const bare = example.split(/ [|<>] /)[0] ?? "";
  return [...bare.matchAll(/"([^"]*)"|(\S+)/g)].map((match) => match[1] ?? match[2] ?? "");
}

const commands = [...commandsOf(tried().program)].filter(([name]) => !name.startsWith("__"));

describe("every command explains itself", () => {
  test.each(commands)("%s has a description, and its help shows an example", async (name, command) => {
    expect(command.description().length).toBeGreaterThan(10);
    const { program, written } = tried();
    await expect(program.parseAsync([...name.split(" "), "--help"], { from: "user" })).rejects.toThrow(
      CommanderError,
    );
    expect(EXAMPLES[name]?.length).toBeGreaterThan(0);
    expect(written()).toContain(`Examples:\n  ${EXAMPLES[name]?.[0]}`);
  });

  const examples = commands.flatMap(([name]) =>
    (EXAMPLES[name] ?? []).map((example) => [name, example] as const),
  );
  test.each(examples)("%s: `%s` is taken as it is written", async (name, example) => {
    const { program, started, written } = tried();
    const [first, ...words] = wordsOf(example);
    expect(first).toBe("caisson");
    expect(words.join(" ").startsWith(name)).toBe(true);
    await program.parseAsync(words, { from: "user" });
    expect(started() === 1 || written().length > 500).toBe(true);
  });

  test.each([
    [["show"], "caisson show --help"],
    [["policy", "explain"], "caisson policy explain --help"],
    [["run", "a task", "--modle", "x"], "caisson run --help"],
    [["rnu", "x"], "caisson --help"],
  ])("%j: its help is named with the mistake", async (words, help) => {
    const { program, written } = tried();
    await expect(program.parseAsync(words, { from: "user" })).rejects.toThrow(CommanderError);
    expect(written()).toContain(`(${help} says`);
  });

  test("help fits into 40 columns, the list of commands included", () => {
    const { program } = tried();
    for (const command of [program, ...commandsOf(program).values()]) {
      const text = command.configureOutput({ getOutHelpWidth: () => 40 }).helpInformation();
      // Usage lines are for copying; a single long word is nothing that could be broken.
      const rows = text.split("\n").filter((row) => !row.startsWith("Usage:") && row.trim().includes(" "));
      for (const row of rows) expect(row.length, row).toBeLessThanOrEqual(40);
    }
  });
});
