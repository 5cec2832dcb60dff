import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { readConfig } from "../../daemon/config.ts";
import { serve } from "../../daemon/serve.ts";

let folder: string;
let env: NodeJS.ProcessEnv;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "caisson-serve-"));
  env = { HOME: folder, CAISSON_HOME: join(folder, "home"), CAISSON_ADDRESS: "127.0.0.1:0" };
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const listeners = () => process.listeners("uncaughtExceptionMonitor");

test("a daemon that has stopped, or could not start, hears no more of what breaks its process", async () => {
  const before = listeners();
  const config = { ...(await readConfig(env)), pool: 0 };
  const daemon = await serve(config, env);
  expect(listeners()).toHaveLength(before.length + 1);
  await daemon.stop();
  expect(listeners()).toEqual(before);
  const folderForPrices = join(folder, "prices.json");
  await mkdir(folderForPrices);
  await expect(
    serve({ ...config, home: join(folder, "other"), pricesFile: folderForPrices }, env),
  ).rejects.toThrow();
  expect(listeners()).toEqual(before);
});

test("what can't be closed when the daemon stops is told, and the rest is closed: the home is free again", async () => {
  const config = { ...(await readConfig(env)), pool: 0 };
  const announcement = join(config.home, "daemon.json");
  const daemon = await serve(config, env);
  await rm(announcement);
  await mkdir(announcement);
  await expect(daemon.stop()).rejects.toThrow(announcement);
  await rm(announcement, { recursive: true });
  const next = await serve(config, env);
  await next.stop();
});
