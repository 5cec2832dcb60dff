import { describe, expect, test } from "vitest";
import { rewoundLines } from "../../../client/cli/commands/rewind.ts";
import { painted } from "../../../client/cli/render/line.ts";
import { takenBack } from "../../../client/cli/taken-back.ts";
import type { JournalEvent } from "../../../daemon/protocol/events.ts";

const RUN = "019aa3f0-5b00-7c3a-9d51-0f6f2a6c1e01";

/** Only what the sum reads. */
function journal(...events: readonly (readonly [type: string, data?: object])[]): JournalEvent[] {
  return events.map(([type, data = {}], index) => ({ seq: index + 11, type, data })) as never;
}

describe("what a rewind took back", () => {
  test("turns and actions that had begun; not what is had again after a loss", async () => {
    const events = journal(
      ["turn.started"],
      ["action.proposed"],
      ["action.started"],
      ["sandbox.lost"],
      ["action.started", { again: true }],
      ["turn.started"],
      ["message.received"],
      ["run.rewound", { to: 10 }],
      ["turn.started"],
    );
    expect(await takenBack(events, 18)).toEqual({ turns: 2, actions: 1, sent: 0, messages: 1 });
  });

  test("what an earlier rewind took back is not taken back twice; what was sent and said stays", async () => {
    const events = journal(
      ["turn.started"],
      ["action.started"],
      ["egress.judged", { verdict: "allow" }],
      ["egress.judged", { verdict: "deny" }],
      ["message.received"],
      ["run.rewound", { to: 10 }],
      ["turn.started"],
    );
    expect(await takenBack(events, 99)).toEqual({ turns: 1, actions: 0, sent: 1, messages: 1 });
  });

  test.each([40, 80])("is said with how to go on, in %i columns", (columns) => {
    const said = (rests: boolean, back: object = {}) =>
      painted(
        rewoundLines(
          RUN,
          { id: "c2", to: 15, seq: 40, rests },
          { turns: 1, actions: 2, sent: 0, messages: 0, ...back },
        ),
        { columns, colour: (text) => text },
      ).replaceAll(/\s+/g, " ");
    expect(said(false)).toContain("goes on from c2 (event 15); taken back: 1 turn and 2 actions.");
    expect(said(false)).toContain("caisson watch 2a6c1e01 --after 39");
    expect(said(true)).toMatch(/stands at c2.*caisson resume 2a6c1e01/);
    expect(said(false, { sent: 2 })).toContain("2 requests had left the sandbox");
    expect(said(false, { messages: 1 })).toContain("what you said (1 message)");
    expect(said(false, { turns: 0, actions: 0 })).toContain("nothing had to be taken back");
  });
});
