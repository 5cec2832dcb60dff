import { describe, expect, test } from "vitest";
import { statusOfCode } from "../../../client/cli/code-status.ts";
import { limitsOf } from "../../../client/cli/commands/run.ts";
import { EXIT } from "../../../client/cli/exit.ts";
import { chosen, matching } from "../../../client/cli/names.ts";
import { duration } from "../../../client/cli/render/quantities.ts";
import { ERROR_STATUS, type ErrorCode } from "../../../daemon/protocol/errors.ts";

const IDS = [
  "01a1fe33-02e0-7481-ac33-3c4bae3f0fb6",
  "01a1fe33-11aa-7481-ac33-3c4bae3faaaa",
  "01a1fe44-0000-7481-ac33-3c4bae3fbbbb",
];

describe("short names", () => {
  test("a beginning or an end that one id has means that id", () => {
    expect(matching("01a1fe44", IDS)).toEqual([IDS[2]]);
    expect(matching("aaaa", IDS)).toEqual([IDS[1]]);
    expect(matching("0fb6", IDS)).toEqual([IDS[0]]);
  });

  test("fewer than four characters mean none", () => expect(matching("01a", IDS)).toEqual([]));

  test("an ambiguous one lists what it could mean, status 2", () => {
    const choose = () => chosen("01a1fe33", IDS, "run", "caisson ls");
    expect(choose).toThrow(/names 2 runs[\s\S]*0fb6[\s\S]*aaaa/);
    expect(choose).toThrow(expect.objectContaining({ status: EXIT.badInput }));
  });

  test("an unknown one says where to look", () => {
    expect(() => chosen("ffff", IDS, "run", "caisson ls")).toThrow(/no run "ffff".*caisson ls/);
  });
});

describe("--limit", () => {
  test("known keys with their units are taken as written", () => {
    expect(limitsOf(["wall=10m", "tokens=2M", "cost=0.5USD"])).toEqual({
      wall: "10m",
      tokens: "2M",
      cost: "0.5USD",
    });
  });

  test.each([
    ["wall", /KEY=VALUE/],
    ["=3", /KEY=VALUE/],
    ["walls=3", /no limit "walls".*wall, actions/],
    ["wall=soon", /duration such as/],
    ["tokens=0", /above zero/],
    ["cost=5EUR", /5USD/],
    ["bytesOut=1 elephant", /20MiB/],
  ])("%j is refused with what to write", (word, message) => {
    expect(() => limitsOf([word])).toThrow(message);
    expect(() => limitsOf([word])).toThrow(expect.objectContaining({ status: EXIT.badInput }));
  });

  test("the same twice is refused", () => expect(() => limitsOf(["asks=1", "asks=2"])).toThrow(/twice/));
});

describe("exit statuses", () => {
  test("every error code has one of the promised ones", () => {
    for (const code of Object.keys(ERROR_STATUS) as ErrorCode[])
      expect(Object.values(EXIT)).toContain(statusOfCode(code));
  });

  test.each<[ErrorCode, number]>([
    ["unknown_run", 2],
    ["script_invalid", 2],
    ["unauthorised", 2],
    ["run_ended", 1],
    ["engine_unreachable", 4],
    ["stopping", 4],
    ["internal", 1],
  ])("%s is %i", (code, status) => expect(statusOfCode(code)).toBe(status));
});

test.each([
  [12, "12 ms"],
  [300, "0.3 s"],
  [59_000, "59 s"],
  [245_000, "4 m 05 s"],
  [7_800_000, "2 h 10 m"],
  [3 * 86_400_000, "3 d"],
  [-5, "0 ms"],
])("%i ms is %s", (milliseconds, text) => expect(duration(milliseconds)).toBe(text));
