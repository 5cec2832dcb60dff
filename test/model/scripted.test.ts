import { fc, test } from "@fast-check/vitest";
import { describe, expect, it } from "vitest";
import { createScriptedModel } from "../../daemon/model/scripted.ts";
import { CaissonError } from "../../daemon/protocol/errors.ts";
import { ask, failureOf, requestAt } from "../contracts/model.ts";
import { createManualClock } from "./manual-clock.ts";

/** The example that stands in the documentation. */
const EXAMPLE = `
turns:
  - say: I run the tests first.
    use: [{ tool: bash, input: { command: npm test } }]
  - expect: { output: /1 failed/, verdict: allow }
    use: [{ tool: edit, input: { path: src/a.js, old: x, new: y } }, { tool: bash, input: { command: npm test } }]
  - fail: { status: 529, times: 2 }
    delayMs: 200
    say: Done.
loop: false
auxiliary: { reflect: "…", compress: "…", validate: "…" }
`;

const at = (
  position: number,
  results: string[] = [],
  verdicts: ("allow" | "ask" | "deny")[] = [],
  attempt?: number,
) =>
  requestAt(position, {
    observed: { position, results, verdicts, ...(attempt === undefined ? {} : { attempt }) },
  });

function refusalOf(script: string): CaissonError {
  try {
    createScriptedModel(script);
  } catch (error) {
    if (error instanceof CaissonError) return error;
    throw error;
  }
  throw new Error("the script was accepted");
}

describe("the documented example", () => {
  it("plays from start to end", async () => {
    const clock = createManualClock();
    const model = createScriptedModel(EXAMPLE, clock);
    const first = await ask(model, at(0));
    expect(first.response).toMatchObject({
      content: [
        { type: "text", text: "I run the tests first." },
        { type: "tool_use", id: "toolu_0_0", name: "bash", input: { command: "npm test" } },
      ],
      stopReason: "tool_use",
      usage: { costUsd: 0 },
    });
    const second = await ask(model, at(1, ["2 passed", "1 failed"], ["allow"]));
    expect(second.response.content.map((block) => block.type === "tool_use" && block.id)).toEqual([
      "toolu_1_0",
      "toolu_1_1",
    ]);
    expect((await failureOf(ask(model, at(2)))).status).toBe(529);
    expect((await failureOf(ask(model, at(2)))).retryable).toBe(true);
    const third = ask(model, at(2));
    clock.advance(200);
    expect((await third).response).toMatchObject({ stopReason: "end_turn" });
    expect((await ask(model, at(3))).response).toMatchObject({ content: [], stopReason: "end_turn" });
    const reflection = await ask(model, { ...at(3), purpose: "reflect" });
    expect(reflection.response.content).toEqual([{ type: "text", text: "…" }]);
  });
});

describe("expectations", () => {
  it.each([
    ["output: /1 failed/", ["all passed"], ["allow"], "all passed"],
    ["output: /1 failed/", [], [], "nothing"],
    ["output: /^b$/", ["a", "b"], ["allow"], "a\\nb"],
    ["verdict: deny", ["x"], ["deny", "allow"], "deny, allow"],
    ["verdict: allow", [], [], "no action"],
  ] as const)(
    "{ %s } with results %j and verdicts %j fails the turn",
    async (expectation, results, verdicts, came) => {
      const model = createScriptedModel(`turns: [{ expect: { ${expectation} }, say: on }]`);
      const failure = await failureOf(ask(model, at(0, [...results], [...verdicts])));
      expect(failure).toMatchObject({ kind: "script", retryable: false });
      expect(failure.message).toContain(expectation.replace(/^(output|verdict): /, ""));
      expect(failure.message).toContain(came);
    },
  );

  it.each([
    ["output: /1 FAILED/i", ["1 failed"], ["allow"]],
    ["output: /^b$/m", ["a", "b"], ["allow"]],
    ["output: /a.b/s", ["a", "b"], ["deny"]],
    ["verdict: ask", ["x", "y"], ["ask", "ask"]],
  ] as const)("{ %s } with results %j and verdicts %j goes on", async (expectation, results, verdicts) => {
    const model = createScriptedModel(`turns: [{ expect: { ${expectation} }, say: on }]`);
    expect((await ask(model, at(0, [...results], [...verdicts]))).text).toBe("on");
  });

  it("a pattern that backtracks without end is stopped (P1)", async () => {
    const model = createScriptedModel("turns: [{ expect: { output: /^(a+)+$/ }, say: on }]");
    const failure = await failureOf(ask(model, at(0, [`${"a".repeat(60)}!`], ["allow"])));
    expect(failure).toMatchObject({ kind: "script", retryable: false });
    expect(failure.message).toContain("stopped");
  });
});

