import { spawn } from "node:child_process";
import { once } from "node:events";
import type { Command } from "../command.ts";
import { announced, holdsHome, stopDaemon } from "../daemon.ts";
import { EXIT, type ExitStatus } from "../exit.ts";
import { daemonCommand } from "../package.ts";
import { line } from "../render/line.ts";

/** Runs the daemon's program in the foreground; its exit status is ours. */
async function daemonProgram({ settings }: Command, words: readonly string[]): Promise<number> {
  const { program, words: first } = daemonCommand();
  const child = spawn(program, [...first, ...words], {
    env: settings.env,
    cwd: settings.folder,
    stdio: "inherit",
  });
  // A terminal's Ctrl-C reaches both of us; whoever signals only us means the daemon too.
  const pass = () => void child.kill("SIGTERM");
  const interrupted = () => {
    if (process.stdin.isTTY !== true) pass();
  };
  process.on("SIGTERM", pass);
  process.on("SIGINT", interrupted);
  try {
    const [status] = (await once(child, "close")) as [number | null];
    return status ?? EXIT.failed;
  } finally {
    process.off("SIGTERM", pass);
    process.off("SIGINT", interrupted);
  }
}

/** `caisson up`: the daemon in the foreground. */
export async function up(command: Command): Promise<number> {
  const { settings, terminal } = command;
  const running = await announced(settings);
  if (running && (await holdsHome(settings))) {
    terminal.say([
      line(
        0,
        `A daemon runs already on ${running.address} (process ${running.pid}). \`caisson down\` stops it.`,
      ),
    ]);
    return EXIT.failed;
  }
  return daemonProgram(command, ["serve"]);
}

/** `caisson down`: runs stay where they are and go on with the next daemon. */
export async function down(command: Command): Promise<ExitStatus> {
  const { settings, terminal } = command;
  const stopped = await stopDaemon(settings);
  terminal.say([
    line(
      0,
      stopped
        ? "The daemon has stopped. Runs that had not ended go on when it starts again."
        : `No daemon runs with the home ${settings.home}.`,
    ),
  ]);
  return EXIT.done;
}

/** `caisson doctor`, `caisson images …`: what the daemon's own program says. */
export function delegated(command: Command, words: readonly string[]): Promise<number> {
  return daemonProgram(command, command.json ? [...words, "--json"] : words);
}
