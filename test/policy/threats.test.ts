// biome-ignore-all lint/suspicious/noTemplateCurlyInString: the texts are shell, not templates
/** THREATS 1 to 9 as texts: the shell hides a program, the policy must see it or call the text unresolved. */
import { describe, expect, test } from "vitest";
import { parseCommand } from "../../daemon/policy/parse-command.ts";
import { judged, policy } from "./kit.ts";

/** Only echo, git status and wrappers are allowed: whatever else a text runs must surface as a denial. */
const NARROW = policy(`
exec:
  shell: contained
  rules:
    - { id: echo, argv: [[echo, ":", "true", cat, x], "..."], decision: allow }
    - { id: status, argv: [git, status, "..."], decision: allow }
    - { id: wrappers, argv: [[env, xargs, find, eval, timeout, nohup, sh, bash, sudo, nice, command, exec, builtin, watch, ssh, trap, source, alias, python3, tar, rg, sort, sed, awk, let, declare, export, printf, test, "[", mapfile, split, busybox, setsid, stdbuf, su, flock], "..."], decision: allow }
    - { id: gits, argv: [git, [log, fetch, push, clone, archive, "-c"], "..."], decision: allow }
  env: { deny: [LD_*, NODE_OPTIONS, BASH_ENV, GIT_*] }
`);
/** Everything is allowed, but for `evil`. */
const WIDE = policy(`
exec:
  shell: contained
  rules:
    - { id: evil, argv: [evil, "..."], decision: deny }
    - { id: shell, argv: ["..."], decision: allow }
  env: { deny: [LD_*, NODE_OPTIONS, BASH_ENV, GIT_*] }
`);

describe("a hidden command is seen", () => {
  test.each([
    "git status; evil",
    "git status\nevil",
    "git status & evil",
    "git status | evil",
    "echo $(evil)",
    'echo "a $(evil) b"',
    "echo `evil`",
    "echo `echo \\`evil\\``",
    "echo <(evil)",
    "cat < <(evil)",
    "cat <<E\n$(evil)\nE",
    "cat <<-E\n\t`evil`\n\tE",
    "cat <<< $(evil)",
    "echo > $(evil)",
    "A=$(evil) true",
    "A=(1 $(evil))",
    "a[$(evil)]=1",
    "echo ${x:-$(evil)}",
    "echo ${x/$(evil)/y}",
    "echo ${x:$(evil):1}",
    "echo ${a[$(evil)]}",
    "echo $((1 + $(evil)))",
    "((x = $(evil)))",
    "for ((i=$(evil);;)); do echo; done",
    "for i in $(evil); do echo; done",
    "while evil; do echo; done",
    "until echo; do evil; done",
    "case $(evil) in a) echo;; esac",
    "case a in $(evil)) echo;; esac",
    "case a in a) evil;; esac",
    "select i in a; do evil; done",
    "[[ -f $(evil) ]]",
    "[[ a == $(evil) ]]",
    "if echo; then echo; elif evil; then echo; fi",
    "f() { evil; }; echo",
    "function f { evil; }",
    "f() { echo; } > $(evil)",
    "coproc evil",
    "coproc C { evil; }",
    "( ( evil ) )",
    "{ echo; evil; }",
    "! evil",
    "time -p evil",
    "g'i't status; e\\vil",
    "ev''il",
    '"evil"',
    "$'\\x65vil'",
    "$'\\145vil'",
    "e\\\nvil",
    "env evil",
    "env -i A=1 evil",
    "env -u X -- evil",
    "nohup nice -n 5 timeout -k 5 10 evil",
    "timeout --signal=KILL 10s evil",
    "xargs -n 1 evil",
    "xargs --replace evil git status",
    "xargs --replace={} evil {}",
    "xargs --max-lines evil git status",
    "xargs --max-lines=1 evil",
    "xargs --eof evil git status",
    "env - evil",
    "echo a | xargs -I{} evil {}",
    "find . -name x -exec evil {} \\;",
    "find . -execdir evil {} +",
    "sh -c evil",
    "bash -euo pipefail -c 'echo; evil'",
    "bash -c 'bash -c \"evil\"'",
    "bash -c 'echo $(evil)'",
    "eval evil",
    "eval 'echo;' evil",
    "command evil",
    "command -p evil",
    "command evil -v",
    "command -p -- evil -V",
    "builtin command evil",
    "exec -a x evil",
    "sudo -u root evil",
    "setsid -w evil",
    "stdbuf -o0 evil",
    "watch -n 1 evil",
    "busybox evil",
    "trap evil EXIT",
    "alias x=evil",
    "bash <<E\nevil\nE",
    "bash <<< evil",
    "strace -f -o x evil a",
    "/usr/bin/env /opt/evil",
    "su -c x root evil",
    "evil -x y",
  ])("`%s`", (text) => {
    expect(judged(WIDE, text)).toMatchObject({ verdict: "deny", rule: "evil" });
    expect(judged(NARROW, text).verdict).toBe("deny");
  });
});

