import { describe, expect, it } from "vitest";
import { openProgress } from "../../../client/cli/progress.ts";

function terminal(isTTY: boolean, columns = 40) {
  const written: string[] = [];
  const stream = {
    isTTY,
    columns,
    write: (text: unknown) => {
      written.push(String(text));
      return true;
    },
  };
  return { stream: stream as unknown as Parameters<typeof openProgress>[0], written };
}

describe("progress", () => {
  it("is one row, written over, cut to the terminal, harmless, and gone in the end", () => {
    const { stream, written } = terminal(true);
    let now = 0;
    const progress = openProgress(stream, {}, () => now);
    progress.show("one");
    progress.show("too soon");
    now = 200;
    progress.show(`two \x1b[31m ${"x".repeat(100)}`);
    progress.clear();
    progress.clear();
    expect(written).toEqual(["\r\x1b[Kone", `\r\x1b[Ktwo \\x1b[31m ${"x".repeat(25)}…`, "\r\x1b[K"]);
  });

  it.each<[string, boolean, NodeJS.ProcessEnv]>([
    ["no terminal", false, {}],
    ["a terminal that can't write over a row", true, { TERM: "dumb" }],
  ])("%s: nothing at all", (_name, isTTY, env) => {
    const { stream, written } = terminal(isTTY);
    const progress = openProgress(stream, env);
    progress.show("one");
    progress.clear();
    expect(written).toEqual([]);
  });
});
