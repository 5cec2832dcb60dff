import type { Command as Program } from "commander";
import type { Json, Start } from "./add.ts";

/** The commands about policy files. */
export function addPolicies(program: Program, start: Start): void {
  const files = () => import("./commands/policy.ts");
  const explaining = () => import("./commands/policy-explain.ts");
  const learning = () => import("./commands/policy-runs.ts");
  const policy = program
    .command("policy")
    .description("policy files: begin, check, test, explain, try on recorded runs, learn from them");
  const add = (words: string, description: string) =>
    policy
      .command(words)
      .description(description)
      .option("--json", "machine output on standard output, people's text on standard error");
  add("init [file]", "write a commented policy to begin with (default: policy.yaml)").action(
    (file: string | undefined, options: Json) =>
      start(async (command) => (await files()).init(command, file), options),
  );
  add("check <file>", "check a policy file and run its tests").action((file: string, options: Json) =>
    start(async (command) => (await files()).check(command, file), options),
  );
  add("test <file>", "run the tests in a policy file and list those that fail").action(
    (file: string, options: Json) => start(async (command) => (await files()).test(command, file), options),
  );
  add(
    "explain <file>",
    "What a policy says to one command, path or request, and which rules match; without a question, all that is in force, section by section. The organisation's policy and the one in this folder's .caisson/policy.yaml are above it, as in a run.",
  )
    .summary("what a policy says to one action, or all that is in force")
    .option("--exec <cmd>", "a command")
    .option("--read <path>", "a path that is read")
    .option("--write <path>", "a path that is written")
    .option("--http <method url>", 'a request, such as "GET https://example.org/"')
    .option("--alone", "without the policies above it")
    .action((file: string, options) =>
      start(async (command) => (await explaining()).explain(command, file, options), options),
    );
  add(
    "backtest <file> <run...>",
    "Judges recorded runs anew with this file in place of their own policy, and lists every verdict that changes: exit status 1 if any does. Each is judged on what the run did then; what it would have done instead, nobody knows. Nothing is changed.",
  )
    .summary("which verdicts of recorded runs would change under this file")
    .action((file: string, runs: string[], options: Json) =>
      start(async (command) => (await learning()).backtest(command, file, runs), options),
    );
  add(
    "learn <run...>",
    "Proposes the narrowest policy file that would have allowed what people and rules allowed in these runs, with tests of what was allowed and denied. What people denied stays out. Read it before you use it.",
  )
    .summary("propose the narrowest policy file that would have done for these runs")
    .option("--name <name>", "the policy's name (default: learnt)")
    .option("--output <file>", "write it there; a file that is there already stays as it is")
    .action((runs: string[], options) =>
      start(async (command) => (await learning()).learn(command, runs, options), options),
    );
}
