import { expect, test } from "vitest";
import { Families } from "../../daemon/harness/families.ts";
import { NOTHING_USED } from "../../daemon/run/family.ts";
import type { RunState } from "../../daemon/run/state.ts";
import { given, ready, submitted } from "../run/journal.ts";

const NOWHERE = {
  journal: { read: () => [] },
  blobs: { read: () => [] },
} as unknown as ConstructorParameters<typeof Families>[0];

test("L1: what a request under way has sent counts beside the run's forks at once, and once", async () => {
  const families = new Families(NOWHERE, () => ["parent", "child"]);
  const forked: Partial<RunState> = { forks: [{ run: "child", at: "c1" }] as never };
  const parent = { run: "parent", state: { ...given(...ready), ...forked } };
  const child = { run: "child", state: { ...given(submitted), ...forked } };
  await families.join(parent);
  await families.join(child);
  expect(families.beside("child")).toEqual(NOTHING_USED);
  families.sending("parent", 700);
  families.sending("parent", 900);
  expect(families.beside("child").bytesOut).toBe(900);
  expect(families.beside("parent").bytesOut).toBe(0);
  families.sending("parent", 0);
  parent.state = { ...parent.state, used: { ...parent.state.used, bytesOut: 900 } };
  expect(families.beside("child").bytesOut).toBe(900);
  families.leave(parent);
  expect(families.beside("child").bytesOut).toBe(900);
});
