import type { Command as Program } from "commander";

/** By command: what a person would write, one line each. A test parses them all. */
export const EXAMPLES: Readonly<Record<string, readonly string[]>> = {
  run: [
    'caisson run "Make the failing test pass" --accept "npm test" --image node',
    'caisson run "Tidy the docs" --policy strict --limit wall=10m --limit cost=2USD',
    "caisson run - --workspace ../app --detach < task.txt",
    'caisson run "Try it" --model script:parcel.script.yaml',
  ],
  ls: ["caisson ls --status running,waiting", "caisson ls --limit 10 --json"],
  show: ["caisson show last", "caisson show 3c6d5dbb --json"],
  watch: ["caisson watch last"],
  events: ["caisson events last", "caisson events last --json | jq .type"],
  message: ['caisson message last "Leave the API as it is"'],
  interrupt: ["caisson interrupt last"],
  resume: ["caisson resume last"],
  cancel: ["caisson cancel 3c6d5dbb"],
  rm: ["caisson rm 3c6d5dbb"],
  shell: ["caisson shell last", 'caisson shell last -c "git log --oneline"', "caisson shell last < look.sh"],
  approvals: ["caisson approvals"],
  approve: ["caisson approve 3c6d5dbb.a4", "caisson approve 3c6d5dbb.a4 --for run"],
  deny: ['caisson deny 3c6d5dbb.a4 --reason "Not on a Friday"'],
  declassify: [
    'caisson declassify last --confidentiality internal --reason "Only sample data"',
    'caisson declassify 3c6d5dbb --integrity trusted --reason "I read the page"',
  ],
  revoke: ["caisson revoke 3c6d5dbb.a4"],
  checkpoints: ["caisson checkpoints last", "caisson checkpoints last --json | jq '.items[].id'"],
  checkpoint: ["caisson checkpoint last", 'caisson checkpoint last --name "before the upgrade"'],
  undo: ["caisson undo last a4"],
  rewind: [
    "caisson rewind last --to c3",
    'caisson rewind last --to "before the upgrade"',
    "caisson rewind 3c6d5dbb --to 120",
  ],
  fork: ["caisson fork last --at c2", 'caisson fork 3c6d5dbb --at 120 --task "Now in TypeScript" --detach'],
  race: [
    "caisson race last --at c2 --branches 4",
    "caisson race 3c6d5dbb --at c0 --branches 2 --task-file careful.md --task-file bold.md",
    'caisson race last --at c1 --branches 8 --score "npm run -s count-failures"',
  ],
  diff: ["caisson diff last", "caisson diff last > changes.patch", "caisson diff last --from c3 --at c5"],
  apply: [
    "caisson apply last",
    "caisson apply last --workspace ../app --branch agent",
    "caisson apply last --at c5",
  ],
  cp: [
    "caisson cp last:src/postage.js .",
    "caisson cp 3c6d5dbb:docs ./docs-of-the-run",
    "caisson cp last:src . --at c5",
  ],
  verify: ["caisson verify last", "caisson verify journal.ndjson"],
  replay: ["caisson replay last", "caisson replay 3c6d5dbb --json | jq .identical"],
  "policy init": ["caisson policy init", "caisson policy init team.yaml"],
  "policy check": ["caisson policy check policy.yaml"],
  "policy test": ["caisson policy test policy.yaml"],
  "policy explain": [
    'caisson policy explain policy.yaml --exec "git push origin main"',
    "caisson policy explain policy.yaml --write .git/hooks/pre-commit",
    "caisson policy explain policy.yaml",
  ],
  "policy backtest": [
    "caisson policy backtest policy.yaml last",
    "caisson policy backtest policy.yaml 3c6d5dbb 5e0f12ab --json",
  ],
  "policy learn": [
    "caisson policy learn last",
    "caisson policy learn 3c6d5dbb 5e0f12ab --name team --output team.yaml",
  ],
  up: ["caisson up"],
  down: ["caisson down"],
  logs: ["caisson logs --follow"],
  doctor: ["caisson doctor", "caisson doctor --json"],
  gc: ["caisson gc --dry-run", "caisson gc"],
  config: ["caisson config"],
  completion: [
    "caisson completion bash > ~/.local/share/bash-completion/completions/caisson",
    "caisson completion zsh > ~/.zfunc/_caisson",
    "caisson completion fish > ~/.config/fish/completions/caisson.fish",
  ],
  "images list": ["caisson images list"],
  "images build": ["caisson images build"],
};

/** Every command that does something, by its words after `caisson`. */
export function commandsOf(program: Program, words: readonly string[] = []): ReadonlyMap<string, Program> {
  const found = new Map<string, Program>();
  for (const command of program.commands) {
    const path = [...words, command.name()];
    if (command.commands.length === 0) found.set(path.join(" "), command);
    for (const [name, below] of commandsOf(command, path)) found.set(name, below);
  }
  return found;
}

/** Ends each command's help with its examples. */
export function addExamples(program: Program): void {
  for (const [name, command] of commandsOf(program)) {
    const lines = EXAMPLES[name] ?? [];
    if (lines.length > 0)
      command.addHelpText("after", `\nExamples:\n${lines.map((one) => `  ${one}`).join("\n")}`);
  }
}
