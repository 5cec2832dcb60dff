/**
 * A daemon for tests to kill: its standard streams are the runner's. Appends a process's output to a file and
 * acknowledges what is written. Arguments: the file, then the command.
 */
import { openSync, writeSync } from "node:fs";
import { openRunnerChannel } from "../../daemon/sandbox/runner-channel.ts";

const [file = "", ...argv] = process.argv.slice(2);
const channel = await openRunnerChannel({ input: process.stdin, output: process.stdout, deadlineMs: 20_000 });
const env = { PATH: process.env.PATH ?? "" };
const started = await channel.start({ id: "long", argv, cwd: "/", env, stdin: "none" });
const fd = openSync(file, "a");
for await (const chunk of started.output) {
  writeSync(fd, chunk.bytes);
  started.acknowledge(chunk.stream, chunk.offset + chunk.bytes.length);
}
