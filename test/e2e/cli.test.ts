import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { CommandLine, type Ended } from "./command-line.ts";

const STACK = /\n\s+at .+:\d+:\d+|node:internal/;
const EDITS = `turns:
  - say: I write.
    use:
      - { tool: bash, input: { command: "printf 'new\\\\n' >> notes.txt; printf '\\\\033[31mred\\\\033[0m\\\\n'" } }
      - { tool: write, input: { path: .git/hooks/pre-commit, content: x } }
  - say: Done.
`;
const ASKS = `turns:
  - use: [{ tool: bash, input: { command: git push origin main } }]
  - say: Done.
`;
/** It says so again and again, for what was said before somebody watched is not shown live. */
const SLOW = `turns:
  - say: I wait.
    use: [{ tool: bash, input: { command: "while :; do echo begun; sleep 0.2; done" } }]
  - say: Done.
`;

const EXPORTS = `turns:
  - use:
      - { tool: write, input: { path: package.json, content: "{}" } }
      - { tool: write, input: { path: .github/workflows/ci.yml, content: "on: push" } }
      - { tool: write, input: { path: a.txt, content: two } }
  - say: Done.
`;

let cli: CommandLine;
beforeAll(async () => {
  cli = await CommandLine.open();
  await cli.file("edits.yaml", EDITS);
  await cli.file("asks.yaml", ASKS);
  await cli.file("slow.yaml", SLOW);
  await cli.file("exports.yaml", EXPORTS);
  await cli.file("project/notes.txt", "old\n");
});
afterAll(async () => {
  const { out } = await cli.run(["ls", "--json", "--status", "queued,starting,running,waiting,interrupted"]);
  const { items } = JSON.parse(out || '{"items":[]}') as { items: { run: string }[] };
  for (const { run } of items) await cli.run(["cancel", run]);
  await cli.close();
});

function scripted(name: string, ...more: string[]): string[] {
  return ["run", "Do it.", "--workspace", "project", "--model", `script:${name}.yaml`, ...more];
}

