import { chmodSync, mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createSecretValues } from "../../daemon/secrets.ts";

let home: string;
let folder: string;

beforeAll(async () => {
  home = await mkdtemp(join(tmpdir(), "caisson-secrets-"));
  folder = join(home, "secrets");
  mkdirSync(folder);
});
afterAll(() => rm(home, { recursive: true, force: true }));

function kept(name: string, text: string, mode = 0o600): string {
  writeFileSync(join(folder, name), text);
  chmodSync(join(folder, name), mode);
  return `file:${name}`;
}

const read = (from: string, env: NodeJS.ProcessEnv = {}) => createSecretValues(env, home).value(from);

describe("S3: where the values of secrets come from", () => {
  it("a variable of the daemon, a file of its home, each without the space around it", async () => {
    expect(await read("env:VCS_TOKEN", { VCS_TOKEN: " vcs-token-1\n" })).toBe("vcs-token-1");
    expect(await read(kept("vcs", "vcs-token-2\n"))).toBe("vcs-token-2");
    expect(await read(kept("read-only", "vcs-token-3", 0o400))).toBe("vcs-token-3");
  });

  it.each([
    ["env:VCS_TOKEN", /variable VCS_TOKEN is not set/],
    ["env:EMPTY", /variable EMPTY is not set/],
    ["env:SHORT", /fewer than 8 characters/],
    ["env:ANTHROPIC_API_KEY", /the daemon's own credential/],
    ["env:CAISSON_TOKEN", /the daemon's own credential/],
    ["file:none", /there is no file/],
    ["file:../token", /without folders/],
    ["file:a/b", /without folders/],
    ["file:..", /without folders/],
    ["file:/etc/passwd", /without folders/],
    ["exec:pass show vcs", /`env:NAME` or `file:NAME`/],
  ])("%s is refused", async (from, message) => {
    const env = { EMPTY: "", SHORT: "1234567", ANTHROPIC_API_KEY: "0123456789", CAISSON_TOKEN: "0123456789" };
    await expect(read(from, env)).rejects.toThrow(message);
  });

  it.each([0o640, 0o604, 0o644, 0o660])("a file of mode %o is refused: others can read it", async (mode) => {
    await expect(read(kept("open", "vcs-token-4", mode))).rejects.toThrow(/chmod 600/);
  });

  it("a link, a folder and what is far too long are refused", async () => {
    writeFileSync(join(home, "elsewhere"), "vcs-token-5", { mode: 0o600 });
    symlinkSync(join(home, "elsewhere"), join(folder, "link"));
    mkdirSync(join(folder, "folder"));
    await expect(read("file:link")).rejects.toThrow(/is a link/);
    await expect(read("file:folder")).rejects.toThrow(/is not a file/);
    await expect(read(kept("long", "x".repeat(5_000)))).rejects.toThrow(/over 4096 bytes/);
  });
});
