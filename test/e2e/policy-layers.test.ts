import { chmod, mkdir, readFile, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { CommandLine } from "./command-line.ts";

const HEAD = (name: string) => `version: 1\nname: ${name}\ndefault: deny\n`;
const PROJECT = `${HEAD("parcel")}files: { write: { allow: ["/workspace/src/**", "/workspace/.caisson/**"] } }\n`;
const ORGANISATION = `${HEAD("acme")}limits: { actions: 20 }\n`;
const SCRIPT = JSON.stringify({
  turns: [
    {
      use: [
        { tool: "write", input: { path: "README.md", content: "no\n" } },
        { tool: "write", input: { path: "src/a.js", content: "two\n" } },
        { tool: "write", input: { path: ".caisson/policy.yaml", content: HEAD("mine") } },
        { tool: "bash", input: { command: "git status --short" } },
      ],
    },
    { say: "Done." },
  ],
});

let cli: CommandLine;
const at = (path: string) => join(cli.folder, path);
async function put(path: string, text: string): Promise<void> {
  await mkdir(dirname(at(path)), { recursive: true });
  await writeFile(at(path), text);
}
const run = (...more: string[]) =>
  cli.run(["run", "Do it.", "--workspace", "project", "--model", "script:agent.yaml", ...more]);

beforeAll(async () => {
  cli = await CommandLine.open();
  await put("work/agent.yaml", SCRIPT);
  await put("work/project/src/a.js", "one\n");
  await put("work/project/.caissonignore", ".caisson\n");
  await put("work/project/.caisson/policy.yaml", PROJECT);
  await put("home/policy.yaml", ORGANISATION);
  await chmod(at("home"), 0o700);
  const ended = await run();
  if (ended.status !== 0) throw new Error(ended.out + ended.error);
});
afterAll(() => cli.close());

describe("P2: a run from a project of an organisation", () => {
  test("is bound to all three, though .caissonignore names the project's", async () => {
    const { out } = await cli.run(["events", "last", "--json"]);
    const events = out
      .trim()
      .split("\n")
      .map((one) => JSON.parse(one));
    const bound = events.find(({ type }) => type === "policy.bound").data;
    expect(bound.layers.map(({ layer }: { layer: string }) => layer)).toEqual([
      "organisation",
      "project",
      "run",
    ]);
    expect(bound.limits.actions).toBe(20);
    const judged = events
      .filter(({ type }) => type === "action.judged")
      .map(({ data }) => [data.verdict, data.layer]);
    expect(judged).toEqual([
      ["deny", "project"],
      ["allow", "project"],
      ["allow", "project"],
      ["allow", "run"],
    ]);
  });

  test("THREATS 32: what the agent made of .caisson comes back only when a person agrees", async () => {
    const refused = await cli.run(["apply", "last", "--workspace", "project"]);
    expect(refused).toMatchObject({ status: 3, error: expect.stringContaining("builtin.caisson") });
    expect(await readFile(at("work/project/.caisson/policy.yaml"), "utf8")).toBe(PROJECT);
    expect(await readFile(at("work/project/src/a.js"), "utf8")).toBe("one\n");
    const agreed = await cli.run(["apply", "last", "--workspace", "project", "--yes-to", "builtin.caisson"]);
    expect(agreed).toMatchObject({ status: 0 });
    expect(await readFile(at("work/project/.caisson/policy.yaml"), "utf8")).toBe(HEAD("mine"));
    await put("work/project/.caisson/policy.yaml", PROJECT);
  });

  test("errors refuse the run before the upload, with the place; so does the organisation's", async () => {
    await put("work/project/.caisson/policy.yaml", `${PROJECT}limts: {}\n`);
    const project = await run();
    expect(project).toMatchObject({ status: 2, error: expect.stringMatching(/project's policy[\s\S]*5:1/) });
    expect(project.error).not.toMatch(/Sent|Packed/);
    const checked = await cli.run(["policy", "check", "project/.caisson/policy.yaml"]);
    expect(checked).toMatchObject({ status: 1, out: expect.stringContaining("policy.yaml:5:1: error") });
    await put("work/project/.caisson/policy.yaml", PROJECT);
    await put("home/policy.yaml", "version: 1\n");
    const organisation = await run();
    expect(organisation).toMatchObject({
      status: 2,
      error: expect.stringMatching(/organisation's policy[\s\S]*1:1/),
    });
    await put("home/policy.yaml", ORGANISATION);
  });
});

describe("caisson policy explain", () => {
  const inProject = (...words: string[]) => {
    const ended = cli.start(["policy", "explain", ...words]);
    return ended.ended;
  };

  test("counts the policies above a file, and without a question tells all that is in force", async () => {
    await put("work/.caisson/policy.yaml", PROJECT);
    await put("work/mine.yaml", `${HEAD("own")}files: { write: { allow: ["/workspace/**"] } }\n`);
    const verdict = await inProject("mine.yaml", "--write", "README.md");
    expect(verdict.out).toMatch(/^deny[\s\S]*files\.write\.allow\[0\] \(run\)/);
    const alone = await inProject("mine.yaml", "--write", "README.md", "--alone");
    expect(alone.out).toMatch(/^allow/);
    const { out } = await inProject("mine.yaml");
    for (const form of [
      /^organisation +acme/m,
      /^project +parcel/m,
      /^run +own/m,
      /^files\.write · project, run$/m,
      /allow \/workspace\/src\/\*\* · files\.write\.allow\[0\] \(project\)/,
      /limits\.actions 20 \(organisation\)/,
      /sandbox\.memory 2 GiB \(run\)/,
    ])
      expect(out).toMatch(form);
    const json = JSON.parse((await inProject("mine.yaml", "--json")).out);
    expect(json.layers.map(({ layer }: { layer: string }) => layer)).toEqual([
      "organisation",
      "project",
      "run",
    ]);
  });
});

describe("caisson policy backtest and learn", () => {
  test("what is learnt from a run passes its check, and changes what it says it changes", async () => {
    const learnt = await cli.run(["policy", "learn", "last", "--name", "mine", "--output", "learnt.yaml"]);
    expect(learnt).toMatchObject({ status: 0, out: "", error: expect.stringContaining("Wrote learnt.yaml") });
    const text = await readFile(at("work/learnt.yaml"), "utf8");
    expect((await cli.run(["policy", "learn", "last", "--name", "mine"])).out).toBe(text);
    expect(await cli.run(["policy", "test", "learnt.yaml"])).toMatchObject({ status: 0 });
    expect(await cli.run(["policy", "learn", "last", "--output", "learnt.yaml"])).toMatchObject({
      status: 2,
      error: expect.stringContaining("stays as it is"),
    });
    const same = await cli.run(["policy", "backtest", "learnt.yaml", "last"]);
    expect(same).toMatchObject({ status: 0, out: expect.stringMatching(/✓ .*: 4 verdicts, none changes/) });
  });

  test("tells each verdict that changes: exit status 1", async () => {
    await put("work/none.yaml", `${HEAD("none")}exec: { shell: none }\n`);
    const ended = await cli.run(["policy", "backtest", "none.yaml", "last", "last"]);
    expect(ended.status).toBe(1);
    expect(ended.out).toMatch(
      /3 of 4 verdicts change\n[\s\S]*git status --short[\s\S]*allow · .* → deny · exec\.shell/,
    );
    const json = JSON.parse((await cli.run(["policy", "backtest", "none.yaml", "last", "--json"])).out);
    expect(json.items).toMatchObject([
      {
        changed: 3,
        judged: 4,
        changes: [{ action: "a2" }, { action: "a3" }, { after: { rule: "exec.shell" } }],
      },
    ]);
    expect(await cli.run(["policy", "backtest", "none.yaml", "nosuch"])).toMatchObject({ status: 2 });
  });
});
