/** Taking changes back inside of a sandbox: what is to be put where, and the program that does it, all or nothing. */
import { createHash } from "node:crypto";
import type { Change, FileState } from "../../boundary/change.ts";
import { type TarPart, writeTar } from "../../boundary/tar.ts";
import { pathBytes, pathText } from "../../protocol/path-text.ts";
import { KIT, type ProcessSpec } from "../../sandbox/gate.ts";
import { WORKSPACE } from "../tools/tool.ts";

const DEADLINE_MS = 120_000;
const KILL_GRACE_MS = 2_000;
const NUL = Buffer.from("\0");

const NOTHING = "-";

/** What stands at a path, as the program says it: its kind and the digest of its content or target. */
function standing(state: FileState | undefined): string {
  if (!state) return NOTHING;
  const kind = state.type === "symlink" ? "l" : state.executable ? "x" : "f";
  return `${kind}${createHash("sha256").update(state.content).digest("hex")}`;
}

/**
 * An archive of `list` (path and what must stand there now, a NUL after each), and of what each path is to be again:
 * `then/<its number>`; none where it was not there.
 */
export async function undoArchive(changes: readonly Change[]): Promise<Buffer> {
  const list = changes.flatMap(({ path, after }) => [
    pathBytes(path),
    NUL,
    Buffer.from(standing(after)),
    NUL,
  ]);
  const parts = changes.flatMap(({ before }, index) => (before ? [partOf(`then/${index}`, before)] : []));
  const chunks: Uint8Array[] = [];
  for await (const chunk of writeTar(inOrder([fileOf("list", Buffer.concat(list)), ...parts])))
    chunks.push(chunk);
  return Buffer.concat(chunks);
}

async function* inOrder(parts: readonly TarPart[]): AsyncGenerator<TarPart> {
  yield* parts;
}

function fileOf(path: string, content: Uint8Array, mode = 0o644): TarPart {
  const entry = { path, type: "file" as const, mode, size: content.length, mtime: 0 };
  return { entry, content: [content] };
}

function partOf(path: string, { type, executable, content }: FileState): TarPart {
  if (type === "file") return fileOf(path, content, executable ? 0o755 : 0o644);
  const entry = { path, type: "symlink" as const, mode: 0o777, size: 0, mtime: 0, target: pathText(content) };
  return { entry, content: [] };
}

/**
 * Looks at every path before it touches one; what it moved away it moves back when it can't go on.
 */
const SCRIPT = String.raw`b=${KIT.busybox}
stage=$($b mktemp -d ./.caisson-undo-XXXXXX) || exit 1
trap '$b rm -rf "$stage"' EXIT
$b mkdir "$stage/was" "$stage/put" && $b tar -x -m -f - -C "$stage" || exit 1
mapfile -d '' -t list < "$stage/list"
count=$((\${#list[@]} / 2))
digest() { $b sha256sum | $b cut -d ' ' -f 1; }
standing() {
  if [[ -L $1 ]]; then printf l; $b readlink -n "$1" | digest
  elif [[ -f $1 && -x $1 ]]; then printf x; digest < "$1"
  elif [[ -f $1 ]]; then printf f; digest < "$1"
  elif [[ -d $1 || ! -e $1 ]]; then echo ${NOTHING}
  else echo other
  fi
}
changed=0
for ((i = 0; i < count; i++)); do
  [[ $(standing "./\${list[2 * i]}") == "\${list[2 * i + 1]}" ]] && continue
  printf '%s has been changed since.\n' "\${list[2 * i]}"
  changed=1
done
if ((changed)); then echo 'Nothing was changed.'; exit 3; fi
back() {
  for ((i = 0; i < count; i++)); do
    [[ -e $stage/put/$i ]] && $b rm -f "./\${list[2 * i]}"
  done
  for ((i = 0; i < count; i++)); do
    [[ -e $stage/was/$i || -L $stage/was/$i ]] || continue
    path=./\${list[2 * i]}
    $b mkdir -p "\${path%/*}"; $b mv "$stage/was/$i" "$path"
  done
  echo 'It could not be taken back as a whole; nothing was changed.'
  exit 1
}
emptied() {
  folder=\${1%/*}
  while [[ $folder != . ]] && $b rmdir "$folder" 2> /dev/null; do folder=\${folder%/*}; done
}
for ((i = 0; i < count; i++)); do
  [[ \${list[2 * i + 1]} == ${NOTHING} ]] && continue
  $b mv "./\${list[2 * i]}" "$stage/was/$i" || back
  emptied "./\${list[2 * i]}"
done
for ((i = 0; i < count; i++)); do
  path=./\${list[2 * i]} again=$stage/then/$i
  [[ -e $again || -L $again ]] || continue
  if [[ -d $path ]]; then $b rmdir "$path" || back; fi
  $b mkdir -p "\${path%/*}" && : > "$stage/put/$i" && $b mv "$again" "$path" || back
done
printf 'Took back what was changed in %d file(s):\n' "$count"
for ((i = 0; i < count; i++)); do printf '  %s\n' "\${list[2 * i]}"; done
`.replaceAll("\\$", "$");

/** @param files the archive */
export function undoProcess(id: string, env: ProcessSpec["env"], files: Uint8Array): ProcessSpec {
  return {
    id,
    argv: [KIT.bash, "--norc", "--noprofile", "-c", SCRIPT],
    cwd: WORKSPACE,
    env,
    stdin: "none",
    inputFd: { fd: 0, bytes: files },
    deadlineMs: DEADLINE_MS,
    killGraceMs: KILL_GRACE_MS,
  };
}
