import { expect, it } from "vitest";
import { CheckpointImages } from "../../daemon/sandbox/checkpoint-images.ts";
import { checkpointImage } from "../../daemon/sandbox/checkpoints.ts";
import { type FakeEngine, fakeEngine } from "./fake-engine.ts";

const IMAGE = { Id: "sha256:1", Size: 5, RootFS: { Layers: ["a", "b"] }, Config: {} };

/** Commits once; the first `refusals` times the engine answers so. */
async function commitWith(message: string, refusals: number): Promise<{ fake: FakeEngine; done: unknown }> {
  let left = refusals;
  const fake = await fakeEngine((call) => {
    if (!call.startsWith("POST /commit")) return { status: 200, body: IMAGE };
    left -= 1;
    return left >= 0 ? { status: 500, body: { message } } : { status: 201, body: { Id: IMAGE.Id } };
  });
  const from = { container: "c", labels: {}, image: "sha256:0" };
  const images = new CheckpointImages(fake.engine, "me");
  const options = { pause: true, links: "" };
  const done = await images
    .commit(from, checkpointImage("r", "c1"), options)
    .catch((error: unknown) => error);
  await fake.close();
  return { fake, done };
}

const commits = ({ calls }: FakeEngine): number => calls.filter((call) => call === "POST /commit").length;

it("S6: a commit whose container could not be paused at once is tried again, and not for ever", async () => {
  const busy = "Cannot pause container c: OCI runtime pause failed: unable to freeze: unknown";
  const twice = await commitWith(busy, 2);
  expect(twice.done).toEqual({ bytes: 0, layers: 2 });
  expect(commits(twice.fake)).toBe(3);
  const always = await commitWith(busy, 100);
  expect(always.done).toMatchObject({
    name: "EngineError",
    message: expect.stringContaining("unable to freeze"),
  });
  expect(commits(always.fake)).toBe(3);
});

it("another refusal is an answer", async () => {
  const { fake, done } = await commitWith("max depth exceeded", 1);
  expect(done).toMatchObject({ name: "EngineError", message: expect.stringContaining("max depth exceeded") });
  expect(commits(fake)).toBe(1);
});
