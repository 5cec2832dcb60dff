import { expect, test } from "vitest";
import { groupsOf, handleOf, isGroupName } from "../../../client/cli/approval-groups.ts";
import { approvalLines } from "../../../client/cli/commands/approvals.ts";
import type { ApprovalView } from "../../../daemon/protocol/views.ts";

const RUN = "019aa3f0-5b00-7c3a-9d51-0f6f2a6c1e01";
const OTHER = "019aa3f0-5b00-7c3a-9d51-0f6f2a6c1e02";

function asked(action: string, alike?: readonly string[], run = RUN): ApprovalView {
  return {
    id: `${run}.${action}`,
    run,
    action,
    tool: "bash",
    input: { command: `git push ${action}` },
    rule: "push",
    reason: "r",
    askedAt: "2026-11-21T09:00:00.000Z",
    expiresAt: "2026-11-21T09:15:00.000Z",
    ...(alike ? { alike: [...alike] } : {}),
  };
}

const ids = (items: readonly ApprovalView[]) => groupsOf(items).map((group) => group.map(({ id }) => id));

test("those asked alike at one moment are one group; another run's, and those answered, are not in it", () => {
  const alike = ["a1", "a2", "a3"];
  const answered = {
    ...asked("a2", alike),
    decision: { decision: "deny", for: "once", by: "person" },
  } as const;
  expect(
    ids([asked("a1", alike), answered, asked("a3", alike), asked("a4"), asked("a1", alike, OTHER)]),
  ).toEqual([[`${RUN}.a1`, `${RUN}.a3`], [`${RUN}.a4`], [`${OTHER}.a1`]]);
});

test("a group's name stands for exactly its members: one more, or one less, is another (P3)", () => {
  const three = ["a1", "a2", "a3"].map((action) => `${RUN}.${action}`);
  const name = handleOf(three);
  expect(isGroupName(name)).toBe(true);
  expect(handleOf([...three].reverse())).toBe(name);
  expect(handleOf(three.slice(1))).not.toBe(name);
  expect(handleOf([...three, `${RUN}.a4`])).not.toBe(name);
  expect(isGroupName(handleOf(three.slice(0, 1)))).toBe(false);
});

test("the list shows a count and every one of them, so that an answer is to what was seen", () => {
  const alike = ["a1", "a2"];
  const lines = approvalLines(
    [asked("a1", alike), asked("a2", alike)],
    Date.parse("2026-11-21T09:00:00.000Z"),
  );
  const text = lines.map(({ spans }) => spans.map((one) => one.text).join("")).join("\n");
  expect(text).toMatch(/2 × bash, alike:[\s\S]*git push a1[\s\S]*git push a2/);
});

test("requests that wait are each their own question, with method, URL and how the body begins", () => {
  const requests = ["q1", "q2"].map(
    (request): ApprovalView => ({
      ...asked("a1"),
      id: `${RUN}.a1.${request}`,
      request,
      tool: "fetch",
      input: {
        method: "POST",
        url: `https://api.example.com/${request}`,
        bodyBytes: 12,
        preview: "title=x\nmore",
      },
    }),
  );
  expect(ids(requests)).toEqual([[`${RUN}.a1.q1`], [`${RUN}.a1.q2`]]);
  const text = JSON.stringify(approvalLines(requests, Date.parse("2026-11-21T09:00:00.000Z")));
  expect(text).toContain("fetch POST https://api.example.com/q1 (12 B: title=x)");
  expect(text).toContain("2a6c1e01.a1.q2");
});
