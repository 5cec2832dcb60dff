import { all, type CommandNode, type Kind, type OptionNode, type Place } from "./tree.ts";

const COMPLETERS: Readonly<Record<Kind, string>> = {
  runs: "(caisson __values runs 2>/dev/null)",
  approvals: "(caisson __values approvals 2>/dev/null)",
  checkpoints: "(caisson __values checkpoints (commandline -opc)[3] 2>/dev/null)",
  policies: "(caisson __values policies 2>/dev/null)",
  files: "(__fish_complete_path (commandline -ct))",
  folders: "(__fish_complete_directories (commandline -ct))",
  models: "script:(__fish_complete_path (string replace -r '^script:' '' -- (commandline -ct)))",
};

export function fishScript(root: CommandNode): string {
  return `# Completion of caisson for fish. Made by: caisson completion fish
function __caisson_at
    set -l words (commandline -opc)
    set -e words[1]
    set -l depth (count $argv)
    test $depth -eq 0; and return 0
    test (count $words) -ge $depth; and test "$words[1..$depth]" = "$argv"
end
function __caisson_next
    set -l words (commandline -opc)
    test (count $words) -eq (count caisson $argv); and __caisson_at $argv
end
complete -c caisson -f
${all(root).flatMap(lines).join("\n")}
`;
}

function lines(node: CommandNode): string[] {
  const at = (what: string) => `complete -c caisson -n ${quoted(`${what} ${node.path.join(" ")}`.trim())}`;
  const commands = node.commands.map(
    ({ path, description }) => `${at("__caisson_next")} -a ${path.at(-1)} -d ${quoted(description)}`,
  );
  const here = at(node.path.length === 0 ? "__caisson_next" : "__caisson_at");
  const options = node.options.map((option) => `${here} ${optionWords(option)}`);
  const places = node.places.flatMap((place) =>
    offered(place).map((what) => `${at("__caisson_at")} -a ${quoted(what)}`),
  );
  return [...commands, ...options, ...places];
}

function optionWords({ short, long, description, value }: OptionNode): string {
  const names = [...(short === undefined ? [] : ["-s", short.slice(1)]), "-l", long.slice(2)];
  const given = value === undefined ? [] : ["-x", ...offered(value).flatMap((what) => ["-a", quoted(what)])];
  return [...names, ...given, "-d", quoted(description)].join(" ");
}

/** One list: fish takes but one for an option. */
function offered({ kinds, words }: Place): string[] {
  const all = [...words, ...kinds.map((kind) => COMPLETERS[kind])];
  return all.length === 0 ? [] : [all.join(" ")];
}

function quoted(text: string): string {
  return `'${text.replaceAll("\\", "\\\\").replaceAll("'", "\\'")}'`;
}
