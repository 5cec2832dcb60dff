import { CommanderError, type Option, Command as Program } from "commander";
import { type Add, collect, type Json, type Start } from "./add.ts";
import { addCompletion } from "./completion/command.ts";
import { addExamples, commandsOf } from "./examples.ts";
import { EXIT } from "./exit.ts";
import { addForks } from "./fork-program.ts";
import type { Host } from "./host.ts";
import { addPolicies } from "./policy-program.ts";

const JSON_OPTION = ["--json", "machine output on standard output, people's text on standard error"] as const;

/**
 * The command line: every command, its arguments and options. Commands are imported when they are
 * called, so that none waits for what only another needs.
 */
export function createProgram(host: Host): Program {
  const program = new Program("caisson")
    .description("Runs AI agents in disposable containers, behind a policy, with everything journalled.")
    .exitOverride()
    .configureOutput(host.output)
    // Narrow terminals get narrow columns; every command has options, so the list need not say so.
    .configureHelp({ minWidthToWrap: 12, subcommandTerm: termOf, optionDescription: descriptionOf })
    .showHelpAfterError("(caisson --help says what there is)")
    .helpCommand(true);
  program.option("-V, --version", "the version of this program").on("option:version", () => {
    host.output.writeOut?.(`${host.version()}\n`);
    throw new CommanderError(EXIT.done, "commander.version", "");
  });
  const add = (words: string, description: string) =>
    program
      .command(words)
      .description(description)
      .option(...JSON_OPTION);
  const start: Start = (work, { json }, broken = "refuse") =>
    host.start(work, { json: json === true, broken });
  addRun(add, start);
  addRuns(add, start);
  addApprovals(add, start);
  addCheckpoints(add, start);
  addResults(add, start);
  addPolicies(program, start);
  addDaemon(program, add, start);
  addCompletion(program, host);
  addExamples(program);
  for (const [words, command] of commandsOf(program))
    command.showHelpAfterError(`(caisson ${words} --help says how it is used)`);
  return program;
}

function termOf(command: Program): string {
  const places = command.registeredArguments.map((one) =>
    one.required ? `<${one.name()}>` : `[${one.name()}]`,
  );
  return [command.name(), ...places].join(" ");
}

function descriptionOf({ description, defaultValue }: Option): string {
  return typeof defaultValue === "string" ? `${description} (default: ${defaultValue})` : description;
}

function addRun(add: Add, start: Start): void {
  add("run <task>", "give an agent a task and watch it work")
    .option(
      "--workspace <dir>",
      "the folder to copy into the sandbox (default: this one, if it lies in a git work tree)",
    )
    .option("--policy <name|file>", "a ready policy, or a policy file (default: coding)")
    .option("--image <name>", "the sandbox's image (default: the policy's)")
    .option("--model <model>", "a model's id, or script:FILE")
    .option("--continue <run>", "tell a run that goes on, or take up the words of one that has ended")
    .option(
      "--accept <cmd>",
      "a command that must pass before the run is complete; may be repeated",
      collect,
      [],
    )
    .option(
      "--limit <key=value>",
      "wall, actions, tokens, cost, bytesOut, denials or asks; may be repeated",
      collect,
      [],
    )
    .option("--yes-to <rule>", "answer this rule's asks in advance; may be repeated", collect, [])
    .option("--detach", "leave when the task is submitted")
    .action((task: string, options) =>
      start(async (command) => (await import("./commands/run.ts")).run(command, task, options), options),
    );
}

