import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { CommandLine } from "./command-line.ts";
import { DaemonUnderTest } from "./daemon-under-test.ts";

let daemon: DaemonUnderTest;
let cli: CommandLine;
let env: NodeJS.ProcessEnv;

beforeAll(async () => {
  daemon = await DaemonUnderTest.start();
  cli = await CommandLine.open();
  env = { CAISSON_ADDRESS: daemon.address, CAISSON_TOKEN: await daemon.token() };
});
afterAll(async () => {
  await cli?.close();
  await daemon?.cleanUp();
});

const HEAD = "version: 1\nname: mine\ndefault: deny\nfiles: { read: { allow: [/workspace/**] } }\n";

describe("caisson policy init", () => {
  test("writes a policy that passes its check and its tests, without a daemon", async () => {
    const ended = await cli.run(["policy", "init", "starter.yaml"]);
    expect(ended).toMatchObject({ status: 0, error: "" });
    expect(ended.out).toMatch(/caisson policy test starter\.yaml[\s\S]*--policy starter\.yaml/);
    const checked = JSON.parse((await cli.run(["policy", "check", "starter.yaml", "--json"], env)).out);
    expect(checked).toMatchObject({ ok: true, errors: [], warnings: [], tests: { failed: [] } });
    const tested = await cli.run(["policy", "test", "starter.yaml"], env);
    expect(tested).toMatchObject({
      status: 0,
      out: expect.stringMatching(/✓ [1-9]\d* tests passed, 0 failed/),
    });
  });

  test("is policy.yaml when no file is named", async () => {
    const { out, status } = await cli.run(["policy", "init", "--json"]);
    expect(status).toBe(0);
    expect(JSON.parse(out)).toEqual({ file: expect.stringMatching(/\/policy\.yaml$/) });
    expect(await readFile(join(cli.work, "policy.yaml"), "utf8")).toMatch(/^version: 1$/m);
  });

  test("overwrites nothing: status 2, and the file stays as it is", async () => {
    await cli.file("kept.yaml", "mine\n");
    const ended = await cli.run(["policy", "init", "kept.yaml"]);
    expect(ended).toMatchObject({ status: 2, out: "", error: expect.stringContaining("stays as it is") });
    expect(await readFile(join(cli.work, "kept.yaml"), "utf8")).toBe("mine\n");
  });

  test("says when there is no folder for it", async () => {
    const ended = await cli.run(["policy", "init", "none/policy.yaml"]);
    expect(ended).toMatchObject({ status: 2, error: expect.stringContaining("there is no such folder") });
  });
});

describe("caisson policy check", () => {
  test("an empty document has the check's own answer: status 1, for test 2", async () => {
    await cli.file("empty.yaml", "");
    const checked = await cli.run(["policy", "check", "empty.yaml"], env);
    expect(checked).toMatchObject({
      status: 1,
      out: expect.stringMatching(/^empty\.yaml:1:1: error: the document is empty/),
    });
    const { status, out } = await cli.run(["policy", "check", "empty.yaml", "--json"], env);
    expect(status).toBe(1);
    expect(JSON.parse(out)).toMatchObject({ ok: false, errors: [{ line: 1, column: 1 }] });
    const tested = await cli.run(["policy", "test", "empty.yaml"], env);
    expect(tested).toMatchObject({ status: 2, out: expect.stringContaining("no test was run") });
    const ran = await cli.run(["run", "x", "--policy", "empty.yaml"], env);
    expect(ran).toMatchObject({ status: 2, error: expect.stringMatching(/is empty\. Nothing was done/) });
  });

  test("what is neither a file nor a name is said to be neither", async () => {
    const ended = await cli.run(["run", "x", "--policy", "my policy"], env);
    expect(ended).toMatchObject({ status: 2, error: expect.stringContaining('no policy "my policy"') });
  });

  test("each failed test is told once, with its place", async () => {
    await cli.file("once.yaml", `${HEAD}tests: [{ read: /workspace/a, expect: deny }]\n`);
    const { status, out } = await cli.run(["policy", "check", "once.yaml"], env);
    expect(status).toBe(1);
    expect(out.match(/got allow/g)).toHaveLength(1);
    expect(out).toMatch(
      /^once\.yaml:5:9: error: .*got allow[\s\S]*\n✗ The policy is refused; 0 tests passed, 1 failed\n$/,
    );
  });

  test("a project's file is checked as one from whatever folder it is named", async () => {
    const secrets =
      'secrets: { vcs: { from: "env:X", header: "authorization: Bearer {}", hosts: [a.example] } }';
    await cli.file(".caisson/policy.yaml", `${HEAD}${secrets}\n`);
    const folder = join(cli.work, ".caisson");
    for (const word of ["check", "test"]) {
      const above = await cli.run(["policy", word, ".caisson/policy.yaml"], env);
      const inside = await cli.start(["policy", word, "policy.yaml"], env, undefined, folder).ended;
      expect(above.out).toContain("a project's policy names no secrets");
      expect(inside.out).toContain("a project's policy names no secrets");
    }
  });
});

describe("caisson policy test", () => {
  test("lists each test that fails with its place: status 1", async () => {
    await cli.file(
      "failing.yaml",
      `${HEAD}tests:
  - { read: /workspace/a, expect: allow }
  - { read: /workspace/a, expect: deny }
  - { read: /etc/passwd, expect: allow, rule: "files.read.allow[0]" }
`,
    );
    const ended = await cli.run(["policy", "test", "failing.yaml"], env);
    expect(ended.status).toBe(1);
    expect(ended.out).toBe(
      `failing.yaml:7:5: tests[1]: expected deny, got allow by files.read.allow[0]
failing.yaml:8:5: tests[2]: expected allow by files.read.allow[0], got deny by default
✗ 1 test passed, 2 failed
`,
    );
    const { out, status } = await cli.run(["policy", "test", "failing.yaml", "--json"], env);
    expect(status).toBe(1);
    expect(JSON.parse(out)).toMatchObject({
      ok: false,
      tests: { passed: 1, failed: [{ index: 1 }, { index: 2 }] },
    });
  });

  test("a file with another error is not tested: status 2", async () => {
    await cli.file("broken.yaml", `${HEAD}test: []\n`);
    const ended = await cli.run(["policy", "test", "broken.yaml"], env);
    expect(ended.status).toBe(2);
    expect(ended.out).toMatch(/^broken\.yaml:5:1: error: [\s\S]*✗ The policy has errors; no test was run\n$/);
  });

  test("names the rules that no test touches: status 0", async () => {
    await cli.file(
      "half.yaml",
      `${HEAD.replace("]", ", /tmp/**]")}tests: [{ read: /tmp/a, expect: allow }]\n`,
    );
    const ended = await cli.run(["policy", "test", "half.yaml"], env);
    expect(ended).toMatchObject({
      status: 0,
      out: "✓ 1 test passed, 0 failed\n  No test touches 1 rule: files.read.allow[0]\n",
    });
  });

  test("a file without tests passes, and says how to write one", async () => {
    await cli.file("untested.yaml", HEAD);
    const ended = await cli.run(["policy", "test", "untested.yaml"], env);
    expect(ended).toMatchObject({ status: 0, out: expect.stringMatching(/0 tests passed[\s\S]*`tests:`/) });
  });

  test("no file and no daemon have their statuses", async () => {
    expect(await cli.run(["policy", "test", "none.yaml"], env)).toMatchObject({ status: 2 });
    const noEngine = { DOCKER_HOST: "unix:///nonexistent/docker.sock" };
    expect(await cli.run(["policy", "test", "untested.yaml"], noEngine)).toMatchObject({ status: 4 });
  });
});
