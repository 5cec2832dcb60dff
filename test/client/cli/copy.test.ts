import { readdirSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { copy } from "../../../client/cli/commands/copy.ts";
import { readSettings } from "../../../client/cli/settings.ts";
import { openTerminal } from "../../../client/cli/terminal.ts";
import { temporaryFolder } from "../../boundary/support.ts";

describe("cp: what can't be meant is said before anybody is asked", () => {
  test.each<[string, string, string, RegExp]>([
    ["no run", "dist/out.bin", ".", /no RUN:PATH/],
    ["out of the workspace", "last:../etc/passwd", ".", /"\.\."/],
    ["not the workspace", "last:/etc/passwd", ".", /only the workspace/],
    ["a folder that isn't there", "last:a", "no/where/", /no such folder/],
    ["a file in a folder that isn't there", "last:a", "no/where", /not there/],
  ])("%s", async (_name, from, dest, message) => {
    using folder = temporaryFolder();
    const { stdin, stdout, stderr } = process;
    const settings = await readSettings({ HOME: folder.path, CAISSON_ADDRESS: "127.0.0.1:1" }, folder.path);
    const terminal = openTerminal({ stdin, stdout, stderr, env: {}, json: true, colours: "never" });
    const copied = copy({ settings, terminal, json: true }, from, dest, { yesTo: [] });
    await expect(copied).rejects.toMatchObject({ status: 2, message: expect.stringMatching(message) });
    expect(readdirSync(folder.path)).toEqual([]);
  });
});