describe("what can't be resolved matches no narrow rule", () => {
  test.each([
    "$x",
    '"$x" a',
    "e$x",
    "{evil,a}",
    "ev?l",
    "ev[i]l",
    "~/evil",
    "cat${IFS}x",
    "git $x",
    "git {status,push}",
    "eval $x",
    'eval "$x"',
    "env $x",
    "env -S 'evil a'",
    "env --split-string='evil a'",
    "xargs $x",
    "timeout $x evil",
    "sh -c $x",
    "sh script.sh",
    "echo evil | sh",
    "bash -s",
    "bash --rcfile x",
    "source x",
    ". x",
    "x=1; ${x@P}",
    "echo ${x@P}",
    "let 'a[$(evil)]'",
    "test -v 'a[$(evil)]'",
    "declare 'a[$(evil)]=1'",
    "printf -v 'a[$(evil)]' x",
    "[[ 'a[$(evil)]' -eq 1 ]]",
    "x='a[$(evil)]'; : $((x))",
    "mapfile -C evil -c 1",
    "python3 -c 'import os'",
    "python3 -Bc 'import os'",
    "python3 - <<'E'\nimport os\nE",
    "echo 'import os' | python3",
    "a[$(x)0]=1",
    "git -c core.pager=evil log",
    "git log --ext-diff",
    "git fetch --upload-pack=evil x",
    "git fetch --upload-pa evil x",
    "git push --e=evil x",
    "git clone --u=evil x",
    "split --f=evil x",
    "awk --e=evil x",
    "git clone ext::evil",
    "env - evil",
    "env -i - evil",
    "env --default-signal evil",
    "sudo -s",
    "sudo -i",
    "sudo -h evil git status",
    "xargs --replace evil git status",
    "xargs --max-lines evil git status",
    "xargs --eof evil git status",
    "xargs -i evil git status",
    "xargs -l evil git status",
    "xargs -e evil git status",
    "xargs -I status git status",
    "xargs -rIstatus git status",
    "xargs --replace=status git status",
    "mapfile -tC evil -c 1 x",
    "tar --to-command=evil -xf a",
    "tar -xf a --checkpoint-action=exec=evil",
    "tar -cIevil -f a .",
    "rg --pre evil x",
    "rg --pre=evil x",
    "sort --compress-program=evil a",
    "sed 's/a/b/e' x",
    "sed '1e evil' x",
    "sed 'w /etc/x' x",
    "awk 'BEGIN { system(\"evil\") }'",
    "awk '{ print | \"evil\" }'",
    "ssh host evil",
    ": $(( $(: <<'E'\n$(case a in b) x;; *) evil;; esac)\nE\n) + 1 ))",
    ": $(( 1 + ( 2\n) ))",
    "[[ -n $(x <<'E'\n$(x)\nE\n\nwhile x; evil; do :; done) ]]",
    "cat\u00a0x",
    "echo\u3000x",
    "A=1",
    "PATH=/tmp:$PATH",
    "PATH=bin git status",
    "PATH=bin; git status",
    "export PATH=bin",
    "export PATH; git status",
    "declare -x PATH=bin",
    "printf -v PATH bin; git status",
    "env PATH=bin git status",
    "for PATH in bin; do git status; done",
    "PS4='$(evil)' bash -c 'git status'",
    "export PROMPT_COMMAND=evil",
    "tar xIf evil a",
    "tar cFf evil a",
    "sed -f script x",
    "sed -nf script x",
    "sed --file=script x",
    "awk --load=evil 1",
    "awk --file=evil x",
    "git archive --remote=ext::evil HEAD",
  ])("`%s`", (text) => {
    expect(judged(NARROW, text)).toMatchObject({ verdict: "deny", rule: "default" });
  });
});

