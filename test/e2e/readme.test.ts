import { execFile } from "node:child_process";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { describe, expect, test } from "vitest";
import { packageRoot } from "../../daemon/package-root.ts";
import { clientProgram } from "../built.ts";

const run = promisify(execFile);

async function page(name: string): Promise<string> {
  return readFile(join(packageRoot, name), "utf8");
}

/** The commands of a page's shell blocks, without comments. */
async function commandsOf(name: string): Promise<string[]> {
  const blocks = [...(await page(name)).matchAll(/```sh\n([\s\S]*?)```/g)].map((match) => match[1] ?? "");
  return blocks
    .flatMap((block) => block.split("\n").map((line) => line.replace(/\s+#.*$/, "").trim()))
    .filter(Boolean);
}

async function helpOf(...words: string[]): Promise<string> {
  const [node, cli] = clientProgram();
  const { stdout } = await run(node, [cli, ...words, "--help"], { cwd: packageRoot });
  return stdout;
}

describe("what the README shows", () => {
  test("its npm commands are scripts of the package", async () => {
    const { scripts } = JSON.parse(await page("package.json")) as { scripts: Record<string, string> };
    const named = (await commandsOf("README.md")).flatMap(
      (line) => /^npm (?:run )?([\w:-]+)/.exec(line)?.[1] ?? [],
    );
    expect(named).toEqual(expect.arrayContaining(["demo", "test", "verify", "bench"]));
    for (const name of named) expect(scripts).toHaveProperty([name]);
  });

  test("its caisson commands and their options are the command line's", async () => {
    const lines = (await commandsOf("README.md")).filter((line) => line.startsWith("npx caisson "));
    expect(lines.length).toBeGreaterThan(2);
    for (const line of lines) {
      const [, , command = "", ...rest] = line.split(" ");
      const help = await helpOf(command);
      for (const option of rest.filter((word) => word.startsWith("--"))) expect(help).toContain(option);
    }
  });

  test("its table names no command and no option that is not there", async () => {
    const rows = (await page("README.md"))
      .split("\n")
      .filter((line) => /^\| .* \| `/.test(line) && line.includes("`caisson "));
    const all = await helpOf();
    const commandsOfRow = (row: string) =>
      [...row.matchAll(/`(?:caisson )?([a-z]+)/g)].map(([, name = ""]) => name);
    expect(rows.flatMap(commandsOfRow).length).toBeGreaterThan(15);
    for (const row of rows) {
      const names = commandsOfRow(row);
      for (const name of names) expect(all).toMatch(new RegExp(`^  ${name}\\b`, "m"));
      const options = [...row.matchAll(/--[a-z-]+/g)].map(([option]) => option);
      const helps = options.length === 0 ? [] : await Promise.all(names.map((name) => helpOf(name)));
      for (const option of options) expect(helps.join("\n")).toContain(option);
    }
  });

  test("every variable of the environment that the programs read is named, in it or beside the faults", async () => {
    const sources = (
      await Promise.all(
        ["client", "daemon"].map((room) =>
          readdir(join(packageRoot, room), { recursive: true, withFileTypes: true }),
        ),
      )
    )
      .flat()
      .filter((entry) => entry.isFile() && entry.name.endsWith(".ts"));
    const texts = await Promise.all(
      sources.map((entry) => readFile(join(entry.parentPath, entry.name), "utf8")),
    );
    const read = new Set(texts.flatMap((text) => text.match(/\bCAISSON_[A-Z]+(?:_[A-Z]+)*\b/g) ?? []));
    const pages = `${await page("README.md")}${await page("docs/architecture.md")}`;
    expect(read.size).toBeGreaterThan(8);
    for (const name of read) expect(pages).toMatch(new RegExp(`\\b${name}\\b`));
  });

  test("the files it points to are there", async () => {
    for (const [, path = ""] of (await page("README.md")).matchAll(/\]\(([^)#:]+)\)/g)) {
      await expect(page(path)).resolves.not.toBe("");
    }
  });
});