function addRuns(add: Add, start: Start): void {
  const runs = () => import("./commands/runs.ts");
  add("ls", "list runs, newest first")
    .option("--status <status>", "only these, joined by commas")
    .option("--limit <n>", "how many (default: 50)")
    .action((options) => start(async (command) => (await runs()).list(command, options), options));
  add("show <run>", "how a run stands, and how to go on").action((name: string, options: Json) =>
    start(async (command) => (await runs()).show(command, name), options),
  );
  add("watch <run>", "tell a run from its beginning, then live")
    .option("--after <seq>", "begin after this event")
    .action((name: string, options) =>
      start(async (command) => (await runs()).watch(command, name, options), options),
    );
  add("events <run>", "a run's journal, one event a line")
    .option("--after <seq>", "begin after this event")
    .action((name: string, options) =>
      start(async (command) => (await runs()).events(command, name, options), options),
    );
  add(
    "shell <run>",
    "A shell of your own in a run's sandbox, beside the agent; what you run is journalled as yours. Directory and exported variables last from line to line; a line that ends in \\ goes on in the next. Ctrl-C stops the command, Ctrl-D leaves. Without a terminal, standard input is run as one script. Programs that want a real terminal, such as vim or less, don't work.",
  )
    .summary("a shell of your own in a run's sandbox, beside the agent")
    .option("-c, --command <cmd>", "run this one command and leave with its exit status")
    .action((name: string, options) =>
      start(async (command) => (await import("./commands/shell.ts")).shell(command, name, options), options),
    );
  add("message <run> <text>", "say something to the agent; it reads it before its next turn").action(
    (name: string, text: string, options: Json) =>
      start(async (command) => (await runs()).message(command, name, text), options),
  );
  const verbs = {
    interrupt: "stop a run where it is",
    resume: "go on with an interrupted run",
    cancel: "end a run for good",
  } as const;
  for (const verb of ["interrupt", "resume", "cancel"] as const)
    add(`${verb} <run>`, verbs[verb]).action((name: string, options: Json) =>
      start(async (command) => (await runs()).tell(command, verb, name), options),
    );
  add("rm <run>", "delete an ended run: its journal, and the files it kept").action(
    (name: string, options: Json) => start(async (command) => (await runs()).remove(command, name), options),
  );
}

function addApprovals(add: Add, start: Start): void {
  const module = () => import("./commands/approvals.ts");
  add("approvals", "what waits for an approval, and what was allowed for a run").action((options: Json) =>
    start(async (command) => (await module()).approvals(command), options),
  );
  add("approve <id>", "allow what a run asks for")
    .option("--for <once|run>", "this once, or for the rest of the run", "once")
    .option("--reason <text>", "why")
    .action((id: string, options) =>
      start(async (command) => (await module()).decide(command, "allow", id, options), options),
    );
  add("deny <id>", "deny what a run asks for")
    .option("--reason <text>", "why; the agent is told")
    .action((id: string, options) =>
      start(async (command) => (await module()).decide(command, "deny", id, options), options),
    );
  add(
    "declassify <run>",
    "Declare what a run holds to be less confidential, or to be trusted: all of it, what it has read so far and what it made of that. Rules of data.flow then hold for the lower labels. Only people can; the journal keeps who and why. What the run reads later raises its labels again.",
  )
    .summary("lower a run's labels")
    .option("--integrity <trusted>", "what people vouch for")
    .option("--confidentiality <kind>", "public, internal or confidential")
    .requiredOption("--reason <text>", "why; it stands in the journal")
    .action((name: string, options) =>
      start(
        async (command) => (await import("./commands/declassify.ts")).declassify(command, name, options),
        options,
      ),
    );
  add("revoke <id>", "take back an approval that was given for a run").action((id: string, options: Json) =>
    start(async (command) => (await module()).revoke(command, id), options),
  );
}

function addCheckpoints(add: Add, start: Start): void {
  const module = () => import("./commands/checkpoints.ts");
  add("checkpoints <run>", "a run's checkpoints, as the tree of its branches").action(
    (name: string, options: Json) =>
      start(async (command) => (await module()).checkpoints(command, name), options),
  );
  const going = () => import("./commands/rewind.ts");
  add("checkpoint <run>", "take a checkpoint by hand, to go back to or to fork from")
    .option("--name <name>", "what to call it; `rewind --to` takes it too")
    .action((name: string, options) =>
      start(async (command) => (await going()).checkpoint(command, name, options), options),
    );
  add(
    "rewind <run>",
    "Take a run back to a checkpoint: its files, shell and conversation together. It goes on from there on a new branch; nothing is erased from the journal, and any checkpoint whose image is there can be gone back to, on branches that were left too. What was spent, sent, approved or said by people stays.",
  )
    .summary("take a run back to a checkpoint")
    .requiredOption("--to <checkpoint>", "its id or name, or a seq: the checkpoint at or before that")
    .action((name: string, options) =>
      start(async (command) => (await going()).rewind(command, name, options), options),
    );
  add(
    "undo <run> <action>",
    "Take back what one action changed in the workspace's files, all of it or nothing, as a new action of yours; the run goes on. It can't where other actions of the same turn changed files too (but for the write and edit tools, which name theirs), or where the files have been changed again since. What .gitignore ignores stays as it is.",
  )
    .summary("take back what one action changed in files")
    .action((name: string, action: string, options: Json) =>
      start(async (command) => (await import("./commands/undo.ts")).undo(command, name, action), options),
    );
  addForks(add, start);
}

