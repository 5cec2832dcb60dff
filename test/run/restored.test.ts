import { fc, test as property } from "@fast-check/vitest";
import { expect, test } from "vitest";
import { CHAIN_START, sealEvent } from "../../daemon/protocol/chain.ts";
import type { NewEvent } from "../../daemon/protocol/events.ts";
import { INGESTED, mayHaveChanged, restorePoint, standsFor } from "../../daemon/run/branches.ts";
import { evolve } from "../../daemon/run/evolve.ts";
import { next } from "../../daemon/run/next.ts";
import { actionAgain, initialState, type RunState } from "../../daemon/run/state.ts";
import { bound, event, ingested, judged, RUN, START, started, submitted, turn } from "./journal.ts";

const SHA = "a".repeat(64);

/** Of the tools that may change files, those that do here. */
const CHANGES: ReadonlySet<string> = new Set(["bash"]);

/** What may come to pass in a run; the numbers choose among what there is. */
type Happening =
  | { readonly kind: "turn"; readonly tools: readonly string[]; readonly cut: boolean }
  | { readonly kind: "person" }
  | { readonly kind: "checkpoint" }
  | { readonly kind: "sent"; readonly known: boolean }
  | { readonly kind: "lost"; readonly cutAfter: number; readonly answer: "allow" | "deny" }
  | { readonly kind: "reclaimed"; readonly which: number }
  | { readonly kind: "rewound"; readonly which: number };

/**
 * A run with a file to which each action adds its id: beside the journal stands what that file holds, in the sandbox
 * and in every checkpoint, and what it must hold.
 */
class World {
  state: RunState = initialState;
  /** Actions whose line is in the present sandbox's file. */
  file: string[] = [];
  /** Those whose line must be there: had on the present branch, and not left out by a person. */
  wanted: string[] = [];
  /** What the model saw happen, by the seq that it stands for. */
  readonly #kept = new Map<
    string,
    { readonly file: readonly string[]; readonly wanted: readonly string[] }
  >();
  /** Actions that ran a second time unasked although they had sent something. */
  readonly sentTwice: string[] = [];
  readonly #sent = new Set<string>();
  #sandboxes = 1;

  constructor() {
    for (const one of [submitted, bound(), started, ingested]) this.append(one);
    this.#kept.set(INGESTED, { file: [], wanted: [] });
  }

  append(event: NewEvent): void {
    const { seq, head } = this.state.seq === 0 ? CHAIN_START : this.state;
    const at = new Date(START + seq * 1_000).toISOString();
    this.state = evolve(this.state, sealEvent({ seq, head }, at, event).event);
  }

  happen(one: Happening): void {
    if (one.kind === "turn") this.#turn(one.tools, one.cut);
    else if (one.kind === "person") this.#person();
    else if (one.kind === "checkpoint") this.#checkpoint();
    else if (one.kind === "sent") this.#send(one.known);
    else if (one.kind === "lost") this.#lose(one);
    else if (one.kind === "reclaimed") this.#reclaim(one.which);
    else this.#rewind(one.which);
  }

