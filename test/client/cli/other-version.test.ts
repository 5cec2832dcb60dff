import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { CommandLine } from "../../e2e/command-line.ts";
import { startDaemon, type TestDaemon, TOKEN } from "../../http/daemon.ts";

/** A daemon of another version, which answers with canned words. */
let daemon: TestDaemon;
let cli: CommandLine;
let env: NodeJS.ProcessEnv;

beforeEach(async () => {
  daemon = await startDaemon();
  cli = await CommandLine.open();
  env = { CAISSON_ADDRESS: `127.0.0.1:${daemon.port}`, CAISSON_TOKEN: TOKEN };
});
afterEach(async () => {
  await cli.close();
  await daemon.stop();
});

describe("a daemon of another version", () => {
  test("with runs under way it stays and takes the task, and that is said", async () => {
    const ended = await cli.run(["run", "Do it.", "--detach", "--json"], env);
    expect(ended.error).toMatch(/version 0\.0\.0-test, this is \d[\s\S]*1 run under way, so it stays/);
    expect(ended.error).toMatch(/Workspace: empty, for this folder lies in no git work tree/);
    expect(JSON.parse(ended.out)).toMatchObject({ run: expect.any(String) });
    expect(ended.status).toBe(0);
  });

  test("down does not stop what is not this home's", async () => {
    expect(await cli.run(["down"], env)).toMatchObject({
      status: 0,
      out: expect.stringContaining("No daemon runs"),
    });
    expect((await daemon.call("GET", "/healthz")).ok).toBe(true);
  });
});
