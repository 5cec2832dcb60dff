import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { packageRoot } from "../../daemon/package-root.ts";
import { Engine, negotiate, statusOf } from "../../daemon/sandbox/engine.ts";
import { EngineError, EngineUnreachable } from "../../daemon/sandbox/host.ts";

const never = new Promise<never>(() => undefined);

async function failureOf(work: Promise<unknown>): Promise<Error> {
  return work.then(
    () => expect.fail("it should have failed"),
    (error: Error) => error,
  );
}

describe("negotiate", () => {
  test.each([
    ["1.12", "1.41", "1.41"],
    ["1.24", "1.50", "1.44"],
    ["1.44", "1.52", "1.44"],
    ["1.46", "1.60", "1.46"],
    [undefined, "1.43", "1.43"],
  ])("an engine from %s to %s is spoken to in %s", (minimum, maximum, expected) => {
    expect(negotiate(minimum, maximum)).toBe(expected);
  });

  test("an engine older than 20.10 is refused in words", () => {
    expect(() => negotiate("1.12", "1.40")).toThrow(/API 1\.40; 1\.41 \(20\.10\) or newer is needed/);
  });
});

describe("calls (S6)", () => {
  test("one that hangs ends at its deadline, its request aborted, others unharmed", async () => {
    const engine = await Engine.connect();
    let aborted = false;
    const hung = failureOf(
      engine.call("test: hang", 50, (_docker, abort) => {
        abort.addEventListener("abort", () => {
          aborted = true;
        });
        return never;
      }),
    );
    await expect(engine.call("test: ping", 5_000, (docker) => docker.ping())).resolves.toBeDefined();
    expect(await hung).toBeInstanceOf(EngineError);
    expect((await hung).message).toBe("test: hang: no answer within 50 ms");
    expect(aborted).toBe(true);
  });

  test("a stream that arrives after the deadline is destroyed", async () => {
    const engine = await Engine.connect();
    const destroy = vi.fn();
    const late = new Promise<{ destroy: () => void }>((resolve) =>
      setTimeout(() => resolve({ destroy }), 60),
    );
    await failureOf(engine.call("test: late", 20, () => late));
    await late;
    await vi.waitFor(() => expect(destroy).toHaveBeenCalledOnce());
  });

  test("the engine's own refusal keeps its status", async () => {
    const engine = await Engine.connect();
    const error = await failureOf(
      engine.call("test: inspect", 5_000, (docker) => docker.getImage("caisson-none").inspect()),
    );
    expect(error).toBeInstanceOf(EngineError);
    expect(statusOf(error)).toBe(404);
  });

  test("a long deadline does not keep a process alive that has its answer", () => {
    const script = `import { Engine } from ${JSON.stringify(join(packageRoot, "daemon/sandbox/engine.ts"))};
      const engine = await Engine.connect();
      await engine.call("test: ping", 600_000, (docker) => docker.ping());
      void engine.call("test: nothing", 600_000, () => new Promise(() => undefined));
      console.log(engine.info.apiVersion);`;
    const ran = spawnSync(process.execPath, ["--import", "tsx", "--input-type=module", "-e", script], {
      cwd: packageRoot,
      encoding: "utf8",
      timeout: 20_000,
    });
    expect(ran.stdout).toMatch(/^1\.\d+\n$/);
    expect(ran.signal).toBeNull();
  });
});

describe("an engine that can't be reached", () => {
  let folder: string;
  let server: Server;
  const sockets = new Set<Socket>();

  beforeEach(async () => {
    folder = mkdtempSync(join(tmpdir(), "caisson-engine-"));
    server = createServer((socket) => sockets.add(socket));
    await new Promise<void>((resolve) => server.listen(join(folder, "hung.sock"), resolve));
  });

  afterEach(async () => {
    vi.unstubAllEnvs();
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => server.close(resolve));
    rmSync(folder, { recursive: true, force: true });
  });

  test("because nothing listens", async () => {
    vi.stubEnv("DOCKER_HOST", `unix://${join(folder, "none.sock")}`);
    expect(await failureOf(Engine.connect())).toBeInstanceOf(EngineUnreachable);
  });

  test("because it accepts and never answers", async () => {
    vi.stubEnv("DOCKER_HOST", `unix://${join(folder, "hung.sock")}`);
    expect(await failureOf(Engine.connect())).toBeInstanceOf(EngineUnreachable);
  }, 10_000);
});