function addResults(add: Add, start: Start): void {
  const module = () => import("./commands/changes.ts");
  add("diff <run>", "what a run changed in its workspace, as a patch")
    .option("--at <checkpoint>", "up to this checkpoint, not up to now")
    .option("--from <checkpoint>", "since this checkpoint, not since the workspace was ingested (c0)")
    .action((name: string, options) =>
      start(async (command) => (await module()).diff(command, name, options), options),
    );
  add("apply <run>", "bring a run's changes into a folder")
    .option("--workspace <dir>", "the folder (default: this one, if it lies in a git work tree)")
    .option("--branch <name>", "make this git branch first and apply there")
    .option("--at <checkpoint>", "its changes up to this checkpoint")
    .option("--patch", "ask for each hunk whether to apply it")
    .option("--yes-to <rule>", "agree to this export rule's asks; may be repeated", collect, [])
    .action((name: string, options) =>
      start(async (command) => (await module()).apply(command, name, options), options),
    );
  add("cp <run:path> <dest>", "copy a file or folder out of a run's workspace")
    .option("--at <checkpoint>", "as it was at this checkpoint")
    .option("--yes-to <rule>", "agree to this export rule's asks; may be repeated", collect, [])
    .action((from: string, dest: string, options) =>
      start(
        async (command) => (await import("./commands/copy.ts")).copy(command, from, dest, options),
        options,
      ),
    );
  add("verify <run|file>", "check a journal: hash chain, sequence, blobs")
    .option("--head <hash>", "the hash that its last event must have")
    .action((name: string, options) =>
      start(
        async (command) => (await import("./commands/verify.ts")).verify(command, name, options),
        options,
      ),
    );
  add("replay <run>", "the harness and policy of today over a run's journal: is anything different?").action(
    (name: string, options: Json) =>
      start(async (command) => (await import("./commands/replay.ts")).replay(command, name), options),
  );
}

function addDaemon(program: Program, add: Add, start: Start): void {
  const module = () => import("./commands/daemon.ts");
  program
    .command("up")
    .description("the daemon, in the foreground")
    .action(() => start(async (command) => (await module()).up(command), {}));
  program
    .command("down")
    .description("stop the daemon; runs go on when it starts again")
    .action(() => start(async (command) => (await module()).down(command), {}, "pass over"));
  add("logs", "what the daemon wrote of its doings; no daemon needs to run")
    .option("-f, --follow", "go on with what it writes from now on")
    .option("--run <run>", "only of this run")
    .option("--level <level>", "only from this level on: debug, info, warn, error")
    .option("-n, --lines <n>", "only the newest lines")
    .action((options) =>
      start(async (command) => (await import("./commands/logs.ts")).logs(command, options), options),
    );
  add("doctor", "look at everything a run needs").action((options: Json) =>
    start(async (command) => (await module()).delegated(command, ["doctor"]), options, "pass over"),
  );
  add("gc", "free the disk of old checkpoints; the newest, the named and where branches part are kept")
    .option("--dry-run", "only say what would be freed")
    .action((options: Json & { readonly dryRun?: boolean }) =>
      start(async (command) => (await import("./commands/gc.ts")).collectGarbage(command, options), options),
    );
  add("config", "your settings in force, and what set each").action((options: Json) =>
    start(async (command) => (await import("./commands/config.ts")).config(command), options),
  );
  const images = program.command("images").description("the images sandboxes are made from");
  for (const [action, description] of [
    ["list", "what there is"],
    ["build", "build what is missing"],
  ] as const)
    images
      .command(action)
      .description(description)
      .option(...JSON_OPTION)
      .action((options: Json) =>
        start(async (command) => (await module()).delegated(command, ["images", action]), options),
      );
}
