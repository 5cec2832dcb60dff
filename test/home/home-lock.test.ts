import { once } from "node:events";
import { link, mkdir, mkdtemp, readdir, rm, symlink } from "node:fs/promises";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { holdHome, type Release } from "../../daemon/home-lock.ts";

/** An earlier lock, which removed a dead one's file, let in nobody or two in one round of twenty-five. */
const ROUNDS = 150;
const AT_ONCE = 8;

let home: string;
beforeEach(async () => {
  home = await mkdtemp(join(tmpdir(), "caisson-home-"));
});
afterEach(() => rm(home, { recursive: true, force: true }));

test("of many that start at once over what a dead one left, one has it, and no later one (J2)", async () => {
  for (let round = 0; round < ROUNDS; round += 1) {
    await leaveDead();
    const all = await Promise.all(Array.from({ length: AT_ONCE }, () => holdHome(home)));
    const [release, ...more] = all.filter((one) => one !== undefined);
    expect([release, more]).toEqual([expect.any(Function), []]);
    expect(await holdHome(home)).toBeUndefined();
    await release?.();
  }
  expect((await readdir(join(home, "lock"))).length).toBeLessThanOrEqual(2);
});

test("never do two have it, however they come and go, and however long one hesitates (J2)", async () => {
  let having = 0;
  let turns = 0;
  let steps = 0;
  const hesitant = {
    at: async () => {
      steps += 1;
      // From not at all to longer than another takes to come, to go, and to be followed.
      for (let left = (steps * 7919) % 101; left > 0; left -= 1) await new Promise(setImmediate);
    },
  };
  const have = async (release: Release) => {
    having += 1;
    turns += 1;
    expect(having).toBe(1);
    await readdir(home);
    having -= 1;
    if (turns % 3 === 0) await leaveDead();
    await release();
  };
  const comeAndGo = async () => {
    while (turns < ROUNDS * 4) {
      const release = await holdHome(home, hesitant);
      if (release) await have(release);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, comeAndGo));
});

test("whoever asks and then does not hang up holds nobody up who lets go", async () => {
  const release = await holdHome(home);
  const caller = connect({ path: join(home, "lock", "1"), allowHalfOpen: true });
  await once(caller, "connect");
  await release?.();
  caller.destroy();
  const next = await holdHome(home);
  expect(next).toBeDefined();
  await next?.();
});

/** The highest link leads to a socket that nobody listens on, as when a holder was killed. */
async function leaveDead(): Promise<void> {
  const lock = join(home, "lock");
  await mkdir(lock, { recursive: true });
  const numbers = (await readdir(lock)).map(Number).filter((number) => number > 0);
  const dead = createServer().listen(join(lock, "dead"));
  await once(dead, "listening");
  await link(join(lock, "dead"), join(lock, "s-dead")).catch(() => undefined);
  await new Promise((resolve) => dead.close(resolve));
  await symlink("s-dead", join(lock, String(Math.max(0, ...numbers) + 1))).catch(() => undefined);
}
