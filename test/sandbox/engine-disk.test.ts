import { describe, expect, it } from "vitest";
import { parseDisk } from "../../daemon/sandbox/engine-disk.ts";

describe("room on the engine's disk", () => {
  it("is counted in bytes and files", () => {
    expect(parseDisk("4096 10 100 5 50\n")).toEqual({
      freeBytes: 40_960,
      totalBytes: 409_600,
      freeFiles: 5,
      totalFiles: 50,
    });
  });

  it.each([
    "",
    "\n",
    "4096 10 100 5\n",
    "4096 10 100 5 50",
    "4096 10 100 5 -50\n",
    "4096 10 100 5 50\n1 2 3 4 5\n",
    "a b c d e\n",
  ])("S4: believes nothing but that: %j", (text) => expect(parseDisk(text)).toBeUndefined());
});
