import type { Command as Program } from "commander";
import { badInput } from "../exit.ts";
import type { Host } from "../host.ts";
import type { CommandNode } from "./tree.ts";

type Script = (root: CommandNode) => string;

const SCRIPTS: Readonly<Record<string, () => Promise<Script>>> = {
  bash: async () => (await import("./bash.ts")).bashScript,
  zsh: async () => (await import("./zsh.ts")).zshScript,
  fish: async () => (await import("./fish.ts")).fishScript,
};

/** `caisson completion SHELL`, and the hidden command that completion asks for values. */
export function addCompletion(program: Program, host: Host): void {
  program
    .command("completion <shell>")
    .description("print a script that completes commands, options, runs and approvals in bash, zsh or fish")
    .action(async (shell: string) => {
      const load = Object.hasOwn(SCRIPTS, shell) ? SCRIPTS[shell] : undefined;
      if (load === undefined)
        throw badInput(
          `There is no completion for "${shell}". There is one for: ${Object.keys(SCRIPTS).join(", ")}.`,
        );
      const { treeOf } = await import("./tree.ts");
      host.output.writeOut?.((await load())(treeOf(program)));
    });
  program.command("__values <kind> [run]", { hidden: true }).action((kind: string, run?: string) =>
    host.start(async (command) => (await import("./values.ts")).values(command, kind, run), {
      json: false,
      broken: "pass over",
    }),
  );
}
