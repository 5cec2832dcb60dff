import { expect, test } from "vitest";
import { Removals } from "../../daemon/harness/removals.ts";

/** A host whose removals end when they are told to. */
function slowHost() {
  const going = new Map<string, { resolve(): void; reject(error: Error): void }>();
  const begun: string[] = [];
  const warned: unknown[] = [];
  const remove = (id: string) => {
    begun.push(id);
    return new Promise<void>((resolve, reject) => going.set(id, { resolve, reject }));
  };
  const removals = new Removals({ remove }, { warn: (fields) => warned.push(fields) });
  const pass = () => new Promise((resolve) => setImmediate(resolve));
  return { removals, begun, going, warned, pass };
}

test("removals are few at a time, and one under way is not begun again", async () => {
  const { removals, begun, going, pass } = slowHost();
  for (let one = 0; one < 20; one += 1) removals.begin(`c${one}`, "run");
  removals.begin("c0", "run");
  await pass();
  expect(begun).toEqual(["c0", "c1", "c2", "c3", "c4", "c5", "c6", "c7"]);
  going.get("c3")?.resolve();
  await pass();
  expect(begun.slice(8)).toEqual(["c8"]);
});

test("a run's removals are waited for, not those of others; failures are told and hold nobody up", async () => {
  const { removals, going, warned, pass } = slowHost();
  let destroyed = false;
  removals.begin("mine", "r1", {
    destroy: async () => {
      destroyed = true;
    },
  });
  removals.begin("other", "r2");
  await removals.of("r1");
  expect(destroyed).toBe(true);
  await pass();
  let settled = false;
  const all = removals.settled().then(() => {
    settled = true;
  });
  await pass();
  expect(settled).toBe(false);
  going.get("other")?.reject(new Error("device or resource busy"));
  await all;
  expect(warned).toEqual([{ run: "r2", sandbox: "other", error: "Error: device or resource busy" }]);
});
