import { all, type CommandNode, type Kind, type OptionNode, type Place } from "./tree.ts";

const COMPLETERS: Readonly<Record<Kind, string>> = {
  runs: "_caisson_values runs",
  approvals: "_caisson_values approvals",
  checkpoints: "_caisson_values checkpoints $words[2]",
  policies: "_caisson_values policies",
  files: "_files",
  folders: "_files -/",
  models: "_caisson_model",
};

export function zshScript(root: CommandNode): string {
  return `#compdef caisson
# Completion of caisson for zsh. Made by: caisson completion zsh
_caisson_values() {
  local -a values
  values=("\${(@f)$(caisson __values $@ 2>/dev/null | tr '\\t' ':')}")
  values=(\${values:#})
  (( $#values )) && _describe -t $1 $1 values
}
_caisson_model() {
  if compset -P 'script:'; then _files; else compadd -S '' -- script:; fi
}
${all(root).map(commandFunction).join("\n")}
# Sourced or autoloaded.
if [[ $funcstack[1] == _caisson ]]; then _caisson "$@"; else compdef _caisson caisson; fi
`;
}

function functionName({ path }: CommandNode): string {
  return ["_caisson", ...path].join("_");
}

function commandFunction(node: CommandNode): string {
  const options = node.options.map((option) => `    ${optionSpec(option)}`);
  if (node.commands.length === 0) {
    const places = node.places.map((place, index) => `    ${quoted(`${index + 1}: :${action(place)}`)}`);
    return `${functionName(node)}() {\n  _arguments -s \\\n${[...options, ...places].join(" \\\n")}\n}`;
  }
  const described = node.commands
    .map(({ path, description }) => `    ${quoted(`${path.at(-1)}:${description}`)}`)
    .join("\n");
  const cases = node.commands
    .map((below) => `      ${below.path.at(-1)}) ${functionName(below)} ;;`)
    .join("\n");
  return `${functionName(node)}() {
  local state line
  local -a commands
  commands=(
${described}
  )
  _arguments -C \\
${options.join(" \\\n")} \\
    '1: :->command' '*:: :->rest'
  case $state in
    command) _describe -t commands command commands ;;
    rest) case $line[1] in
${cases}
    esac ;;
  esac
}`;
}

function optionSpec({ short, long, description, value, repeated }: OptionNode): string {
  const told = `[${description.replaceAll(/[[\]\\:]/g, "\\$&")}]${value === undefined ? "" : `: :${action(value)}`}`;
  const names = short === undefined ? [long] : [short, long];
  return names.map((name) => quoted(`${repeated ? "*" : ""}${name}${told}`)).join(" ");
}

function action({ kinds, words }: Place): string {
  const fixed = words.filter((word) => word !== "script:");
  const given =
    fixed.length > 0
      ? [`compadd ${fixed.some((word) => word.endsWith("=")) ? "-S '' " : ""}-- ${fixed.join(" ")}`]
      : [];
  const steps = [...given, ...kinds.map((kind) => COMPLETERS[kind])];
  return steps.length === 0 ? " " : `{ ${steps.join("; ")} }`;
}

function quoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
