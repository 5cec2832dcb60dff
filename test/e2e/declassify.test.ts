/** What people see of labels, and how they lower them, through the command line on a real engine. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { CommandLine } from "./command-line.ts";

const POLICY = `version: 1
name: labelled
default: deny
exec:
  shell: contained
  rules:
    - { id: push, argv: [git, push, "..."], decision: ask }
    - { id: any, argv: ["..."], decision: allow }
files: { read: { allow: ["/**"] }, write: { allow: ["/**"] } }
data:
  labels:
    - { path: "/workspace/customers/**", confidentiality: confidential }
    - { path: "/workspace/vendor/**", integrity: untrusted }
  flow:
    - { id: look-first, when: { integrity: untrusted }, to: [export], decision: ask }
`;

/** `git push` waits for a person, who need not come. */
const SCRIPT = JSON.stringify({
  turns: [
    { use: [{ tool: "bash", input: { command: "cat customers/list.csv; echo made > made" } }] },
    { use: [{ tool: "bash", input: { command: "git push" } }] },
    { say: "Done." },
  ],
});

let cli: CommandLine;

beforeAll(async () => {
  cli = await CommandLine.open();
  await cli.file("script.yaml", SCRIPT);
  await cli.file("labelled.yaml", POLICY);
  await cli.file("project/customers/list.csv", "Lovelace\n");
  await cli.file("project/vendor/read-me", "Trust me.\n");
  const words = ["run", "Do it.", "--workspace", "project", "--policy", "labelled.yaml"];
  const run = await cli.run([...words, "--model", "script:script.yaml", "--detach"]);
  expect(run, run.error).toMatchObject({ status: 0 });
});
afterAll(async () => {
  await cli?.run(["cancel", "last"]);
  await cli?.close();
});

test("watch, show and copies tell what a run holds; a person's word lowers it, once, with a reason", async () => {
  const watching = cli.start(["watch", "last"]);
  await watching.says(/caisson deny/);
  watching.child.kill("SIGKILL");
  await watching.ended;
  const events = (await cli.run(["events", "last"])).out;
  expect(events).toMatch(/kept from commands: 1 file, confidential by data\.labels\[0\]/);
  expect(events).toMatch(
    /open to any command, which makes the run so: 1 file, untrusted by data\.labels\[1\]/,
  );
  expect(events).not.toContain("Lovelace");
  expect((await cli.run(["show", "last"])).out).toMatch(/\nholds +untrusted, internal data\n/);
  const asked = await cli.run(["cp", "last:made", "copy"]);
  expect(asked).toMatchObject({ status: 3 });
  expect(asked.error).toMatch(/--yes-to 'look-first'/);
  for (const [words, told] of [
    [["--reason", "r"], /--integrity trusted, --confidentiality internal, or both/],
    [["--integrity", "fine", "--reason", "r"], /--integrity is one of trusted, untrusted/],
    [["--confidentiality", "secret", "--reason", "r"], /is no lower. Nothing was changed/],
  ] as const) {
    const refused = await cli.run(["declassify", "last", ...words]);
    expect(refused.status).not.toBe(0);
    expect(refused.error).toMatch(told);
  }
  const lowered = await cli.run(["declassify", "last", "--integrity", "trusted", "--reason", "I read it."]);
  expect(lowered, lowered.error).toMatchObject({ status: 0 });
  expect((await cli.run(["show", "last"])).out).not.toContain("holds");
  expect(await cli.run(["cp", "last:made", "copy"])).toMatchObject({ status: 0 });
  expect((await cli.run(["events", "last"])).out).toMatch(/a person declares it trusted: I read it\./);
}, 120_000);