describe("what the allowed rules mean stays allowed", () => {
  test.each([
    "git status",
    "git 'status' --short",
    "g'it' status # evil",
    "echo 'evil; $(evil)' \"\\$(evil)\"",
    "cat <<'E'\n$(evil)\nE",
    "echo a{}b {} a=b ] ^ % !",
    "timeout 5 git status && nohup echo x",
    "find . -name '*.ts' -exec cat {} +",
    "sh -c 'git status'",
    "command -v evil",
    "[ -f x ] && echo y",
    'for f in *.ts; do echo "$f"; done',
    "sed -n '1,5p' x",
    "echo $((1 + 2)) $(( $(cat x) + 1 )); : $((n++))",
    "cat <<E\n$x $((1+1))\nE",
    "echo \"$(cat <<'E'\nit's a message; $(evil)\nE\n)\"",
  ])("`%s`", (text) => {
    expect(judged(NARROW, text).verdict).toBe("allow");
  });
});

describe("variables that make programs run others", () => {
  test.each([
    ["LD_PRELOAD=x git status", 0],
    ["LD_PRELOAD=x", 0],
    ["export LD_PRELOAD", 0],
    ["export NODE_OPTIONS=--require=x", 1],
    ["declare -x BASH_ENV=x", 2],
    ["env GIT_SSH_COMMAND=evil git status", 3],
    ["env -i A=1 LD_X=1 git status", 0],
    ["sudo LD_X=1 git status", 0],
    ["for LD_X in a; do :; done", 0],
    ["read GIT_DIR", 3],
    ["printf -v GIT_DIR x", 3],
    [": ${LD_PRELOAD:=x}", 0],
    ["LD_A+=x", 0],
    ["LD_A[0]=x", 0],
    ["bash -c 'LD_A=1 ls'", 0],
    ["(LD_A=1)", 0],
    ["export 'LD_A=1'", 0],
  ])("`%s`", (text, i) => {
    expect(judged(WIDE, text)).toMatchObject({ verdict: "deny", rule: `exec.env.deny[${i}]` });
  });
});

describe("texts that readers take differently are refused", () => {
  test.each([
    "a\rb",
    "a\r\nb",
    "a\0b",
    "a\vb",
    "a\fb",
    "a\x1bb",
    "a\u0085b",
    "a\u2028b",
    "a\u202eb",
    "a\ud800b",
    "\ufeffa",
  ])("%j", (text) => {
    expect(parseCommand(text).error).toMatch(/U\+/);
    expect(judged(WIDE, text)).toMatchObject({ verdict: "deny", rule: "default" });
  });
});

describe("size and depth are answered in bounded time", () => {
  const N = 10_000;
  test.each([
    ["sub-commands", "a;".repeat(N)],
    ["a megabyte", "a".repeat(2 ** 20)],
    ["brackets", `${"(".repeat(N)}a${")".repeat(N)}`],
    ["substitutions", `${"$(".repeat(N)}a${")".repeat(N)}`],
    ["quoted substitutions", `${'"$('.repeat(N)}a${')"'.repeat(N)}`],
    ["backticks", "`\\`\\\\\\`".repeat(N)],
    ["process substitutions", `cat ${"<(".repeat(N)}${")".repeat(N)}`],
    ["arithmetic", `${"$((".repeat(N)}1${"))".repeat(N)}`],
    ["parameters", `${"${x:-".repeat(N)}${"}".repeat(N)}`],
    ["braces", `echo ${"{a,".repeat(N)}${"}".repeat(N)}`],
    ["groups", `${"{ ".repeat(N)}a${"; }".repeat(N)}`],
    ["ifs", `${"if a; then ".repeat(N)}b${"; fi".repeat(N)}`],
    ["cases", `${"case a in b) ".repeat(N)}x${";; esac".repeat(N)}`],
    ["functions", `${"f() ".repeat(N)}{ a; }`],
    ["coprocs", `${"coproc ".repeat(N)}a`],
    ["negations", `${"! ".repeat(N)}evil`],
    ["unary minus", `((${"-".repeat(N)}1))`],
    [
      "shells in shells",
      Array.from({ length: 9 }).reduce<string>((text) => `bash -c '${text.replaceAll("'", "'\\''")}'`, "a"),
    ],
    ["evals", `${"eval ".repeat(N)}a`],
    ["envs", `${"env ".repeat(N)}a`],
    ["here-documents", `${"cat <<E ".repeat(N)}\n`],
    ["many substitutions", "$(a)".repeat(N)],
    ["options", `git ${"-c a ".repeat(N)}push`],
    ["opaque wrappers", "strace a b c d e f g; ".repeat(N / 5)],
  ])("%s", (_, text) => {
    parseCommand("warm $(up)");
    const started = performance.now();
    const { verdict } = judged(WIDE, text);
    expect(performance.now() - started).toBeLessThan(1_000);
    expect(verdict).toBe("deny");
  });
});
