import { fc, test as property } from "@fast-check/vitest";
import { expect, test } from "vitest";
import { CHAIN_START, sealEvent } from "../../daemon/protocol/chain.ts";
import type { NewEvent } from "../../daemon/protocol/events.ts";
import { restorePoint } from "../../daemon/run/branches.ts";
import { checkpointAt } from "../../daemon/run/decide.ts";
import { evolve } from "../../daemon/run/evolve.ts";
import { type Retention, reclaimable } from "../../daemon/run/retention.ts";
import { initialState, type RunState } from "../../daemon/run/state.ts";
import { event, RUN, ready, START } from "./journal.ts";

/** A run told event by event, so that the next can depend on where it stands. */
class Told {
  #position = CHAIN_START;
  state: RunState = initialState;

  constructor() {
    for (const one of ready) this.tell(one);
  }

  tell(one: NewEvent): void {
    const at = new Date(START + this.#position.seq * 1_000).toISOString();
    const { event: made } = sealEvent(this.#position, at, one);
    this.#position = { seq: made.seq, head: made.hash };
    this.state = evolve(this.state, made);
  }

  take(name?: string): void {
    const checkpoint = `c${this.state.lastCheckpoint + 1}`;
    const { checkpoint: parent } = this.state.branch;
    this.tell(
      event("checkpoint.taken", {
        checkpoint,
        at: this.state.seq,
        image: `caisson-checkpoint:${RUN}.${checkpoint}`,
        bytes: 1,
        ...(parent === undefined || parent === "c0" ? {} : { parent }),
        ...(name === undefined ? {} : { name }),
      }),
    );
  }

  /** To one of those whose image is there, counted from the oldest. */
  rewind(which: number): void {
    const left = this.state.checkpoints.filter(({ reclaimed }) => !reclaimed);
    const to = left[which % Math.max(1, left.length)];
    if (to) this.tell(event("run.rewound", { checkpoint: to.id, to: to.seq, from: this.state.seq }));
  }

  fork(which: number): void {
    const left = this.state.checkpoints.filter(({ reclaimed }) => !reclaimed);
    const at = left[which % Math.max(1, left.length)];
    if (at) this.tell(event("run.forked", { child: RUN, at: at.seq, checkpoint: at.id }));
  }

  giveUp(retention: Retention): string[] {
    const given = reclaimable(this.state, retention);
    for (const { id, image } of given)
      this.tell(event("checkpoint.reclaimed", { checkpoint: id, image: image ?? "", bytes: 1 }));
    return given.map(({ id }) => id);
  }

  get left(): string[] {
    return this.state.checkpoints.filter(({ reclaimed }) => !reclaimed).map(({ id }) => id);
  }
}

const step = fc.oneof(
  { weight: 12, arbitrary: fc.constant({ do: "take" as const }) },
  { weight: 1, arbitrary: fc.constant({ do: "name" as const }) },
  { weight: 2, arbitrary: fc.nat({ max: 50 }).map((which) => ({ do: "rewind" as const, which })) },
  { weight: 1, arbitrary: fc.nat({ max: 50 }).map((which) => ({ do: "fork" as const, which })) },
);
const retention = fc.record({ newest: fc.integer({ min: 1, max: 6 }), thinned: fc.boolean() });

property.prop([fc.array(step, { maxLength: 80 }), retention])(
  "C1: whatever was taken, named, forked and rewound, what must be kept is kept after every step",
  (steps, bounds) => {
    const run = new Told();
    const must = new Set<string>();
    for (const one of steps) {
      if (one.do === "take") run.take();
      if (one.do === "name") run.take("named");
      if (one.do === "rewind") {
        const tip = restorePoint(run.state)?.id;
        if (tip) must.add(tip);
        run.rewind(one.which);
        const back = run.state.branch.checkpoint;
        if (back && back !== "c0") must.add(back);
      }
      if (one.do === "fork") run.fork(one.which);
      for (const { id, name } of run.state.checkpoints) if (name) must.add(id);
      for (const { checkpoint } of run.state.forks) must.add(checkpoint);
      const before = restorePoint(run.state);
      const newest = newestOnBranch(run.state, bounds.newest);
      run.giveUp(bounds);
      expect(restorePoint(run.state)).toEqual(before);
      expect(run.left).toEqual(expect.arrayContaining([...must, ...newest]));
      expect(reclaimable(run.state, bounds)).toEqual([]);
    }
    const [first] = run.state.checkpoints;
    if (first) expect(checkpointAt(run.state, first.id).id).toBe(first.id);
  },
);

/** The newest so many on the present branch whose images are there. */
function newestOnBranch({ checkpoints, branch }: RunState, count: number): string[] {
  const line: string[] = [];
  for (let id = branch.checkpoint; id !== undefined && line.length < count; ) {
    const at = checkpoints.find((one) => one.id === id);
    if (at && !at.reclaimed) line.push(at.id);
    id = at?.parent;
  }
  return line;
}

test("of a long branch the newest are all kept, older ones ever fewer, and their number stays bounded", () => {
  const run = new Told();
  const newest = 20;
  let most = 0;
  for (let taken = 1; taken <= 400; taken += 1) {
    run.take();
    run.giveUp({ newest, thinned: true });
    most = Math.max(most, run.left.length);
  }
  expect(run.left.slice(-newest)).toEqual(Array.from({ length: newest }, (_, at) => `c${381 + at}`));
  expect(run.left[0]).toBe("c1");
  const ages = run.left.slice(1).map((id) => 400 - Number(id.slice(1)));
  const within = (from: number, to: number) => ages.filter((age) => age >= from && age < to).length;
  expect([within(20, 40), within(40, 60), within(60, 80)]).toEqual([10, 5, 2]);
  expect(most).toBeLessThanOrEqual(2 * newest + 4);
});

test("without thinning only the newest and what is always kept are left", () => {
  const run = new Told();
  for (let taken = 0; taken < 30; taken += 1) run.take(taken === 9 ? "before the upgrade" : undefined);
  expect(run.giveUp({ newest: 1, thinned: false })).toHaveLength(27);
  expect(run.left).toEqual(["c1", "c10", "c30"]);
});