describe("position and attempts", () => {
  it("starts over after the last turn when it loops, with ids that never repeat", async () => {
    const model = createScriptedModel("turns: [{ use: [{ tool: bash }] }, { say: b }]\nloop: true");
    expect((await ask(model, at(2))).response.content).toEqual([
      { type: "tool_use", id: "toolu_2_0", name: "bash", input: {} },
    ]);
    expect((await ask(model, at(3))).text).toBe("b");
  });

  it("goes back with the conversation: the same position gives the same response (C1)", async () => {
    const model = createScriptedModel("turns: [{ say: a }, { say: b }, { say: c }]");
    expect((await ask(model, at(2))).text).toBe("c");
    expect((await ask(model, at(0))).text).toBe("a");
  });

  it("counts attempts from the journal, so that a new daemon goes on where the old one was", async () => {
    const script = "turns: [{ fail: { status: 529, times: 2 }, say: on }]";
    expect((await failureOf(ask(createScriptedModel(script), at(0, [], [], 1)))).kind).toBe("overloaded");
    expect((await ask(createScriptedModel(script), at(0, [], [], 2))).text).toBe("on");
  });

  it("answers the harness's own questions without moving, in a neutral way where the script says nothing", async () => {
    const model = createScriptedModel("turns: [{ say: a }]\nauxiliary: { compress: short }");
    expect((await ask(model, { ...at(0), purpose: "compress" })).response.content).toEqual([
      { type: "text", text: "short" },
    ]);
    for (const purpose of ["reflect", "validate"] as const)
      expect((await ask(model, { ...at(0), purpose })).response.stopReason).toBe("end_turn");
    expect((await ask(model, at(0))).text).toBe("a");
  });

  test.prop([fc.array(fc.string(), { maxLength: 5 }), fc.nat(20)])(
    "the same request gives the same response, usage included",
    async (says, position) => {
      const script = JSON.stringify({ turns: [{}, ...says.map((say) => ({ say }))], loop: true });
      const [one, two] = [createScriptedModel(script), createScriptedModel(script)];
      expect((await ask(one, at(position))).response).toEqual((await ask(two, at(position))).response);
    },
  );
});

describe("a script that is refused", () => {
  it.each([
    ["an unknown key", "turns:\n  - say: a\n    sya: b\n", "line 3, column 5", "sya"],
    ["a repeated key", "turns: []\nturns: []\n", "line 2, column 1", "unique"],
    ["a wrong type", "turns:\n  - say: [1]\n", "line 2, column 10", "turns.0.say"],
    [
      "a regular expression without slashes",
      "turns:\n  - expect: { output: failed }\n",
      "line 2, column 23",
      "slashes",
    ],
    [
      "a regular expression that is none",
      "turns:\n  - expect: { output: /(/ }\n",
      "line 2, column 23",
      "Invalid",
    ],
    ["a flag that is none", "turns:\n  - expect: { output: /a/q }\n", "line 2, column 23", "flags"],
    ["a verdict that is none", "turns:\n  - expect: { verdict: maybe }\n", "line 2, column 24", "verdict"],
    ["a status that is no failure", "turns:\n  - fail: { status: 200 }\n", "line 2, column 21", "status"],
    ["no turns", "turns: []\n", "line 1, column 8", "turns"],
    ["no document", "", "line 1, column 1", "script"],
    ["broken YAML", "turns: [\n", "line 2, column 1", "flow"],
    ["aliases", "turns:\n  - &a { say: b }\n  - *a\n", "line 1, column 1", "aliases"],
    ["too long a text", `turns: [{ say: "${"a".repeat(1_000_000)}" }]`, "line 1, column 1", "longer"],
  ])("for %s names line, column and what is wrong", (_what, script, place, wrong) => {
    const error = refusalOf(script);
    expect(error.code).toBe("script_invalid");
    expect(error.message).toContain(place);
    expect(error.message.toLowerCase()).toContain(wrong.toLowerCase());
    expect(error.errors?.[0]?.path).toBe(place);
  });

  test.prop([fc.string({ maxLength: 200 })])(
    "for any other text is a CaissonError and nothing else",
    (text) => {
      try {
        createScriptedModel(text);
      } catch (error) {
        expect(error).toMatchObject({ name: "CaissonError", code: "script_invalid" });
      }
    },
  );
});
