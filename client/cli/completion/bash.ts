import { all, type CommandNode, type Place } from "./tree.ts";

const COMPLETERS = {
  runs: '_caisson_values "$1" runs',
  approvals: '_caisson_values "$1" approvals',
  checkpoints: '_caisson_values "$1" checkpoints "$first"',
  policies: '_caisson_values "$1" policies',
  files: "_caisson_paths -f",
  folders: "_caisson_paths -d",
  models: ":",
} as const;

/** Works with the bash of macOS too (3.2): no associative arrays, no mapfile. */
export function bashScript(root: CommandNode): string {
  const nodes = all(root);
  return `# Completion of caisson for bash. Made by: caisson completion bash
_caisson_words() {
  local IFS=$' \\t\\n'
  COMPREPLY+=($(compgen -W "$1" -- "$cur"))
  # more is to follow
  [[ \${COMPREPLY[0]} == *[=:] ]] && compopt -o nospace 2>/dev/null
}
_caisson_values() { _caisson_words "$("$1" __values "\${@:2}" 2>/dev/null | cut -f1)"; }
_caisson_paths() { local IFS=$'\\n'; compopt -o filenames 2>/dev/null; COMPREPLY+=($(compgen "$1" -- "$cur")); }

_caisson() {
  local cur=\${COMP_WORDS[COMP_CWORD]} path= option= glued= first= place=0 i word
  COMPREPLY=()
  for ((i = 1; i < COMP_CWORD; i++)); do
    word=\${COMP_WORDS[i]}
    # bash takes = and : as words of their own
    if [[ $word == [=:] ]]; then [[ $option ]] || glued=$word; continue; fi
    if [[ $glued ]]; then glued=; continue; fi
    if [[ $option ]]; then option=; continue; fi
    case "$path $word" in
${nodes.flatMap(descents).join("\n")}
${nodes.flatMap(valued).join("\n")}
      *' -'*) ;;
      *) place=$((place + 1)); first=\${first:-$word} ;;
    esac
  done
  if [[ $cur == [=:] ]]; then
    [[ $option ]] || glued=$cur
    cur=
  fi
  if [[ $glued ]]; then
    [[ $glued == : && \${COMP_WORDS[COMP_CWORD - 1]}\${COMP_WORDS[COMP_CWORD - 2]} == *script* ]] && _caisson_paths -f
    return
  fi
  if [[ $option ]]; then
    case "$path $option" in
${nodes.flatMap(values).join("\n")}
    esac
    return
  fi
  case $path in
${nodes.map(offers).join("\n")}
  esac
  [[ $cur == -* ]] && return
  case "$path $place" in
${nodes.flatMap(places).join("\n")}
  esac
}
complete -F _caisson caisson
`;
}

function name({ path }: CommandNode): string {
  return path.map((word) => `/${word}`).join("");
}

/** From a command to one below it. */
function descents(node: CommandNode): string[] {
  return node.commands.map(
    (below) => `      '${name(node)} ${below.path.at(-1)}') path='${name(below)}' place=0 ;;`,
  );
}

/** Options after which the next word is their value. */
function valued(node: CommandNode): string[] {
  return node.options
    .filter(({ value }) => value !== undefined)
    .map(({ long }) => `      '${name(node)} ${long}') option=$word ;;`);
}

function values(node: CommandNode): string[] {
  return node.options.flatMap(({ long, value }) =>
    value === undefined ? [] : complete(`'${name(node)} ${long}'`, value),
  );
}

function places(node: CommandNode): string[] {
  return node.places.flatMap((place, index) => complete(`'${name(node)} ${index}'`, place));
}

function complete(pattern: string, { kinds, words }: Place): string[] {
  const steps = [
    ...(words.length > 0 ? [`_caisson_words '${words.join(" ")}'`] : []),
    ...kinds.map((kind) => COMPLETERS[kind]),
  ];
  return steps.length === 0 ? [] : [`    ${pattern}) ${steps.join("; ")} ;;`];
}

/** A command's options where one is begun, else the commands below it. */
function offers(node: CommandNode): string {
  const options = node.options.flatMap(({ short, long }) => (short === undefined ? [long] : [short, long]));
  const commands = node.commands.map((below) => below.path.at(-1)).join(" ");
  const below = commands === "" ? "" : `; [[ $place == 0 && $cur != -* ]] && _caisson_words '${commands}'`;
  return `    '${name(node)}') [[ $cur == -* ]] && _caisson_words '${options.join(" ")}'${below} ;;`;
}
