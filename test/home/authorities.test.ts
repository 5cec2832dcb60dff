import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { Authorities } from "../../daemon/authorities.ts";
import { JournalUnwritable } from "../../daemon/journal/port.ts";

const RUN = "019aa3f0-5b00-7c3a-9d51-0f6f2a6c1e01";
let home: string;
let folder: string;

beforeEach(async () => {
  home = await mkdtemp(join(tmpdir(), "caisson-authorities-"));
  folder = join(home, "runs", RUN);
  await mkdir(folder, { recursive: true });
});

afterEach(() => rm(home, { recursive: true, force: true }));

test("a run has one authority, also with the next daemon; its key is for this user alone (S3)", async () => {
  const authorities = new Authorities(home);
  const [one, same] = await Promise.all([authorities.of(RUN), authorities.of(RUN)]);
  expect(same).toBe(one);
  expect(await readdir(folder)).toEqual(["authority.json"]);
  expect((await stat(join(folder, "authority.json"))).mode & 0o777).toBe(0o600);
  const again = await new Authorities(home).of(RUN);
  expect(again.certificate).toBe(one.certificate);
  expect(again.certificate).not.toContain("PRIVATE");
  expect(await readFile(join(folder, "authority.json"), "utf8")).toContain("PRIVATE KEY");
});

test("one that is damaged is told, not replaced; one that can't be kept is not used", async () => {
  await writeFile(join(folder, "authority.json"), '{"certificate":"x"}', { mode: 0o600 });
  const authorities = new Authorities(home);
  await expect(authorities.of(RUN)).rejects.toThrow(/damaged/);
  await rm(folder, { recursive: true });
  const refused = await authorities.of(RUN).catch((error: unknown) => error);
  expect(refused).toBeInstanceOf(JournalUnwritable);
  expect(refused).toMatchObject({ why: "gone" });
  await mkdir(folder);
  expect((await authorities.of(RUN)).certificate).toContain("BEGIN CERTIFICATE");
});
