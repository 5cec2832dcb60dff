import { describe, expect, it } from "vitest";
import { explainPolicy } from "../../daemon/policy/explain.ts";
import { confinementOf, folderPrefixes } from "../../daemon/policy/folder-prefixes.ts";
import { heldRules } from "../../daemon/policy/held.ts";
import { policy } from "./kit.ts";

const list = (globs: readonly string[]) => `[${globs.map((glob) => JSON.stringify(glob)).join(", ")}]`;
const reading = (allow: readonly string[], layer: "organisation" | "run" = "run") =>
  policy(`files: { read: { allow: ${list(allow)} } }`, layer);
const files = (text: string) => policy(`files: ${text}`);

describe("what a kernel can hold of the rules for files", () => {
  it.each([
    ["/workspace/**", ["/workspace"]],
    ["/workspace/**/*", ["/workspace"]],
    ["/workspace/src/*.js", ["/workspace/src"]],
    ["/workspace/src/**/test/*", ["/workspace/src"]],
    ["/workspace/a.txt", ["/workspace/a.txt"]],
    ["/workspace/{src,test}/**", ["/workspace/src", "/workspace/test"]],
    ["/workspace/[ab]/c", ["/workspace"]],
    ["/work\\*/a", ["/work*/a"]],
    ["**/*.md", ["/"]],
    ["/**", ["/"]],
    ["/*/src/**", ["/"]],
  ])("a glob's folder is the literal path before its first wildcard: %s", (glob, folders) => {
    expect(folderPrefixes([reading([glob])]).read).toEqual(folders);
  });

  it("keeps the lists short: a folder inside of another one is left out", () => {
    expect(folderPrefixes([reading(["/a/b/**", "/a/**", "/ab/**", "/a/**"])]).read).toEqual(["/a", "/ab"]);
  });

  it("layers narrow: only what all of them allow remains, and one without the list has no opinion (P2)", () => {
    const organisation = reading(["/workspace/**", "/opt/**"], "organisation");
    const run = reading(["/workspace/src/**", "/tmp/**", "/**/x"]);
    expect(folderPrefixes([organisation, reading(["/workspace/src/**", "/tmp/**"])]).read).toEqual([
      "/workspace/src",
    ]);
    expect(folderPrefixes([organisation, run]).read).toEqual(["/opt", "/workspace"]);
    expect(folderPrefixes([policy("limits: { wall: 1m }", "organisation"), run]).read).toEqual(["/"]);
  });

  it("a policy that says nothing of files leaves commands to its rules for them", () => {
    expect(folderPrefixes([policy("limits: { wall: 1m }")])).toEqual({ read: ["/"], write: ["/"] });
  });

  it("what is missing beside the other list is not allowed, and asking is not allowing (P1)", () => {
    expect(folderPrefixes([reading(["/workspace/**"])])).toEqual({ read: ["/workspace"], write: [] });
    const asks = files("{ read: { ask: [/workspace/**] }, write: { deny: [/**] } }");
    expect(folderPrefixes([asks])).toEqual({ read: [], write: [] });
  });

  it("a folder that is denied as a whole is not open; one with something denied in it is", () => {
    const denied = files(
      "{ write: { allow: [/workspace/**, /tmp/**], deny: [/tmp/**, /workspace/.git/**] } }",
    );
    expect(folderPrefixes([denied]).write).toEqual(["/workspace"]);
  });

  it("tiers speak for a layer without the list, and deny for one with it", () => {
    const tiers = (text: string) => policy(`tiers: { ${text} }`);
    expect(folderPrefixes([tiers("read: allow, local: ask")])).toEqual({ read: ["/"], write: [] });
    expect(folderPrefixes([tiers("local: allow"), reading(["/tmp/**"])])).toEqual({
      read: ["/tmp"],
      write: ["/"],
    });
    const both = policy("files: { write: { allow: [/tmp/**] } }\ntiers: { local: deny }");
    expect(folderPrefixes([both]).write).toEqual([]);
  });

  it("a project's own file narrows, and opens nothing by itself (P2)", () => {
    const project = policy("files: { read: { allow: [/workspace/src/**] } }", "project");
    expect(folderPrefixes([project, policy("limits: { wall: 1m }")]).read).toEqual(["/workspace/src"]);
    expect(folderPrefixes([project, files("{ write: { allow: [/workspace/**] } }")]).read).toEqual([]);
    expect(folderPrefixes([project, reading(["/workspace/**"])]).read).toEqual(["/workspace/src"]);
  });

  it("reading implies no writing, nor writing reading", () => {
    const { read, write } = confinementOf([
      files("{ read: { allow: [/workspace/src/**] }, write: { allow: [/workspace/out/**] } }"),
    ]);
    expect(read).toEqual(
      expect.arrayContaining(["/usr", "/proc", "/dev", "/home/agent", "/.caisson", "/workspace/src"]),
    );
    expect(read).not.toContain("/workspace/out");
    expect(write).toEqual(["/dev", "/home/agent", "/workspace/out"]);
  });

  it("what is open as a whole needs no other rule", () => {
    expect(
      confinementOf([files("{ read: { allow: [/**] }, write: { allow: [/workspace/**] } }")]).read,
    ).toEqual(["/"]);
  });
});

