import { createColors } from "picocolors";
import { harmless } from "./harmless.ts";
import { type Line, type Paper, painted, type Style } from "./render/line.ts";

/** Narrower than this, lines are not wrapped any further. In cells. */
const NARROWEST = 20;

type Stream = NodeJS.WriteStream;

/** Where a command's words go. Text of anyone but us goes through {@link Terminal.say}, which makes it harmless. */
export interface Terminal {
  /** A person sits there: they see what is said and can answer. */
  readonly interactive: boolean;
  /** Standard output is a terminal. */
  readonly onScreen: boolean;
  readonly paper: Paper;
  /** Machine output, and what was asked for as bytes: to standard output as it is. Waits while a pipe is full. */
  write(text: string): Promise<void>;
  /** Text for people: to standard output, or to standard error when that is for machines. */
  say(lines: readonly Line[]): void;
  /** Text for people beside the result: always to standard error. */
  remark(lines: readonly Line[]): void;
}

export interface TerminalOptions {
  readonly stdin: NodeJS.ReadStream;
  readonly stdout: Stream;
  readonly stderr: Stream;
  readonly env: NodeJS.ProcessEnv;
  readonly json: boolean;
  /** `auto`: where the stream is a terminal. */
  readonly colours: "auto" | "never";
}

export function openTerminal({ stdin, stdout, stderr, env, json, colours }: TerminalOptions): Terminal {
  const people = json ? stderr : stdout;
  return {
    // A dumb terminal can't redraw a question; whoever sits there is told how to answer.
    interactive: !json && stdin.isTTY === true && stdout.isTTY === true && env.TERM !== "dumb",
    onScreen: stdout.isTTY === true,
    paper: paperOf(people, colours),
    write: (text) =>
      new Promise((resolve) => {
        if (stdout.write(text)) resolve();
        else stdout.once("drain", resolve);
      }),
    say: (lines) => void people.write(painted(lines, paperOf(people, colours))),
    remark: (lines) => void stderr.write(painted(lines, paperOf(stderr, colours))),
  };
}

/** How text looks on this stream now; a terminal may have been resized since the last line. */
function paperOf(stream: Stream, wanted: TerminalOptions["colours"]): Paper {
  const screen = stream.isTTY === true;
  const colours = createColors(screen && wanted === "auto");
  const colour: Readonly<Record<Style, (text: string) => string>> = {
    plain: (text) => text,
    dim: colours.dim,
    bold: colours.bold,
    good: colours.green,
    bad: colours.red,
    warn: colours.yellow,
    accent: colours.cyan,
  };
  return {
    columns: screen ? Math.max(NARROWEST, stream.columns || 80) : Number.POSITIVE_INFINITY,
    colour: (text, style) => colour[style](text),
  };
}

/** A message for people in its rows, whatever it quotes made harmless. */
export function plainMessage(text: string): string {
  return `${harmless(text).trimEnd()}\n`;
}
