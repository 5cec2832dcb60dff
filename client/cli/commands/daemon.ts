import { spawn } from "node:child_process";
import { once } from "node:events";
import { open } from "node:fs/promises";
import { setTimeout as pause } from "node:timers/promises";
import type { Command } from "../command.ts";
import { announced, holdsHome, logPath, stopDaemon } from "../daemon.ts";
import { EXIT, type ExitStatus } from "../exit.ts";
import { harmless } from "../harmless.ts";
import { daemonCommand } from "../package.ts";
import { line } from "../render/line.ts";

const FOLLOW_MS = 250;
const CHUNK = 64 * 1024;

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

/** `caisson logs`: what background daemons wrote; with `follow`, until Ctrl-C. */
export async function logs(
  { settings, terminal }: Command,
  { follow }: { readonly follow?: boolean },
): Promise<ExitStatus> {
  const path = logPath(settings);
  const file = await open(path, "r").catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return undefined;
    throw error;
  });
  if (!file) {
    terminal.remark([
      line(0, `There is no log at ${path}: no daemon of this home has run in the background yet.`),
    ]);
    return EXIT.done;
  }
  const decoder = new TextDecoder();
  try {
    for (let offset = 0; ; ) {
      const { bytesRead, buffer } = await file.read(Buffer.alloc(CHUNK), 0, CHUNK, offset);
      offset += bytesRead;
      if (bytesRead > 0) {
        const text = decoder.decode(buffer.subarray(0, bytesRead), { stream: true });
        await terminal.write(terminal.onScreen ? harmless(text) : text);
      } else if (!follow) return EXIT.done;
      else await pause(FOLLOW_MS);
    }
  } finally {
    await file.close();
  }
}
