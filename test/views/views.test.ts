import { appendFile, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { v7 as newRunId } from "uuid";
import { afterEach, beforeEach, expect, test } from "vitest";
import { openFileBlobs } from "../../daemon/journal/blobs.ts";
import { openFileJournal } from "../../daemon/journal/file-journal.ts";
import { storeHistory } from "../../daemon/journal/history.ts";
import type { Journal, RunJournal } from "../../daemon/journal/port.ts";
import { sha256 } from "../../daemon/protocol/chain.ts";
import type { NewEvent } from "../../daemon/protocol/events.ts";
import { ApprovalView, CheckpointView, QuestionView, RunView } from "../../daemon/protocol/views.ts";
import { createViews, type OpenViews } from "../../daemon/views/views.ts";
import { SPINE_RUN, spineEvents } from "../fixtures/spine-events.ts";
import { systemClock, temporaryHome } from "../journal/homes.ts";

let home: string;
let dispose: () => Promise<void>;
let journal: Journal;
let views: OpenViews;
let failures: unknown[];
const spine = spineEvents();
const catalogue = () => join(home, "catalog.json");

beforeEach(async () => {
  ({ home, dispose } = await temporaryHome());
  failures = [];
  await start();
});
afterEach(async () => {
  await stop();
  await dispose();
});

async function start(): Promise<void> {
  journal = await openFileJournal({ home, clock: systemClock });
  views = await createViews({
    journal,
    blobs: await openFileBlobs({ home }),
    file: catalogue(),
    failed: (error) => failures.push(error),
  });
}

async function stop(): Promise<void> {
  await views.close();
  await journal.close();
}

/** Ids of runs made in one test get later and later times of submission. */
function submitted(run: string, requestId?: string): NewEvent {
  const [first] = spine;
  if (first?.type !== "run.submitted") throw new Error("the spine starts with run.submitted");
  const { requestId: _, ...data } = first.data;
  return { type: "run.submitted", data: { ...data, run, ...(requestId ? { requestId } : {}) } };
}

async function spineRun(events = spine): Promise<RunJournal> {
  const run = await journal.create(SPINE_RUN);
  await run.append(0, events, "synced");
  return run;
}

function indexOf(type: string, nth = 1): number {
  let seen = 0;
  return spine.findIndex((event) => event.type === type && ++seen === nth);
}

function everything(): unknown {
  return {
    runs: views.runs({ limit: 100 }),
    approvals: views.approvals(),
    questions: views.questions(),
    checkpoints: views.runs({ limit: 100 }).items.map(({ run }) => views.checkpoints(run)),
    request: views.byRequestId("request-1"),
  };
}

test("a run's view follows its journal, event by event, and always fits its schema", async () => {
  const run = await journal.create(SPINE_RUN);
  const statuses: string[] = [];
  for (const event of spine) {
    await run.append(run.seq, [event], "written");
    const view = views.run(SPINE_RUN);
    expect(RunView.parse(view)).toEqual(view);
    expect([view?.seq, view?.head]).toEqual([run.seq, run.head]);
    if (view && statuses.at(-1) !== view.status) statuses.push(view.status);
    for (const approval of views.approvals()) expect(ApprovalView.parse(approval)).toEqual(approval);
    for (const question of views.questions()) expect(QuestionView.parse(question)).toEqual(question);
    for (const one of views.checkpoints(SPINE_RUN)) expect(CheckpointView.parse(one)).toEqual(one);
  }
  expect(statuses.slice(0, 4)).toEqual(["queued", "starting", "running", "waiting"]);
  expect(statuses).toContain("interrupted");
  expect(statuses.at(-1)).toBe("completed");
  expect(views.run(SPINE_RUN)).toMatchObject({
    endedAt: expect.any(String),
    policy: { name: "coding", hash: "6".repeat(64) },
  });
});

test("C1: usage sums over every branch; a rewind takes back neither it nor approvals", async () => {
  const until = indexOf("run.rewound");
  const run = await spineRun(spine.slice(0, until));
  const before = { usage: views.run(SPINE_RUN)?.usage, approvals: views.approvals().length };
  expect(before.usage?.inputTokens).toBe(1001 + 1002 + 1003 + 1004);
  expect(before.usage?.costUsd).toBeCloseTo(0.04);
  await run.append(run.seq, spine.slice(until, until + 1), "synced");
  expect({ usage: views.run(SPINE_RUN)?.usage, approvals: views.approvals().length }).toEqual(before);
});

test("an approval is pending until decided; a revoked one says so", async () => {
  const asked = indexOf("approval.requested") + 1;
  const run = await spineRun(spine.slice(0, asked));
  const id = `${SPINE_RUN}.a5`;
  expect(views.run(SPINE_RUN)).toMatchObject({ status: "waiting", waitingFor: id });
  expect(views.approvals()).toMatchObject([{ id, action: "a5", tool: "bash" }]);
  await run.append(run.seq, spine.slice(asked, indexOf("approval.revoked") + 1), "synced");
  expect(views.approval(id)).toMatchObject({ decision: { decision: "allow", by: "person" } });
  expect(views.approval(`${SPINE_RUN}.a9`)).toMatchObject({ revoked: true });
  await run.append(run.seq, spine.slice(indexOf("approval.revoked") + 1), "synced");
  expect(views.approvals()).toEqual([]);
  expect(views.approval(id)).toBeDefined();
  expect(views.approval(`${SPINE_RUN}.a99`)).toBeUndefined();
  expect(views.approval("nonsense")).toBeUndefined();
});

test("a rewind abandons what was asked and not answered", async () => {
  const run = await spineRun(spine.slice(0, indexOf("approval.requested", 2) + 1));
  expect(views.approvals()[0]).toMatchObject({ id: `${SPINE_RUN}.a9` });
  const rewound = spine[indexOf("run.rewound")];
  if (rewound) await run.append(run.seq, [rewound], "synced");
  expect(views.approvals().map(({ id, decision }) => [id, decision?.decision])).toEqual([
    [`${SPINE_RUN}.a5`, "allow"],
  ]);
  expect(views.run(SPINE_RUN)?.status).not.toBe("waiting");
});

test("a question makes the run wait until it is answered", async () => {
  const asked = indexOf("question.asked") + 1;
  const run = await spineRun(spine.slice(0, asked));
  const id = `${SPINE_RUN}.a7`;
  expect(views.run(SPINE_RUN)).toMatchObject({ status: "waiting", waitingFor: id });
  expect(views.questions()).toMatchObject([{ id, options: ["yes", "no"] }]);
  await run.append(run.seq, spine.slice(asked, asked + 1), "synced");
  expect(views.run(SPINE_RUN)?.status).toBe("running");
  expect(views.questions()).toMatchObject([{ id, answer: "no" }]);
});

test("a request id leads to its run", async () => {
  expect(views.byRequestId("request-1")).toBeUndefined();
  await spineRun();
  expect(views.byRequestId("request-1")).toEqual({ run: SPINE_RUN, digest: "4".repeat(64) });
});

test("J5: views are the same after a start with the cache, without it, and with a damaged one", async () => {
  await spineRun();
  const other = newRunId();
  await (await journal.create(other)).append(0, [submitted(other)], "synced");
  const expected = everything();
  await stop();
  await start();
  expect(everything()).toEqual(expected);
  await stop();
  await rm(catalogue());
  await start();
  expect(everything()).toEqual(expected);
  await stop();
  const text = await readFile(catalogue(), "utf8");
  expect(text).toContain(SPINE_RUN);
  for (const damaged of ["", "{", text.replace("completed", "cancelled"), text.slice(0, -5), `${text} `]) {
    await writeFile(catalogue(), damaged);
    await start();
    expect(everything()).toEqual(expected);
    await stop();
  }
  await start();
  expect(failures).toEqual([]);
});

test("J5: a cache that is older than a journal is brought up to date", async () => {
  const reclaimed = indexOf("checkpoint.reclaimed");
  const run = await spineRun(spine.slice(0, reclaimed));
  await views.close();
  const old = await readFile(catalogue(), "utf8");
  await run.append(run.seq, spine.slice(reclaimed), "synced");
  await journal.close();
  await writeFile(catalogue(), old);
  await start();
  expect(views.run(SPINE_RUN)?.seq).toBe(spine.length);
  expect(views.checkpoints(SPINE_RUN).map(({ id, reclaimed: gone }) => [id, gone])).toEqual([
    ["c1", true],
    ["c2", false],
    ["c3", false],
    ["c4", false],
  ]);
});

test("J5: a cache of another run under the same id is not believed", async () => {
  await spineRun();
  await stop();
  const old = await readFile(catalogue(), "utf8");
  await start();
  await journal.remove(SPINE_RUN);
  await spineRun([...spine, { type: "checkpoint.skipped", data: { at: 1, reason: "x" } }]);
  await stop();
  await writeFile(catalogue(), old);
  await start();
  expect(views.run(SPINE_RUN)?.seq).toBe(spine.length + 1);
});

test("J4: a damaged journal is shown as failed; other runs are not touched", async () => {
  await spineRun();
  const other = newRunId();
  await (await journal.create(other)).append(0, [submitted(other)], "synced");
  await stop();
  await rm(catalogue());
  await appendFile(join(home, "runs", SPINE_RUN, "journal.ndjson"), "not a line\n");
  await start();
  expect(views.run(SPINE_RUN)).toMatchObject({
    status: "failed",
    seq: spine.length,
    failure: { code: "journal_damaged", reason: expect.stringContaining(`seq ${spine.length + 1}`) },
  });
  expect(views.run(other)?.status).toBe("queued");
  await writeFile(join(home, "runs", SPINE_RUN, "journal.ndjson"), "nothing of it is whole\n");
  await views.refresh(SPINE_RUN);
  const view = views.run(SPINE_RUN);
  expect(RunView.parse(view)).toMatchObject({ status: "failed", createdAt: expect.stringMatching(/^2025/) });
});

test("a removed run is gone from every view and from the cache", async () => {
  const run = await spineRun();
  await run.close();
  await journal.remove(SPINE_RUN);
  expect(everything()).toMatchObject({ runs: { items: [] }, approvals: [], questions: [] });
  expect(views.byRequestId("request-1")).toBeUndefined();
  await views.flush();
  expect(await readFile(catalogue(), "utf8")).not.toContain(SPINE_RUN);
});

test("a run owns the blobs that its journal names, and no others", async () => {
  const run = await spineRun();
  const [hash = ""] = await readdir(join(home, "blobs")).then((shelves) =>
    Promise.all(shelves.map(async (shelf) => (await readdir(join(home, "blobs", shelf)))[0] ?? "")),
  );
  expect(hash).toHaveLength(64);
  expect(await views.ownsBlob(SPINE_RUN, hash)).toBe(true);
  expect(await views.ownsBlob(SPINE_RUN, "5".repeat(64))).toBe(true);
  expect(await views.ownsBlob(SPINE_RUN, "a".repeat(64))).toBe(false);
  expect(await views.ownsBlob(newRunId(), hash)).toBe(false);
  const other = newRunId();
  const thief = await journal.create(other);
  const { workspace: _, ...theirs } = submitted(other).data as { workspace?: string };
  const input = { blob: hash, bytes: 1, preview: "" };
  await thief.append(
    0,
    [
      { type: "run.submitted", data: theirs } as NewEvent,
      { type: "action.proposed", data: { action: "a1", turn: 1, tool: "bash", input } },
      { type: "message.received", data: { text: `"blob":"${hash}"` } },
    ],
    "synced",
  );
  expect(await views.ownsBlob(other, hash)).toBe(false);
  const long = "y".repeat(20_000);
  await run.append(run.seq, [{ type: "message.received", data: { text: long } }], "synced");
  expect(await views.ownsBlob(SPINE_RUN, sha256(long))).toBe(true);
});

test("a fork owns the blobs that its history names, also when its parent is removed", async () => {
  const parent = await spineRun();
  const long = "z".repeat(20_000);
  await parent.append(parent.seq, [{ type: "message.received", data: { text: long } }], "synced");
  const blobs = await openFileBlobs({ home });
  const history = await storeHistory({ journal, blobs }, SPINE_RUN, undefined, parent.seq);
  const child = newRunId();
  const fork = await journal.create(child);
  const { workspace: _, ...data } = submitted(child).data as { workspace?: string };
  await fork.append(0, [{ type: "run.submitted", data: { ...data, history } } as NewEvent], "synced");
  await parent.close();
  await journal.remove(SPINE_RUN);
  for (const hash of [history.blob, sha256(long), "5".repeat(64)])
    expect(await views.ownsBlob(child, hash)).toBe(true);
  expect(await views.ownsBlob(child, "a".repeat(64))).toBe(false);
});

test("a race goes on behind its run's end, and over a restart, until it has ended", async () => {
  const run = await spineRun();
  const at = { race: "r1", at: 3, checkpoint: "c1" };
  const begun: NewEvent = { type: "race.started", data: { ...at, branches: [], limits: {} } };
  await run.append(run.seq, [begun], "synced");
  expect(views.racing()).toEqual([SPINE_RUN]);
  await run.close();
  await stop();
  await start();
  expect(views.racing()).toEqual([SPINE_RUN]);
  const { journal: again } = await journal.open(SPINE_RUN);
  await again.append(again.seq, [{ type: "race.ended", data: { race: "r1", branches: [] } }], "synced");
  expect(views.racing()).toEqual([]);
  expect(views.run(SPINE_RUN)?.status).toBe("completed");
  await again.close();
});

test("lists page from newest to oldest, by status, with an opaque cursor", async () => {
  const runs = Array.from({ length: 25 }, (_, index) => newRunId({ msecs: 1_700_000_000_000 + index }));
  for (const run of runs) await (await journal.create(run)).append(0, [submitted(run)], "written");
  const seen: string[] = [];
  let cursor: string | undefined;
  do {
    const page = views.runs({ limit: 10, ...(cursor ? { cursor } : {}) });
    seen.push(...page.items.map((view) => view.run));
    cursor = page.next;
  } while (cursor);
  expect(seen).toEqual([...runs].reverse());
  expect(views.runs({ limit: 25 }).next).toBeUndefined();
  expect(views.runs({ limit: 10, status: new Set(["completed"]) }).items).toEqual([]);
  expect(views.runs({ limit: 99, status: new Set(["queued"]) }).items).toHaveLength(25);
  expect(() => views.runs({ limit: 10, cursor: "???" })).toThrow("start over without a cursor");
});

test("the cache is private to the user", async () => {
  await spineRun();
  await views.flush();
  expect((await stat(catalogue())).mode & 0o777).toBe(0o600);
});

test("a cache that can't be written is no reason to stop", async () => {
  await stop();
  const folder = join(home, "folder");
  await writeFile(folder, "a file where the cache wants a folder");
  journal = await openFileJournal({ home, clock: systemClock });
  views = await createViews({
    journal,
    blobs: await openFileBlobs({ home }),
    file: join(folder, "catalog.json"),
    failed: (error) => failures.push(error),
  });
  await spineRun();
  await views.flush();
  expect(failures).toHaveLength(1);
  expect(views.run(SPINE_RUN)?.status).toBe("completed");
});
