import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import * as yaml from "yaml";
import { ConfigError, ConfigFile, settingsIn } from "../../../daemon/protocol/config.ts";
import { readConfigText } from "../../../daemon/protocol/config-file.ts";

const PATH = "/home/ada/.config/caisson/config.yaml";
const read = (text: string) => readConfigText(PATH, text, yaml);
const settings = (text: string, env: NodeJS.ProcessEnv = {}) => settingsIn(env, read(text), "/home/ada");

describe("config.yaml", () => {
  test("the README's example holds, and names every key", () => {
    const readme = readFileSync(new URL("../../../README.md", import.meta.url), "utf8");
    const example = /### Your defaults[\s\S]*?```yaml\n([\s\S]*?)```/.exec(readme)?.[1] ?? "";
    const { value } = read(example);
    expect(Object.keys(value)).toEqual(expect.arrayContaining(Object.keys(ConfigFile.shape)));
    for (const [key, { source }] of Object.entries(settings(example)))
      if (key !== "home") expect(source.from, key).toBe("file");
  });

  test("sets what it says, each with its line; the rest is built in", () => {
    const set = settings("# mine\nmodel: claude-opus-5-5\nlimits: { wall: 10m }\ndaemon:\n  pool: 0\n");
    expect(set.model).toEqual({ value: "claude-opus-5-5", source: { from: "file", line: 2 } });
    expect(set.limits).toEqual({ value: { wall: "10m" }, source: { from: "file", line: 3 } });
    expect(set["daemon.pool"]).toEqual({ value: 0, source: { from: "file", line: 5 } });
    expect(set.policy).toEqual({ value: "coding", source: { from: "built-in" } });
    expect(set.home.value).toBe("/home/ada/.local/state/caisson");
  });

  test.each(["", "# nothing\n", "---\n"])("%j sets nothing", (text) => {
    expect(settings(text).address.source).toEqual({ from: "built-in" });
  });

  test("the environment goes over the file, an empty variable is none", () => {
    const text = "address: 127.0.0.1:8000\nmodel: a\ncolours: auto\ndaemon: { pool: 3, log: debug }\n";
    const env = { CAISSON_ADDRESS: "[::1]:9000", CAISSON_MODEL: "", CAISSON_POOL: "1", NO_COLOR: "1" };
    const set = settings(text, env);
    expect(set.address).toEqual({
      value: "[::1]:9000",
      source: { from: "environment", name: "CAISSON_ADDRESS" },
    });
    expect(set.model.value).toBe("a");
    expect(set["daemon.pool"].value).toBe(1);
    expect(set["daemon.log"].value).toBe("debug");
    expect(set.colours).toEqual({ value: "never", source: { from: "environment", name: "NO_COLOR" } });
    expect(settings(text, { TERM: "dumb" }).colours.value).toBe("never");
  });

  test.each<[string, string]>([
    ["modle: x", "1:1: there is no key `modle`; did you mean `model`?"],
    ["policy: coding\npool: 3", "2:1: there is no key `pool`; it stands below `daemon`"],
    ["daemon:\n  model: x", "2:3: there is no key `daemon.model`; it stands at the left margin"],
    ["daemon:\n  quite_else: 1", "2:3: there is no key `daemon.quite_else`; possible: runsAtOnce, sandboxes"],
    ["daemon: { pool: many }", "1:17: `daemon.pool`: write a whole number from 0 to 50"],
    ["daemon: { pool: 51 }", "1:17: `daemon.pool`: write a whole number from 0 to 50"],
    ["daemon: 3", "1:9: `daemon`: write keys and values below it"],
    ["address: 0.0.0.0:80", "1:10: `address`: write a loopback address and a port"],
    ["address: localhost:70000", "1:10: `address`: write a loopback address"],
    ["colours: pink", "1:10: `colours`: write one of auto, never"],
    ["limits:\n  wall: soon", "2:9: `limits.wall`: write a duration such as"],
    ["limits:\n  wal: 3m", "2:3: there is no key `limits.wal`; did you mean `wall`?"],
    ["model: ''", "1:8: `model`: write a model's id"],
    ["model: [a]", "1:8: `model`: write a model's id"],
    ["- model", "1:1: write keys and values"],
    ["model: a\nmodel: b", "2:1: Map keys must be unique"],
    ["model: 'a", "1:10: Missing closing 'quote"],
    ["\tmodel: a", "1:1: "],
  ])("%j is refused with its place and what to write", (text, message) => {
    expect(() => read(text)).toThrow(ConfigError);
    expect(() => read(text)).toThrow(`${PATH}:${message}`);
  });

  test("all mistakes are told at once, but not without end", () => {
    expect(() => read("a: 1\nlimits: { wall: soon }\nb: 2\n")).toThrow(
      /config\.yaml:1:1: .*\n.*config\.yaml:2:17: .*\n.*config\.yaml:3:1: /,
    );
    const many = Array.from({ length: 500 }, (_, index) => `key${index}: 1\n`).join("");
    const message = (() => {
      try {
        read(many);
        return "";
      } catch (error) {
        return (error as Error).message;
      }
    })();
    expect(message.split("\n").length).toBeLessThan(30);
    expect(() => read("x".repeat(200_000))).toThrow(/longer than/);
  });

  test.each<[NodeJS.ProcessEnv, RegExp]>([
    [{ CAISSON_ADDRESS: "0.0.0.0:80" }, /CAISSON_ADDRESS is "0\.0\.0\.0:80"; write a loopback address/],
    [{ CAISSON_POOL: "x" }, /CAISSON_POOL is "x"; write a whole number/],
    [{ CAISSON_LOG: "loud" }, /CAISSON_LOG is "loud"; write one of debug/],
  ])("%j is refused by the variable's name", (env, message) => {
    expect(() => settings("", env)).toThrow(message);
  });

  test("without a home folder there must be CAISSON_HOME", () => {
    expect(() => settingsIn({}, undefined, "")).toThrow(/no home folder.*Set CAISSON_HOME/);
    expect(settingsIn({ CAISSON_HOME: "/x" }, undefined, "").home.value).toBe("/x");
  });
});