  #turn(tools: readonly string[], cut: boolean): void {
    this.append(turn(this.state.branch.turn + 1));
    // While the model thinks.
    if (mayHaveChanged(this.state)) this.#checkpoint();
    const ids = tools.map((_, index) => `a${this.state.lastAction + 1 + index}`);
    const content = ids.map((id) => ({ type: "tool_use" as const, id, name: "bash", input: {} }));
    const usage = { inputTokens: 1, outputTokens: 1 };
    this.append(event("model.responded", { turn: 1, content, stopReason: "tool_use", usage }));
    for (const [index, tool] of tools.entries()) this.append(proposed(ids[index] ?? "", tool));
    for (const [index, tool] of tools.entries()) {
      const id = ids[index] ?? "";
      this.append(judged(id, "allow"));
      this.#start(id);
      if (CHANGES.has(tool)) this.#apply(id);
      // Its outcome never comes to the journal; it may be half done.
      if (cut && index === tools.length - 1) {
        this.#lose({ cutAfter: 9, answer: "allow" });
        return;
      }
      this.append(done(id));
    }
  }

  #person(): void {
    const id = `a${this.state.lastAction + 1}`;
    this.append(event("action.proposed", { action: id, turn: 1, tool: "bash", input: {}, by: "person" }));
    this.append(judged(id, "allow"));
    this.#start(id);
    this.#apply(id);
    this.append(done(id));
  }

  #start(action: string): void {
    this.append(event("action.started", { action, sandbox: this.#sandbox() }));
  }

  #apply(action: string): void {
    this.file.push(action);
    if (!this.wanted.includes(action)) this.wanted.push(action);
  }

  #sandbox(): string {
    return this.state.sandbox?.sandbox ?? "";
  }

  #checkpoint(): void {
    const at = standsFor(this.state);
    if (at === undefined) return;
    const { checkpoint: parent } = this.state.branch;
    if (parent !== undefined && this.#isAsIn(parent)) {
      this.append(event("checkpoint.skipped", { at, reason: "nothing changed", same: parent }));
      return;
    }
    const checkpoint = `c${this.state.lastCheckpoint + 1}`;
    this.#kept.set(checkpoint, { file: [...this.file], wanted: [...this.wanted] });
    this.append(
      event("checkpoint.taken", {
        checkpoint,
        at,
        image: checkpoint,
        bytes: 1,
        ...(parent === undefined || parent === INGESTED ? {} : { parent }),
      }),
    );
  }

  #isAsIn(checkpoint: string): boolean {
    const { file = [] } = this.#kept.get(checkpoint) ?? {};
    return file.join() === this.file.join();
  }

  #send(known: boolean): void {
    const last = this.wanted.at(-1);
    if (last === undefined) return;
    this.#sent.add(last);
    this.append(
      event("egress.judged", {
        egress: "e1",
        verdict: "allow",
        rule: "r",
        reason: "r",
        layer: "run",
        matched: [],
        method: "GET",
        host: "docs.example.org",
        ...(known ? { action: last } : {}),
      } as never),
    );
  }

  /** The sandbox dies and another one is restored; after so many actions that one dies too. */
  #lose({ cutAfter, answer }: { cutAfter: number; answer: "allow" | "deny" }): void {
    this.append(event("sandbox.lost", { sandbox: this.#sandbox(), reason: "killed" }));
    this.#restore("lost");
    this.#again(answer, cutAfter);
    if (actionAgain(this.state)) {
      this.append(event("sandbox.lost", { sandbox: this.#sandbox(), reason: "killed again" }));
      this.#restore("lost");
      this.#again(answer, Number.POSITIVE_INFINITY);
    }
  }

  #restore(because: "lost" | "rewound"): void {
    const from = restorePoint(this.state);
    this.#sandboxes += 1;
    const data = { ...(started.data as object), sandbox: `s${this.#sandboxes}`, because };
    this.append(event("sandbox.started", { ...data, ...(from ? { checkpoint: from.id } : {}) } as never));
    if (!from) this.append(ingested);
    this.file = [...(this.#kept.get(from?.id ?? INGESTED)?.file ?? [])];
  }

  #again(answer: "allow" | "deny", most: number): void {
    for (let had = 0; had < most; had += 1) {
      // As when a person asks for one just then.
      if (actionAgain(this.state)) this.#checkpoint();
      const step = next(this.state, START);
      if (step.do === "act-again") this.#actAgain(step.action.action, step.asked);
      else if (step.do === "leave-out") this.#leaveOut(step.action.action);
      else if (step.do === "request-again") this.#ask(step.action.action);
      else if (step.do === "await-approval") this.#answer(step.approval.id, step.approval.action, answer);
      else return;
    }
  }

  #actAgain(action: string, asked: boolean): void {
    const first = this.state.again[0]?.action === action;
    const tool = [...this.state.again, ...this.state.branch.actions].find(
      (one) => one.action === action,
    )?.tool;
    this.append(event("action.started", { action, sandbox: this.#sandbox(), again: true }));
    if (this.#sent.has(action) && !asked) this.sentTwice.push(action);
    if (tool !== undefined && CHANGES.has(tool)) this.#apply(action);
    this.append(event("action.finished", { ...finishedData(action), ...(first ? { again: "same" } : {}) }));
  }

  #leaveOut(action: string): void {
    this.wanted = this.wanted.filter((one) => one !== action);
    this.append(event("action.unknown", { action, reason: "left out" }));
  }

  #ask(action: string): void {
    const count = this.state.approvals.size + 1;
    this.append(
      event("approval.requested", {
        approval: `${RUN}.${action}.${count}`,
        action,
        tool: "bash",
        input: {},
        rule: "builtin.again",
        reason: "r",
        binding: SHA,
        expiresAt: new Date(START + 1e9).toISOString(),
        again: this.#sandbox(),
      }),
    );
  }

  #answer(approval: string, action: string, decision: "allow" | "deny"): void {
    this.append(
      event("approval.decided", { approval, action, decision, for: "once", by: "person", binding: SHA }),
    );
  }

  #reclaim(which: number): void {
    const left = this.state.checkpoints.filter(({ reclaimed }) => !reclaimed);
    const one = left[which % left.length];
    if (one) this.append(event("checkpoint.reclaimed", { checkpoint: one.id, image: one.id, bytes: 1 }));
  }

  #rewind(which: number): void {
    const left = this.state.checkpoints.filter(({ reclaimed }) => !reclaimed);
    const one = left[which % (left.length + 1)];
    const checkpoint = one?.id ?? INGESTED;
    const to = one?.seq ?? this.state.ingestedAt ?? 0;
    this.append(event("run.rewound", { checkpoint, to, from: this.state.seq }));
    this.wanted = [...(this.#kept.get(checkpoint)?.wanted ?? [])];
    this.#restore("rewound");
    this.#again("allow", Number.POSITIVE_INFINITY);
  }
}

function proposed(action: string, tool: string): NewEvent {
  return event("action.proposed", { action, turn: 1, tool, input: {} });
}

function finishedData(action: string) {
  return { action, ok: true, output: "out", durationMs: 1 };
}

function done(action: string): NewEvent {
  return event("action.finished", finishedData(action));
}

const happening: fc.Arbitrary<Happening> = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({
      kind: fc.constant("turn" as const),
      tools: fc.array(fc.constantFrom("bash", "bash", "idle", "read"), { minLength: 1, maxLength: 3 }),
      cut: fc.boolean(),
    }),
  },
  { weight: 2, arbitrary: fc.constant({ kind: "person" as const }) },
  { weight: 2, arbitrary: fc.constant({ kind: "checkpoint" as const }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("sent" as const), known: fc.boolean() }) },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constant("lost" as const),
      cutAfter: fc.nat(4),
      answer: fc.constantFrom("allow" as const, "deny" as const),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("reclaimed" as const), which: fc.nat(9) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("rewound" as const), which: fc.nat(9) }) },
);

