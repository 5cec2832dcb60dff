import { afterEach, expect, it } from "vitest";
import { Images } from "../../daemon/sandbox/images.ts";
import { type FakeEngine, fakeEngine } from "./fake-engine.ts";

let fake: FakeEngine | undefined;
afterEach(() => fake?.close());

it("an image is looked up once, and again when somebody removed it meanwhile", async () => {
  let there = true;
  fake = await fakeEngine(() => (there ? { status: 200, body: { Id: "i", Size: 1 } } : { status: 404 }));
  const images = new Images(fake.engine);
  const ensure = () => images.ensureImage("a-persons-own:1", () => undefined);
  await ensure();
  await ensure();
  expect(fake.calls).toHaveLength(1);
  there = false;
  images.forgetImages();
  await expect(ensure()).rejects.toThrow(/pull or build it/);
  there = true;
  await expect(ensure()).resolves.toBe("a-persons-own:1");
  expect(fake.calls).toHaveLength(3);
});