describe("where each rule for files holds", () => {
  const held = (text: string) =>
    Object.fromEntries(
      heldRules([files(text)], ["read", "write"]).map(({ rule, by, why }) => [
        rule,
        why ? `${by}: ${why}` : by,
      ]),
    );

  it("tells what the kernel holds of the ready policies' kind of lists", () => {
    expect(
      held(
        '{ read: { allow: [/workspace/**] }, write: { allow: [/workspace/**, /tmp/*.log], ask: ["**/package.json", /data/x], deny: ["**/.git/hooks/**", /srv/**] } }',
      ),
    ).toEqual({
      "files.read.allow[0]": "kernel",
      "files.write.allow[0]": "kernel",
      "files.write.allow[1]": "in-part: commands may write all that is beneath /tmp",
      "files.write.ask[0]": "file-tools: what a command does by itself is not asked for",
      "files.write.ask[1]": "file-tools: commands don't get there, asked or not",
      "files.write.deny[0]": "file-tools: commands may write all that is beneath /tmp, /workspace",
      "files.write.deny[1]": "kernel",
    });
  });

  it("says where it can't be held, and what programs need all the same", () => {
    const { "files.read.allow[0]": anywhere, ...denied } = held(
      '{ read: { allow: ["**/*.md"], deny: [/etc/secret] }, write: { deny: [/**] } }',
    );
    expect(anywhere).toBe("file-tools: it names no folder to begin with, so commands may read anything");
    expect(denied).toEqual({
      "files.read.deny[0]": "file-tools: commands may read all that is beneath /",
      "files.write.deny[0]": "in-part: programs need /dev, /home/agent to run at all",
    });
  });

  it("tells what remains open when an upper layer narrows", () => {
    const upper = reading(["/workspace/**"], "organisation");
    const held = heldRules([upper, reading(["**/*.md", "/workspace/src/*.js", "/data/*"])], ["read"]);
    expect(held.map(({ layer, by, why }) => [layer, by, why])).toEqual([
      ["organisation", "kernel", undefined],
      ["run", "in-part", "commands may read all that is beneath /workspace"],
      ["run", "in-part", "commands may read all that is beneath /workspace/src"],
      ["run", "kernel", undefined],
    ]);
  });

  it("a folder for reading inside of one for writing can be filled by moving", () => {
    expect(
      held("{ read: { allow: [/workspace/src/**] }, write: { allow: [/workspace/**] } }")[
        "files.read.allow[0]"
      ],
    ).toMatch(/^in-part: what commands may write they can move into \/workspace\/src/);
  });

  it("is part of an explanation: both lists for a command, its own for a path, none for a request", () => {
    const text =
      'version: 1\nname: a\ndefault: deny\nexec: { shell: contained, rules: [{ id: all, argv: ["..."], decision: allow }] }\nfiles: { read: { allow: [/workspace/**] }, write: { allow: [/tmp/**] } }\n';
    const rules = (question: object) => explainPolicy(text, question).held?.rules.map(({ rule }) => rule);
    expect(explainPolicy(text, { exec: "ls" }).held).toMatchObject({ read: ["/workspace"], write: ["/tmp"] });
    expect(rules({ exec: "ls" })).toEqual(["files.read.allow[0]", "files.write.allow[0]"]);
    expect(rules({ write: "/tmp/a" })).toEqual(["files.write.allow[0]"]);
    expect(rules({ http: "GET https://docs.example.org/" })).toBeUndefined();
  });
});
