import { fc, test as property } from "@fast-check/vitest";
import { describe, expect, test } from "vitest";
import {
  bytesByRun,
  deadBelow,
  freedBy,
  groundOf,
  squashable,
  totalBytes,
} from "../../../daemon/harness/checkpoints/layers.ts";
import { imagesOf, type Known, orphansAmong } from "../../../daemon/harness/checkpoints/orphans.ts";
import { initialState, type RunState } from "../../../daemon/run/state.ts";
import { layersOf } from "../../../daemon/sandbox/checkpoint-layers.ts";
import { type CheckpointLayer, checkpointImage } from "../../../daemon/sandbox/checkpoints.ts";

const OLD = "019aa000-0000-7000-8000-000000000001";
const NEW = "019bb000-0000-7000-8000-000000000002";
const HOUR = 3_600_000;

/** One made from another, with the checkpoint it is of; none: it lost its name. */
function layer(
  id: string,
  parent: string | undefined,
  bytes: number,
  ...references: string[]
): CheckpointLayer {
  return { id, ...(parent ? { parent } : { base: "base" }), bytes, references };
}
const named = (checkpoint: string, run = OLD) => checkpointImage(run, checkpoint);

/** c1 ← c2 (given up) ← c3 (given up) ← c4; c1 ← c5, which a fork has too. */
const LAYERS = [
  layer("1", undefined, 1000, named("c1")),
  layer("2", "1", 100),
  layer("3", "2", 10),
  layer("4", "3", 5, named("c4")),
  layer("5", "1", 1, named("c5"), named("c1", NEW)),
];

test("what comes free is what no other name needs, layers below included", () => {
  expect(totalBytes(LAYERS)).toBe(1116);
  expect(freedBy(LAYERS, new Set([named("c4")]))).toBe(115);
  expect(freedBy(LAYERS, new Set([named("c5")]))).toBe(0);
  expect(freedBy(LAYERS, new Set([named("c5"), named("c1", NEW)]))).toBe(1);
  expect(freedBy(LAYERS, new Set([named("c1")]))).toBe(0);
  expect(freedBy(LAYERS, new Set(LAYERS.flatMap(({ references }) => references)))).toBe(1116);
});

test("what a fork shares with its parent is the parent's", () => {
  expect(bytesByRun(LAYERS)).toEqual(new Map([[OLD, 1116]]));
  expect(bytesByRun([...LAYERS, layer("6", "5", 7, named("c2", NEW))])).toEqual(
    new Map([
      [OLD, 1116],
      [NEW, 7],
    ]),
  );
});

describe("an image is made anew", () => {
  test("on the one below those that it alone keeps", () => {
    expect(squashable(LAYERS, 1)).toEqual([{ reference: named("c4"), onto: "1", bytes: 110 }]);
    expect(squashable(LAYERS, 111)).toEqual([]);
  });

  test("not while something is made from it, or another needs the same layers", () => {
    expect(squashable([...LAYERS, layer("6", "4", 1, named("c6"))], 1)).toEqual([]);
    const shared = [...LAYERS, layer("6", "2", 1, named("c6"))];
    expect(squashable(shared, 1)).toEqual([{ reference: named("c4"), onto: "2", bytes: 10 }]);
  });

  test("on what the first was made from, when no checkpoint is left below", () => {
    const chain = [layer("1", undefined, 50), layer("2", "1", 5, named("c2"))];
    expect(squashable(chain, 1)).toEqual([{ reference: named("c2"), onto: "base", bytes: 50 }]);
  });
});

test("the ground of an image is the lowest checkpoint below it, and what it holds in vain is told", () => {
  expect(groundOf(LAYERS, named("c4"))).toBe("1");
  expect(groundOf(LAYERS, named("c1"))).toBe("1");
  expect(groundOf(LAYERS, named("c9"))).toBeUndefined();
  expect(deadBelow(LAYERS).get(named("c4"))).toBe(110);
  expect(deadBelow(LAYERS).get(named("c5"))).toBe(0);
});

