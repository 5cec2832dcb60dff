import { PassThrough } from "node:stream";
import { expect, test } from "vitest";
import { converse } from "../../../client/cli/shell/prompt.ts";

/** A person at a terminal that is none: what they type, what they see. */
function person() {
  const input = new PassThrough();
  const output = new PassThrough();
  let seen = "";
  const waiting = new Set<() => void>();
  output.on("data", (chunk) => {
    seen += String(chunk);
    for (const check of waiting) check();
  });
  return {
    streams: { input, output },
    type: (text: string) => void input.write(text),
    sees: (text: string) =>
      new Promise<void>((resolve) => {
        const check = () => {
          if (!seen.includes(text)) return;
          waiting.delete(check);
          seen = seen.slice(seen.indexOf(text) + text.length);
          resolve();
        };
        waiting.add(check);
        check();
      }),
  };
}

function shell(statuses: Readonly<Record<string, number | undefined>> = {}) {
  const ran: string[] = [];
  const interrupts: string[] = [];
  let end = (_status: number | undefined) => {};
  let close = () => {};
  let stopped = () => {};
  const interrupted = new Promise<void>((resolve) => {
    stopped = resolve;
  });
  let begin = () => {};
  const begun = new Promise<void>((resolve) => {
    begin = resolve;
  });
  return {
    begun,
    interrupted,
    ran,
    interrupts,
    end: (status: number | undefined) => end(status),
    close: () => close(),
    conversation: {
      name: "3c6d5dbb",
      directory: "/workspace",
      run(command: string): Promise<number | undefined> {
        ran.push(command);
        begin();
        if (command in statuses) return Promise.resolve(statuses[command]);
        return new Promise((resolve) => {
          end = resolve;
        });
      },
      interrupt: () => {
        interrupts.push(ran.at(-1) ?? "");
        stopped();
      },
      over: new Promise<void>((resolve) => {
        close = resolve;
      }),
    },
  };
}

const PROMPT = "3c6d5dbb:/workspace $ ";

test("each line is run after the one before, typed ahead or not; Ctrl-D leaves with the last status", async () => {
  const me = person();
  const bash = shell({ ls: 0, "": 9, false: 1 });
  const left = converse(me.streams, bash.conversation);
  await me.sees(PROMPT);
  me.type("ls\n\nfalse\n");
  for (let prompts = 0; prompts < 3; prompts += 1) await me.sees(PROMPT);
  me.type("\x04");
  expect(await left).toBe(1);
  expect(bash.ran).toEqual(["ls", "false"]);
});

test("Ctrl-C stops the command that runs; at the prompt it drops what was typed", async () => {
  const me = person();
  const bash = shell({ ls: 0 });
  const left = converse(me.streams, bash.conversation);
  await me.sees(PROMPT);
  me.type("sleep 9\n");
  await bash.begun;
  me.type("\x03");
  await bash.interrupted;
  expect(bash.interrupts).toEqual(["sleep 9"]);
  bash.end(130);
  await me.sees(PROMPT);
  me.type("half a line\x03");
  await me.sees("^C");
  me.type("ls\n");
  await me.sees("ls");
  me.type("exit\n");
  expect(await left).toBe(0);
  expect(bash.ran).toEqual(["sleep 9", "ls"]);
});

test("a line that ends in a backslash goes on in the next, and exit leaves with its number", async () => {
  const me = person();
  const bash = shell({ "echo a \\\nb": 0 });
  const left = converse(me.streams, bash.conversation);
  await me.sees(PROMPT);
  me.type("echo a \\\n");
  await me.sees("> ");
  me.type("b\n");
  await me.sees(PROMPT);
  me.type("exit 7\n");
  expect(await left).toBe(7);
  expect(bash.ran).toEqual(["echo a \\\nb"]);
});

test("a run that ends while the person thinks, or under a command, ends the prompt", async () => {
  const me = person();
  const bash = shell();
  const left = converse(me.streams, bash.conversation);
  await me.sees(PROMPT);
  bash.close();
  expect(await left).toBe(0);
  const other = shell({ ls: undefined });
  const gone = converse(me.streams, other.conversation);
  await me.sees(PROMPT);
  me.type("ls\n");
  expect(await gone).toBe(0);
});

test("a directory's name can't steer the terminal (THREATS 29)", async () => {
  const me = person();
  const { conversation } = shell();
  const left = converse(me.streams, { ...conversation, directory: "/tmp/\x1b]0;x\x07\u202e" });
  await me.sees("3c6d5dbb:/tmp/\\x1b]0;x\\x07\\u{202e} $ ");
  me.type("\x04");
  await left;
});
