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
