// biome-ignore-all lint/suspicious/noTemplateCurlyInString: the texts are shell, not templates
/** THREATS 3, 6 and 12: however a text sets a variable, the policy sees its name or calls it open. */
import { describe, expect, test } from "vitest";
import { parseCommand } from "../../daemon/policy/parse-command.ts";
import { judged, policy } from "./kit.ts";

/** Of programs only `git status` is allowed, and the builtins that the texts set variables with. */
const NARROW = policy(`
exec:
  shell: contained
  rules:
    - { id: builtins, argv: [[echo, command, declare, typeset, local, export, readonly, printf, read, mapfile, readarray, wait, getopts, unset, let, test, "["], "..."], decision: allow }
    - { id: status, argv: [git, status, "..."], decision: allow }
`);
/** Everything is allowed, but for variables. */
const WIDE = policy(`
exec:
  shell: contained
  rules: [{ id: shell, argv: ["..."], decision: allow }]
  env: { deny: [LD_*] }
`);

describe("a name that an option holds, or arithmetic sets, is a variable that is set", () => {
  const ways = [
    "printf -vNAME %s x",
    "command printf -vNAME %s x",
    "printf -v 'NAME[0]' x",
    "read -aNAME",
    "read -raNAME",
    "read -p x -a NAME",
    "read 'NAME[0]'",
    "mapfile -tNAME",
    "mapfile -t NAME",
    "readarray -tNAME",
    "wait -n -pNAME",
    "wait -npNAME",
    "wait -pNAME 1",
    "wait -p NAME 1",
    "getopts w NAME -w",
    "coproc NAME { echo; }",
    "for NAME in a; do echo; done",
    "for ((NAME=1; NAME<2; NAME++)); do echo; done",
    "for ((i=0; i<2; NAME=1)); do echo; done",
    "select NAME in a; do echo; done",
    "((NAME=1))",
    "((a=1, NAME+=2))",
    "((NAME<<=2))",
    "((NAME++))",
    "((--NAME))",
    "((NAME[0]=1))",
    "((a[NAME=1]))",
    "echo $((NAME=1))",
    "echo $[NAME=1]",
    "echo ${a[NAME=1]}",
    "echo ${x:NAME=1}",
    "a[NAME=1]=x",
    "a=([NAME=1]=x)",
    "[[ NAME=1 -eq 1 ]]",
    "[[ -v a[NAME=1] ]]",
    "test -v 'a[NAME=1]'",
    "let NAME=1",
    "let 'NAME = 1'",
    "let '1, NAME=1'",
    "let NAME++",
    "declare -n R=NAME",
    "local -n R=NAME",
    "typeset -gn R=NAME",
    "declare -i v=NAME=1",
    "declare 'a[NAME=1]=x'",
    "export NAME",
    "unset NAME",
    "echo ${NAME:=x}",
    "echo ${NAME=x}",
    "echo ${NAME[0]:=x}",
    "echo {NAME}>/dev/null",
  ];
  test.each(ways)("`%s`", (way) => {
    const path = `${way.replaceAll("NAME", "PATH")}; git status`;
    expect(judged(NARROW, path)).toMatchObject({ verdict: "deny", rule: "default" });
    expect(parseCommand(path).variables).toContain("PATH");
    const preload = `${way.replaceAll("NAME", "LD_PRELOAD")}; true`;
    expect(judged(WIDE, preload)).toMatchObject({ verdict: "deny", rule: "exec.env.deny[0]" });
  });

  test.each(["BASH_CMDS[git]=/workspace/evil; git status", "BASH_ALIASES[git]=evil; git status"])(
    "tables by which bash finds programs: `%s`",
    (text) => {
      expect(judged(NARROW, text)).toMatchObject({ verdict: "deny", rule: "default" });
    },
  );

  test("size is no matter", () => {
    const started = performance.now();
    for (const text of ["a".repeat(60_000), "a[".repeat(30_000), "$a ".repeat(20_000), "a ".repeat(30_000)])
      for (const way of ["let", "declare -i", "printf -v", "read -a"]) parseCommand(`${way} '${text}'`);
    expect(performance.now() - started).toBeLessThan(2_000);
  });
});

describe("a variable whose name the text leaves open may be any", () => {
  test.each([
    'export "${x}PATH=/workspace/b"; git status',
    "export ${x}PATH=/workspace/b; git status",
    "export {A,PATH}=/workspace/b; git status",
    "\\export A=$x; git status",
    "command export A=$x; git status",
    "declare $x=1; git status",
    'declare -x "$x"; git status',
    'readonly "$x"; git status',
    'printf -v "$x" a; git status',
    'printf -v"$x" a; git status',
    "printf $x a; git status",
    'read "$x"; git status',
    'read -a "$x"; git status',
    'read -r -p "$p" "$x"; git status',
    'mapfile -t "$x"; git status',
    'getopts a "$x"; git status',
    'wait -p "$x" 1; git status',
    'declare -n R="$x"; git status',
    "declare -n R; git status",
    "(($x=1)); git status",
    "echo $((${x}+=1)); git status",
    "(($x++)); git status",
    "Z=A; echo ${!Z:=x}; git status",
  ])("`%s`", (text) => {
    expect(judged(NARROW, text)).toMatchObject({ verdict: "deny", rule: "default" });
    expect(judged(WIDE, text)).toMatchObject({ verdict: "deny", rule: "default" });
  });

  test.each([
    'unset "$x"',
    'let "$x"',
    'printf "$x" a',
    'wait "$x"',
    'test -v "$x"',
    "printf '-va[$(evil)]' x",
    "read -a'a[$(evil)]'",
    "wait -p'a[$(evil)]' 1",
  ])("what it evaluates unseen matches no narrow rule: `%s`", (text) => {
    expect(judged(NARROW, text)).toMatchObject({ verdict: "deny", rule: "default" });
  });

  test.each([
    'export A="$x"; git status',
    "export A=$x B=y; git status",
    "f() { local a=$1; git status; }",
    'read -r -p "$p" -t "$t" a; git status',
    'printf "%s\\n" "$x"; git status',
    "printf '%s' '${x} $(x)'; git status",
    'mapfile -d "$d" -t a; git status',
    'getopts "$o" a "$@"; git status',
    "let i=i+1 i++; git status",
    "echo $((x + 1 == y)); (( $x <= 2 )); git status",
    'test "$x" = y; [ -f "$x" ]; git status',
  ])("what only values hide stays allowed: `%s`", (text) => {
    expect(judged(NARROW, text).verdict).toBe("allow");
    expect(judged(WIDE, text).verdict).toBe("allow");
  });
});
