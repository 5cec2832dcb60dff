import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { scripted } from "../e2e/runs.ts";
import { type HarnessUnderTest, harnessUnderTest } from "./harness-under-test.ts";
import { cannedHost } from "./replay/canned-host.ts";

let under: HarnessUnderTest;

beforeAll(async () => {
  under = await harnessUnderTest(cannedHost({ answer: () => ({ output: "" }) }));
});
afterAll(() => under.close());

const submit = (policy: string) =>
  under.harness.submit({ task: "x", model: scripted([{ say: "Done." }]), policy });

describe("a submission's policy", () => {
  test.each([
    "{version: 1, name: p, default: deny}",
    '{"version":1,"name":"p","default":"deny"}',
    "version: 1\nname: p\ndefault: deny\n",
  ])("is a document, of one line too: %j", async (policy) => {
    const { run } = await submit(policy);
    const [submitted] = await under.events(run);
    expect(submitted?.data).toMatchObject({ policy: { name: "p", text: policy } });
    await under.ended(run);
  });

  test.each(["coding", "strict"])("is a ready one by its name: %s", async (policy) => {
    const { run } = await submit(policy);
    const [submitted] = await under.events(run);
    expect(submitted?.data).toMatchObject({ policy: { name: policy } });
    await under.ended(run);
  });

  test.each(["codign", "Coding", "coding_2", "coding.yaml", "..", "2fast"])(
    "whose name is mistyped: %s",
    async (policy) => {
      await expect(submit(policy)).rejects.toMatchObject({
        code: "unknown_policy",
        message: expect.stringMatching(/^There is no policy .*\. There are: .*coding, /),
      });
    },
  );

  test.each(["", " ", "{version: 1", "my policy", "coding\n", `{name: ${"x".repeat(1_000)}}`])(
    "that is neither is refused as the document it would be: %j",
    async (policy) => {
      await expect(submit(policy)).rejects.toMatchObject({ code: "policy_invalid" });
    },
  );
});