property.prop([fc.array(happening, { maxLength: 25 })], {
  numRuns: process.env.CAISSON_TEST_FULL ? 20_000 : 400,
})(
  "A3, C1: whatever is lost, reclaimed or rewound, a restored sandbox has every effect of the present branch exactly once, in order",
  (happenings) => {
    const world = new World();
    for (const one of happenings) {
      world.happen(one);
      expect(world.file).toEqual(world.wanted);
      expect(world.sentTwice).toEqual([]);
    }
  },
);

test("C1: while effects are still to be had again, the files stand for no seq: no checkpoint is taken of them", () => {
  const world = new World();
  world.happen({ kind: "turn", tools: ["bash"], cut: false });
  world.append(turn(2));
  world.append(event("sandbox.lost", { sandbox: "s1", reason: "killed" }));
  expect(standsFor(world.state)).toBeUndefined();
  world.append({ ...started, data: { ...(started.data as object), sandbox: "s2" } } as NewEvent);
  world.append(ingested);
  expect(actionAgain(world.state)?.action).toBe("a1");
  expect(standsFor(world.state)).toBeUndefined();
});

test("A3: what changed no file is not had again: a skipped checkpoint stands for the one before it", () => {
  const world = new World();
  world.happen({ kind: "turn", tools: ["bash"], cut: false });
  world.happen({ kind: "checkpoint" });
  world.happen({ kind: "turn", tools: ["bash"], cut: false });
  const at = world.state.seq;
  world.append(event("checkpoint.skipped", { at, reason: "No file has changed.", same: "c1" }));
  expect(mayHaveChanged(world.state)).toBe(false);
  world.append(event("sandbox.lost", { sandbox: "s1", reason: "killed" }));
  world.append({
    ...started,
    data: { ...(started.data as object), sandbox: "s2", checkpoint: "c1" },
  } as NewEvent);
  expect(actionAgain(world.state)).toBeUndefined();
});
