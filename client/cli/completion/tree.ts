import type { Command as Program } from "commander";

/** What can stand in a place: values asked of the daemon, paths, or fixed words. */
export type Kind = "runs" | "approvals" | "checkpoints" | "policies" | "files" | "folders" | "models";

export interface Place {
  readonly kinds: readonly Kind[];
  readonly words: readonly string[];
}

export interface OptionNode {
  readonly short: string | undefined;
  readonly long: string;
  readonly description: string;
  /** Absent: the option takes no value. */
  readonly value?: Place;
  readonly repeated: boolean;
}

export interface CommandNode {
  /** Its words after `caisson`; none for the program itself. */
  readonly path: readonly string[];
  readonly description: string;
  readonly options: readonly OptionNode[];
  readonly places: readonly Place[];
  readonly commands: readonly CommandNode[];
}

const NOTHING: Place = { kinds: [], words: [] };

/** By the name that help gives an argument or a value. */
const PLACES: Readonly<Record<string, Place>> = {
  run: { kinds: ["runs"], words: ["last"] },
  "run|file": { kinds: ["runs", "files"], words: ["last"] },
  id: { kinds: ["approvals"], words: [] },
  checkpoint: { kinds: ["checkpoints"], words: [] },
  "checkpoint|seq": { kinds: ["checkpoints"], words: [] },
  file: { kinds: ["files"], words: [] },
  dir: { kinds: ["folders"], words: [] },
  dest: { kinds: ["files"], words: [] },
  "name|file": { kinds: ["policies", "files"], words: [] },
  model: { kinds: ["models"], words: ["script:"] },
  shell: { kinds: [], words: ["bash", "zsh", "fish"] },
  trusted: { kinds: [], words: ["trusted"] },
  kind: { kinds: [], words: ["public", "internal", "confidential"] },
  "once|run": { kinds: [], words: ["once", "run"] },
  status: {
    kinds: [],
    words: ["queued", "starting", "running", "waiting", "interrupted", "completed", "failed", "cancelled"],
  },
  "key=value": {
    kinds: [],
    words: ["wall=", "actions=", "tokens=", "cost=", "bytesOut=", "denials=", "asks="],
  },
};

/** The visible commands of a command line, with what can stand where. */
export function treeOf(program: Program, path: readonly string[] = []): CommandNode {
  const help = program.createHelp();
  return {
    path,
    description: program.description(),
    options: help.visibleOptions(program).map((option) => {
      const value = /[<[](.+?)[>\]]/.exec(option.flags)?.[1];
      return {
        short: option.short,
        long: option.long ?? option.flags,
        description: option.description,
        ...(value !== undefined && { value: PLACES[value] ?? NOTHING }),
        repeated: Array.isArray(option.defaultValue),
      };
    }),
    places: program.registeredArguments.map((argument) => PLACES[argument.name()] ?? NOTHING),
    commands: help
      .visibleCommands(program)
      .filter((command) => command.name() !== "help")
      .map((command) => treeOf(command, [...path, command.name()])),
  };
}

/** The command and all below it. */
export function all(node: CommandNode): CommandNode[] {
  return [node, ...node.commands.flatMap(all)];
}