describe("mistakes are said and have their status", () => {
  test.each<[string, string[], number, RegExp]>([
    ["unknown command", ["shw"], 2, /unknown command 'shw'[\s\S]*Did you mean show/],
    ["a command of the future", ["inbox"], 2, /unknown command 'inbox'/],
    ["unknown option", ["ls", "--everything"], 2, /unknown option '--everything'/],
    ["missing argument", ["run"], 2, /missing required argument 'task'/],
    ["empty task", ["run", " "], 2, /task is empty/],
    [
      "missing script",
      ["run", "x", "--model", "script:none.yaml"],
      2,
      /script .*none\.yaml can't be read: there is no such file\. Nothing was done/,
    ],
    ["missing policy", ["run", "x", "--policy", "./none.yaml"], 2, /policy .*none\.yaml can't be read/],
    [
      "missing workspace",
      ["run", "x", "--workspace", "none"],
      2,
      /--workspace none: there is no such folder/,
    ],
    ["bad limit", ["run", "x", "--limit", "wall=soon"], 2, /--limit wall=soon: write a duration/],
    ["no daemon", ["ls"], 4, /There is no token[\s\S]*caisson up/],
    ["no daemon, with a token", ["show", "last"], 4, /No daemon answers at/],
    ["bad address", ["ls"], 2, /CAISSON_ADDRESS is "0\.0\.0\.0:80"/],
    ["missing file to verify", ["verify", "none.ndjson"], 2, /There is no file/],
    ["bad head", ["verify", "last", "--head", "abc"], 2, /64 hexadecimal digits/],
    [
      "two questions to a policy",
      ["policy", "explain", "edits.yaml", "--exec", "ls", "--read", "/x"],
      2,
      /Give one of --exec/,
    ],
  ])("%s", async (name, words, status, message) => {
    const env = {
      ...(name.includes("with a token") && { CAISSON_TOKEN: "x" }),
      ...(name === "bad address" && { CAISSON_ADDRESS: "0.0.0.0:80" }),
    };
    const ended = await cli.run(words, env);
    expect(ended.error).toMatch(message);
    expect(ended).toMatchObject({ status, out: "" });
    expect(ended.error).not.toMatch(STACK);
  });

  test("down without a daemon says so, status 0", async () => {
    expect(await cli.run(["down"])).toMatchObject({
      status: 0,
      out: expect.stringContaining("No daemon runs"),
    });
  });

  test("a daemon that can't start shows the end of its log, status 4", async () => {
    await cli.file("../config/caisson/prices.json", "{");
    const ended = await cli.run(scripted("edits"));
    await rm(join(cli.folder, "config/caisson/prices.json"));
    expect(ended.error).toMatch(
      /daemon did not start[\s\S]*daemon\.log:[\s\S]*prices\.json[\s\S]*caisson doctor/,
    );
    expect(ended.status).toBe(4);
    expect(ended.error).not.toMatch(STACK);
  });
});

describe("a task, start to end", () => {
  let ran: Ended;
  beforeAll(async () => {
    ran = await cli.run(scripted("edits"));
  });

  test("run starts a daemon, tells the run harmlessly, and ends with 0", () => {
    expect(ran).toMatchObject({ status: 0 });
    expect(ran.out).toMatch(/I write\.\n\n▸ bash {2}printf/);
    expect(ran.out).toMatch(/ {2}allow · shell\n {4}\\x1b\[31mred\\x1b\[0m/);
    expect(ran.out).toMatch(/ {2}deny · files\.write\.deny\[0\] — /);
    expect(ran.out).toMatch(/✓ completed · run [0-9a-f]{8} · .*tokens in[\s\S]*caisson apply/);
    expect(ran.out).not.toContain("\x1b");
  });

  test("ls, show and events tell the same in every form", async () => {
    const listed = await cli.run(["ls"]);
    expect(listed.out).toMatch(/^run +status +age +task\n[0-9a-f]{8} +completed/);
    const view = JSON.parse((await cli.run(["show", "last", "--json"])).out) as {
      run: string;
      seq: number;
      status: string;
    };
    expect(view.status).toBe("completed");
    const events = await cli.run(["events", view.run.slice(-6), "--json"]);
    expect(events.out).toBe(
      await readFile(join(cli.folder, "home", "runs", view.run, "journal.ndjson"), "utf8"),
    );
    expect((await cli.run(["watch", "last", "--json"])).out.trimEnd().split("\n").length).toBeGreaterThan(
      view.seq - 5,
    );
  });

  test("diff is the patch to the byte, and apply brings it back once", async () => {
    const { out } = await cli.run(["diff", "last"]);
    expect(out).toMatch(/^diff --git a\/notes\.txt b\/notes\.txt\n[\s\S]*\+new\n$/);
    expect(await cli.run(["apply", "last"])).toMatchObject({
      status: 2,
      error: expect.stringContaining("--workspace DIR"),
    });
    const applied = await cli.run(["apply", "last", "--workspace", "project", "--json"]);
    expect(JSON.parse(applied.out)).toMatchObject({ paths: ["notes.txt"] });
    expect(await readFile(join(cli.work, "project", "notes.txt"), "utf8")).toBe("old\nnew\n");
    const again = await cli.run(["apply", "last", "--workspace", "project"]);
    expect(again).toMatchObject({ status: 1, error: expect.stringContaining("Nothing was changed") });
    expect(again.error).not.toMatch(STACK);
    await cli.file("project/notes.txt", "old\n");
  });

  test("apply holds the policy's export rules, asks who applies, and makes a branch", async () => {
    execFileSync("git", ["init", "-q", join(cli.work, "repository")]);
    await cli.file("repository/a.txt", "one\n");
    const ended = await cli.run([
      "run",
      "Do it.",
      "--workspace",
      "repository",
      "--model",
      "script:exports.yaml",
    ]);
    expect(ended.status).toBe(0);
    const back = ["apply", "last", "--workspace", "repository", "--branch", "agent"];
    const refused = await cli.run(back);
    expect(refused).toMatchObject({
      status: 3,
      error: expect.stringMatching(/package\.json · files\.export\.ask\[0\][\s\S]*--yes-to/),
    });
    const applied = await cli.run([...back, "--yes-to", "files.export.ask[0]"]);
    expect(applied.error).toMatch(
      /Left out[\s\S]*\.github\/workflows\/ci\.yml · denied by files\.export\.deny\[0\]/,
    );
    expect(applied.status).toBe(0);
    const folder = join(cli.work, "repository");
    expect(existsSync(join(folder, "package.json"))).toBe(true);
    expect(existsSync(join(folder, ".github"))).toBe(false);
    expect(execFileSync("git", ["-C", folder, "symbolic-ref", "HEAD"], { encoding: "utf8" })).toContain(
      "refs/heads/agent",
    );
    expect(await cli.run(["apply", "last", "--workspace", "repository", "--branch", "-x"])).toMatchObject({
      status: 2,
    });
  });

  test("replay says that it is what would come out today, and of how many events", async () => {
    const told = await cli.run(["replay", "last"]);
    expect(told).toMatchObject({ status: 0, out: expect.stringMatching(/^✓ identical: \d+ events\n$/) });
    const { identical } = JSON.parse((await cli.run(["replay", "last", "--json"])).out);
    expect(identical).toBe(true);
  });

  test("verify passes, and finds one changed byte", async () => {
    const { run } = JSON.parse((await cli.run(["show", "last", "--json"])).out) as { run: string };
    expect(await cli.run(["verify", run])).toMatchObject({ status: 0 });
    const journal = await readFile(join(cli.folder, "home", "runs", run, "journal.ndjson"), "utf8");
    await cli.file("copy.ndjson", journal.replace("Do it.", "Did it"));
    const found = await cli.run(["verify", "copy.ndjson", "--json"]);
    expect(found.status).toBe(1);
    expect(JSON.parse(found.out)).toMatchObject({
      ok: false,
      damage: [{ reason: expect.stringContaining("hash") }],
    });
  });

  test.each<[string, string[], number, RegExp]>([
    ["unknown run", ["show", "ffffffffffff"], 2, /no run "ffffffffffff"/],
    ["unknown full id", ["show", "00000000-0000-7000-8000-000000000000"], 2, /no such run/i],
    ["unknown approval", ["approve", "ffffffff.a1"], 2, /no approval "ffffffff\.a1"/],
    ["ended run", ["interrupt", "last"], 1, /has ended/],
    ["bad script", ["run", "x", "--model", "script:project/notes.txt"], 2, /script/i],
    ["unknown policy", ["run", "x", "--policy", "nonesuch"], 2, /no policy nonesuch/],
    ["bad policy document", ["run", "x", "--policy", "edits.yaml"], 2, /polic/i],
    ["limit above the policy's", [...scripted("edits"), "--limit", "actions=100000"], 2, /actions/],
  ])("%s", async (_name, words, status, message) => {
    const ended = await cli.run(words);
    expect(ended.error).toMatch(message);
    expect(ended.status).toBe(status);
    expect(ended.error).not.toMatch(STACK);
  });

  test("a wrong token is said to be wrong, and which", async () => {
    const ended = await cli.run(["ls"], { CAISSON_TOKEN: "wrong" });
    expect(ended).toMatchObject({ status: 2, error: expect.stringContaining("CAISSON_TOKEN") });
  });

  test("a reader that leaves early ends it quietly", async () => {
    const watching = cli.start(["events", "last", "--json"]);
    watching.child.stdout?.destroy();
    expect(await watching.ended).toMatchObject({ error: "", status: 0 });
  });
});

describe("people", () => {
  test("an approval that nobody here can give: 3, and the run waits; answered, it goes on", async () => {
    const asked = await cli.run(scripted("asks"));
    expect(asked.status).toBe(3);
    expect(asked.error).toMatch(
      /asks for approval[\s\S]*command: git push origin main[\s\S]*caisson approve [0-9a-f]{8}\.a1/,
    );
    const shown = await cli.run(["show", "last"]);
    expect(shown.out).toMatch(/status +waiting[\s\S]*caisson approve [0-9a-f]{8}\.a1/);
    const watching = cli.start(["watch", "last"]);
    await watching.says(/caisson deny/);
    const id = /approve ([0-9a-f]{8}\.a1)/.exec(asked.error)?.[1] ?? "";
    expect(await cli.run(["deny", id, "--reason", "Not today."])).toMatchObject({ status: 0 });
    const watched = await watching.ended;
    expect(watched.out).toContain("denied by a person — Not today.");
    expect(watched.status).toBe(0);
    const late = await cli.run(["approve", asked.error.match(/approve (\S+)/)?.[1] ?? ""]);
    expect(late.status).toBe(2);
  });

  test("--yes-to answers in advance", async () => {
    const ended = await cli.run(scripted("asks", "--yes-to", "push"));
    expect(ended.out).toContain("allowed by --yes-to");
    expect(ended.status).toBe(0);
  });

  test("Ctrl-C interrupts and says how to go on: 130; the run can be cancelled and removed", async () => {
    const running = cli.start(scripted("slow"));
    await running.says(/ {4}begun/);
    running.child.kill("SIGINT");
    const ended = await running.ended;
    expect(ended.status).toBe(130);
    expect(ended.error).toMatch(/Interrupted\.[\s\S]*caisson resume [0-9a-f]{8}[\s\S]*caisson message/);
    expect((await cli.run(["show", "last"])).out).toMatch(/status +interrupted/);
    expect(await cli.run(["rm", "last"])).toMatchObject({ status: 1 });
    expect(await cli.run(["cancel", "last"])).toMatchObject({ status: 0 });
    expect(await cli.run(["rm", "last"])).toMatchObject({ status: 0 });
  });

  test("Ctrl-C twice leaves a run that can't be interrupted at once", async () => {
    const running = cli.start(scripted("slow"));
    await running.says(/ {4}begun/);
    const { pid } = JSON.parse(await readFile(join(cli.folder, "home", "daemon.json"), "utf8")) as {
      pid: number;
    };
    process.kill(pid, "SIGSTOP");
    try {
      running.child.kill("SIGINT");
      await running.says(/Interrupting/);
      running.child.kill("SIGINT");
      const ended = await running.ended;
      expect(ended).toMatchObject({
        status: 130,
        error: expect.stringContaining("the daemon goes on with the run"),
      });
    } finally {
      process.kill(pid, "SIGCONT");
    }
    await cli.run(["cancel", "last"]);
  });

  test("--detach --json prints the 202's body", async () => {
    const ended = await cli.run(scripted("edits", "--detach", "--json"));
    expect(JSON.parse(ended.out)).toEqual({ run: expect.any(String), seq: 1 });
    const watched = await cli.run(["watch", "last"]);
    expect(watched.status).toBe(0);
  });
});

describe("the daemon itself", () => {
  test("up runs it in the foreground until down, with an exit status of 0; runs and log are kept", async () => {
    expect(await cli.run(["down"])).toMatchObject({ status: 0, out: expect.stringContaining("has stopped") });
    const up = cli.start(["up"]);
    await up.says(/listening/);
    expect(await cli.run(["up"])).toMatchObject({ status: 1, out: expect.stringContaining("runs already") });
    expect((await cli.run(["ls", "--json"])).out).toContain('"status":"completed"');
    expect(await cli.run(["down"])).toMatchObject({ status: 0 });
    expect(await up.ended).toMatchObject({ status: 0 });
    const listening = (await cli.run(["logs"])).out
      .split("\n")
      .filter((line) => / info {2}listening /.test(line));
    expect(listening.length).toBeGreaterThan(1);
    // A daemon in the background has its log as standard output: each line once all the same.
    expect(new Set(listening).size).toBe(listening.length);
  });

  test("doctor and images list speak for people and machines", async () => {
    const { out, status } = await cli.run(["doctor", "--json"]);
    expect(JSON.parse(out)).toMatchObject({
      ok: status === 0,
      findings: expect.arrayContaining([expect.objectContaining({ check: "engine", state: "ok" })]),
    });
    expect((await cli.run(["doctor"])).out).toMatch(/ok {6}engine: Docker/);
    expect(JSON.parse((await cli.run(["images", "list", "--json"])).out)).toMatchObject({
      items: expect.arrayContaining([expect.objectContaining({ name: "base" })]),
    });
    expect(await cli.run(["doctor", "--json"], { DOCKER_HOST: "tcp://127.0.0.1:1" })).toMatchObject({
      status: 4,
    });
  });
});
