/** The way back on a real engine: diff, apply, --branch, --patch, cp. */
import { execFileSync, spawn } from "node:child_process";
import {
  cpSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { emptyFoldersOf, treeOf } from "../boundary/support.ts";
import { clientProgram } from "../built.ts";
import { CommandLine, type Ended } from "./command-line.ts";

const AGENT = [
  "mv src/long.txt src/renamed.txt && sed -i s/line.7$/changed/ src/renamed.txt",
  "rm -r old emptied/a; mkdir -p made/empty; chmod +x tool.sh; : > nothing",
  "ln -s ../tool.sh src/link; rm turns; mkdir turns; echo x > turns/x; printf 'a\\0b' > raw.bin",
  "printf 'no end' > $'odd \"\\303\\251\\n'; printf 'x\\r\\ny\\r\\n' > crlf; printf x > \"$(printf 'raw\\377')\"",
  "mkdir -p dist/deep node_modules; printf built > dist/deep/out.bin; ln -s /etc/passwd dist/out; echo x > node_modules/m",
  "echo two > a.txt; echo '{}' > package.json; mkdir -p .github/workflows; echo x > .github/workflows/ci.yml",
];
const SCRIPT = JSON.stringify({
  turns: [{ use: AGENT.map((command) => ({ tool: "bash", input: { command } })) }, { say: "Done." }],
});
const YES = ["--yes-to", "files.export.ask[0]"];

let cli: CommandLine;
let run: string;
const at = (path: string) => join(cli.work, path);
const git = (folder: string, ...words: string[]) =>
  execFileSync("git", ["-c", "user.name=a", "-c", "user.email=a@example.org", ...words], {
    cwd: at(folder),
    encoding: "utf8",
  }).trim();

function project(name: string): void {
  for (const folder of ["src", "old/empty", "emptied"])
    mkdirSync(at(`${name}/${folder}`), { recursive: true });
  const files = {
    ".gitignore": "dist/\nnode_modules/\n",
    "src/long.txt": Array.from({ length: 40 }, (_, index) => `line ${index}\n`).join(""),
    "old/file": "old\n",
    "emptied/a": "x\n",
    "tool.sh": "#!/bin/sh\n",
    crlf: "x\r\n",
    turns: "a file\n",
    "a.txt": "one\n",
    mine: "mine\n",
  };
  for (const [path, text] of Object.entries(files)) writeFileSync(at(`${name}/${path}`), text);
}

beforeAll(async () => {
  cli = await CommandLine.open();
  await cli.file("agent.yaml", SCRIPT);
  project("project");
  const ended = await cli.run(["run", "Do it.", "--workspace", "project", "--model", "script:agent.yaml"]);
  if (ended.status !== 0) throw new Error(ended.out + ended.error);
  run = (JSON.parse((await cli.run(["show", "last", "--json"])).out) as { run: string }).run;
});
afterAll(() => cli.close());

const apply = (folder: string, ...more: string[]): Promise<Ended> =>
  cli.run(["apply", "last", "--workspace", folder, ...YES, ...more]);

describe("apply", () => {
  test("gives what the run left, to the byte, the mode, the link and the empty folder; git gives the same files", async () => {
    cpSync(at("project"), at("applied"), { recursive: true });
    cpSync(at("project"), at("by-git"), { recursive: true });
    const applied = await apply("applied");
    expect(applied).toMatchObject({ status: 0 });
    expect(applied.error).toMatch(/\.github\/workflows\/ci\.yml · denied/);
    const { out: patch } = await cli.run(["diff", "last"]);
    expect(patch).toContain("rename from src/long.txt\nrename to src/renamed.txt\n");
    execFileSync("git", ["apply", "--check", "-"], { cwd: at("by-git"), input: patch });
    execFileSync("git", ["apply", "-"], { cwd: at("by-git"), input: patch });
    expect(treeOf(at("applied"))).toEqual(treeOf(at("by-git")));
    expect(Object.keys(treeOf(at("applied"))).sort()).toEqual(
      [
        ".gitignore",
        "a.txt",
        "crlf",
        "mine",
        "nothing",
        'odd "é\n',
        "package.json",
        "raw.bin",
        "raw\udcff",
        "src/link",
        "src/renamed.txt",
        "tool.sh",
        "turns/x",
      ].sort(),
    );
    expect(emptyFoldersOf(at("applied")).sort()).toEqual(["emptied", "made/empty"]);
    expect(existsSync(at("applied/old"))).toBe(false);
    expect(lstatSync(at("applied/tool.sh")).mode & 0o111).not.toBe(0);
    expect(readFileSync(at("applied/crlf"), "latin1")).toBe("x\r\ny\r\n");
  });

  test("names each file that changed underneath, status 1, nothing touched", async () => {
    cpSync(at("project"), at("edited"), { recursive: true });
    writeFileSync(at("edited/a.txt"), "mine\n");
    writeFileSync(at("edited/nothing"), "mine\n");
    const before = treeOf(at("edited"));
    const refused = await apply("edited");
    expect(refused).toMatchObject({ status: 1 });
    expect(refused.error).toMatch(
      /Nothing was changed:\n {2}"a\.txt": it changed[\s\S]*"nothing": it is there already/,
    );
    expect([
      treeOf(at("edited")),
      readdirSync(at("edited")).filter((name) => name.startsWith(".caisson")),
    ]).toEqual([before, []]);
  });

  test("--branch: on a dirty tree, from a detached HEAD, before the first commit; a refusal leaves no branch", async () => {
    cpSync(at("project"), at("repository"), { recursive: true });
    git("repository", "init", "-q", "-b", "main");
    writeFileSync(at("repository/mine"), "dirty\n");
    expect(await apply("repository", "--branch", "unborn")).toMatchObject({ status: 0 });
    expect(git("repository", "symbolic-ref", "HEAD")).toBe("refs/heads/unborn");
    cpSync(at("project"), at("detached"), { recursive: true });
    git("detached", "init", "-q", "-b", "main");
    git("detached", "add", "-A");
    git("detached", "commit", "-q", "-m", "one");
    git("detached", "checkout", "-q", "--detach");
    const head = git("detached", "rev-parse", "HEAD");
    const taken = await apply("detached", "--branch", "main");
    expect(taken).toMatchObject({ status: 2, error: expect.stringContaining("there already") });
    writeFileSync(at("detached/a.txt"), "mine\n");
    expect(await apply("detached", "--branch", "agent")).toMatchObject({ status: 1 });
    expect(git("detached", "branch", "--list", "agent")).toBe("");
    expect(git("detached", "rev-parse", "HEAD")).toBe(head);
    git("detached", "checkout", "-q", "a.txt");
    writeFileSync(at("detached/mine"), "dirty\n");
    expect(await apply("detached", "--branch", "agent")).toMatchObject({ status: 0 });
    expect(git("detached", "symbolic-ref", "HEAD")).toBe("refs/heads/agent");
    expect(readFileSync(at("detached/mine"), "utf8")).toBe("dirty\n");
    expect(await apply("project", "--branch", "agent")).toMatchObject({
      status: 2,
      error: expect.stringContaining("needs a git work tree"),
    });
  });

  test("--patch without a terminal: status 2 and why", async () => {
    const refused = await apply("project", "--patch");
    expect(refused).toMatchObject({ status: 2, error: expect.stringContaining("it needs a terminal") });
  });

  test.skipIf(!existsSync("/usr/bin/script"))("--patch asks on a terminal", async () => {
    cpSync(at("project"), at("picked"), { recursive: true });
    const command = [...clientProgram(), "apply", "last", "--workspace", "picked", "--patch"].join(" ");
    const child = spawn("/usr/bin/script", ["-qec", command, "/dev/null"], {
      cwd: cli.work,
      env: { ...cli.env, TERM: "xterm", NO_COLOR: "1" },
      timeout: 60_000,
    });
    let said = "";
    let answered = 0;
    child.stdout.on("data", (chunk: Buffer) => {
      said += chunk.toString();
      const asked = said.match(/\[y,n,q,a,d,\?\]\? /g)?.length ?? 0;
      const answers = ["?", "y", "n", "q"];
      for (; answered < asked; answered += 1) child.stdin.write(`${answers[answered] ?? "q"}\n`);
    });
    const status = await new Promise((resolve) => child.once("close", resolve));
    expect([status, said]).toEqual([0, expect.anything()]);
    expect(said).toMatch(/a\.txt[\s\S]*\(1\/1\) Apply this hunk[\s\S]*print help[\s\S]*1 path changed/);
    expect(treeOf(at("picked"))).toEqual({
      ...treeOf(at("project")),
      "a.txt": `file - ${Buffer.from("two\n").toString("base64")}`,
    });
  });
});

describe("cp", () => {
  const cp = (path: string, dest: string, ...more: string[]) =>
    cli.run(["cp", `last:${path}`, dest, ...more]);

  test("a file that the run made, after its end, also one that git ignores", async () => {
    expect(await cp("dist/deep/out.bin", ".")).toMatchObject({ status: 0 });
    expect(readFileSync(at("out.bin"), "utf8")).toBe("built");
    writeFileSync(at("target"), "precious");
    symlinkSync("target", at("through"));
    expect(await cp("/workspace/raw.bin", "through")).toMatchObject({ status: 0 });
    expect(readFileSync(at("target"), "utf8")).toBe("precious");
    expect(readFileSync(at("through"), "latin1")).toBe("a\0b");
  });

  test("a folder, without the links that lead out, and not over one that is there", async () => {
    const copied = await cp("dist", "copied", "--json");
    expect(JSON.parse(copied.out)).toMatchObject({ run, path: "dist", of: "changed", leftOut: 0 });
    expect(treeOf(at("copied"))).toEqual({
      "deep/out.bin": `file - ${Buffer.from("built").toString("base64")}`,
    });
    expect(copied.error).toMatch(/1 symlink[\s\S]*dist\/out → \/etc\/passwd/);
    expect(await cp("dist", "copied")).toMatchObject({ status: 0 });
    expect(existsSync(at("copied/dist/deep/out.bin"))).toBe(true);
    expect(await cp("dist", "copied")).toMatchObject({
      status: 2,
      error: expect.stringContaining("there already"),
    });
  });

  test.each<[string, string, string, number, RegExp]>([
    ["a file that the run did not change", "mine", ".", 2, /as it was in your own workspace/],
    ["what the policy asks about", "package.json", ".", 3, /files\.export\.ask\[0\][\s\S]*--yes-to/],
    ["a file that the run removed", "old/file", ".", 2, /the run removed it/],
  ])("%s: a clear word and nothing written", async (_name, path, dest, status, message) => {
    const before = readdirSync(cli.work).sort();
    const refused = await cp(path, dest);
    expect(refused).toMatchObject({ status, error: expect.stringMatching(message) });
    expect(readdirSync(cli.work).sort()).toEqual(before);
  });

  test("while the run goes on: any file of the workspace", async () => {
    const waits = {
      turns: [{ use: [{ tool: "bash", input: { command: "echo begun > a.txt; sleep 60" } }] }],
    };
    await cli.file("waits.yaml", JSON.stringify(waits));
    const started = cli.start(["run", "Wait.", "--workspace", "project", "--model", "script:waits.yaml"]);
    await started.says(/allow/);
    const words = { status: 0 };
    try {
      expect(await cp("mine", "mine-of-the-run")).toMatchObject(words);
      expect(readFileSync(at("mine-of-the-run"), "utf8")).toBe("mine\n");
      expect(await cp("missing", ".")).toMatchObject({
        status: 2,
        error: expect.stringContaining("There is no missing"),
      });
      expect(await cp("", "whole", ...YES)).toMatchObject(words);
      expect(Object.keys(treeOf(at("whole")))).toContain("src/long.txt");
    } finally {
      await cli.run(["cancel", "last"]);
      await started.ended;
    }
  });
});