/** Any forest: each made from an earlier one or from none. */
const forest = fc
  .array(fc.record({ parent: fc.nat(), bytes: fc.nat({ max: 100 }), names: fc.nat({ max: 2 }) }), {
    maxLength: 30,
  })
  .map((all) =>
    all.map(({ parent, bytes, names }, at) =>
      layer(
        `${at}`,
        at > 0 && parent % 4 > 0 ? `${parent % at}` : undefined,
        bytes,
        ...Array.from({ length: names }, (_, index) => named(`c${at}`, index === 0 ? OLD : NEW)),
      ),
    ),
  );

property.prop([forest])(
  "what two sets free together is at least what each frees, and never more than all",
  (layers) => {
    const references = layers.flatMap((one) => one.references);
    const half = new Set(references.filter((_, at) => at % 2 === 0));
    const other = new Set(references.filter((one) => !half.has(one)));
    const all = freedBy(layers, new Set(references));
    expect(freedBy(layers, half) + freedBy(layers, other)).toBeLessThanOrEqual(all);
    expect(all).toBeLessThanOrEqual(totalBytes(layers));
  },
);

test("an engine's list of whole images becomes layers; an image that is gone below holds nothing else's bytes", () => {
  const list = [
    { Id: "1", ParentId: "base", Size: 260, RepoTags: [named("c1"), "mine:latest"], Labels: {} },
    { Id: "2", ParentId: "1", Size: 270, RepoTags: null, Labels: {} },
    {
      Id: "3",
      ParentId: "",
      Size: 30,

      RepoTags: [named("c3")],
      Labels: { "caisson.base": "gone" },
    },
  ];
  expect(layersOf(list, new Map([["base", 250]]))).toEqual([
    { id: "1", base: "base", bytes: 10, references: [named("c1")] },
    { id: "2", parent: "1", bytes: 10, references: [] },
    { id: "3", base: "gone", bytes: 30, references: [named("c3")] },
  ]);
});

describe("S5: orphans", () => {
  const stated = (...checkpoints: readonly { id: string; reclaimed: boolean }[]): RunState => ({
    ...initialState,
    checkpoints: checkpoints.map(({ id, reclaimed }) => ({
      id,
      run: OLD,
      seq: 1,
      bytes: 1,
      at: "2026-11-21T09:00:00.000Z",
      image: named(id),
      reclaimed,
    })),
  });
  const state = stated({ id: "c1", reclaimed: false }, { id: "c2", reclaimed: true });
  const images = [named("c1"), named("c2"), named("c3")].map((name, at) =>
    layer(`${at}`, undefined, 1, name),
  );
  const among = (known: Known, options: { starting: boolean; now?: number }) =>
    orphansAmong(images, () => known, { now: Date.now() + 10 * HOUR, ...options });

  test("of a run that is about to go on: what its journal does not name, or has given up", () => {
    expect(among({ as: "before", state }, { starting: true })).toEqual([named("c2"), named("c3")]);
  });

  test("of a run that goes on: only what it has given up, since one may just be in the making", () => {
    expect(among({ as: "carried", state }, { starting: false })).toEqual([named("c2")]);
  });

  test("of an ended run: what its journal names no more; of one whose journal can't be read: none", () => {
    const ended: Known = { as: "ended", images: imagesOf(state.checkpoints) };
    expect(among(ended, { starting: false })).toEqual([named("c2"), named("c3")]);
    expect(among({ as: "unreadable" }, { starting: true })).toEqual([]);
  });

  test("of a run without a journal: all, unless it may just be in the making", () => {
    const submitted = 0x019aa0000000;
    expect(among({ as: "unknown" }, { starting: true, now: submitted })).toHaveLength(3);
    expect(among({ as: "unknown" }, { starting: false, now: submitted + HOUR / 2 })).toEqual([]);
    expect(among({ as: "unknown" }, { starting: false, now: submitted + 2 * HOUR })).toHaveLength(3);
  });

  test("an image without a name that nothing is made from; not one of somebody's own naming", () => {
    const given = { now: 0, starting: false };
    expect(orphansAmong(LAYERS, () => ({ as: "unreadable" }), given)).toEqual([]);
    expect(orphansAmong([layer("9", "1", 1)], () => ({ as: "unreadable" }), given)).toEqual(["9"]);
    const foreign = layer("9", undefined, 1, "caisson-checkpoint:mine");
    expect(orphansAmong([foreign], () => ({ as: "unknown" }), given)).toEqual([]);
  });
});
