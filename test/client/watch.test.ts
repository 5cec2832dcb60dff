import { connect, createServer, type Server } from "node:net";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { WebSocketServer } from "ws";
import type { Watched } from "../../client/api/watch.ts";
import { startDaemon, type TestDaemon } from "../http/daemon.ts";
import { MemoryJournal, messages, RUN, UNKNOWN_RUN } from "../http/doubles.ts";
import { clientOf } from "./support.ts";

let daemon: TestDaemon;
let journal: MemoryJournal;
beforeEach(async () => {
  journal = new MemoryJournal();
  journal.append(RUN, messages(20));
  daemon = await startDaemon({ journal });
});
afterEach(() => daemon.stop());

/** Watches until `done`, then leaves the loop. */
async function collect(watched: AsyncIterable<Watched>, done: (seen: readonly Watched[]) => boolean) {
  const seen: Watched[] = [];
  for await (const one of watched) {
    seen.push(one);
    if (done(seen)) break;
  }
  return seen;
}
const seqs = (seen: readonly Watched[]) =>
  seen.flatMap((one) => (one.kind === "event" ? [one.event.seq] : []));
const from = (first: number, last: number) =>
  Array.from({ length: last - first + 1 }, (_, index) => first + index);

describe("W1: watch", () => {
  it("replays, is caught up, follows, shows live output, and closes its socket when left", async () => {
    const seen = await collect(clientOf(daemon.port).watch(RUN, 15), (all) => {
      const last = all.at(-1);
      if (last?.kind === "caught-up") {
        daemon.harness.live({ type: "live", run: RUN, action: "a1", stream: "stdout", data: "x" });
        journal.append(RUN, messages(1));
      }
      return seqs(all).at(-1) === 21;
    });
    expect(seen.map(({ kind }) => kind)).toEqual([...Array(5).fill("event"), "caught-up", "live", "event"]);
    expect(seqs(seen)).toEqual(from(16, 21));
    expect(seen[6]).toEqual({ kind: "live", run: RUN, action: "a1", stream: "stdout", data: "x" });
    while (daemon.sockets > 0) await new Promise((resolve) => setImmediate(resolve));
  });

  it("goes on by seq over daemon restarts, each event once, caught up once", async () => {
    const { port } = daemon;
    let restarts = 0;
    let restarting: Promise<void> = Promise.resolve();
    const restart = async () => {
      await daemon.stop();
      journal.append(RUN, messages(3));
      daemon = await startDaemon({ journal, port });
    };
    const seen = await collect(clientOf(port).watch(RUN, 0), (all) => {
      const last = all.at(-1);
      if (
        restarts < 5 &&
        (last?.kind === "caught-up" || (last?.kind === "event" && last.event.seq === 20 + 3 * restarts))
      ) {
        if (all.some(({ kind }) => kind === "caught-up")) {
          restarts++;
          restarting = restart();
        }
      }
      return seqs(all).at(-1) === 35;
    });
    await restarting;
    expect(seqs(seen)).toEqual(from(1, 35));
    expect(seen.filter(({ kind }) => kind === "caught-up")).toHaveLength(1);
    expect(seen.filter(({ kind }) => kind === "reconnecting").length).toBeGreaterThanOrEqual(5);
  });

  it("goes on after meeting a daemon that is stopping", async () => {
    const { port } = daemon;
    let met = false;
    const seen = await collect(clientOf(port).watch(RUN, 0), (all) => {
      const last = all.at(-1);
      if (last?.kind === "caught-up") void daemon.stopStream();
      if (last?.kind === "reconnecting" && last.reason.includes("stopping") && !met) {
        met = true;
        void daemon.stop().then(async () => {
          journal.append(RUN, messages(1));
          daemon = await startDaemon({ journal, port });
        });
      }
      return seqs(all).at(-1) === 21;
    });
    expect(met).toBe(true);
    expect(seqs(seen)).toEqual(from(1, 21));
  });

  it("survives a network that cuts it off at any byte", async () => {
    const proxy = await cuttingProxy(daemon.port);
    const append = async () => {
      for (let index = 0; index < 100; index++) {
        journal.append(RUN, messages(2));
        await new Promise((resolve) => setImmediate(resolve));
      }
    };
    const appending = append();
    const seen = await collect(clientOf(proxy.port).watch(RUN, 0), (all) => seqs(all).at(-1) === 220);
    await appending;
    expect(seqs(seen)).toEqual(from(1, 220));
    expect(seen.filter(({ kind }) => kind === "reconnecting").length).toBeGreaterThan(5);
    await proxy.close();
  });

  it("a reader that is slow gets everything, through the cut-off too", async () => {
    await daemon.stop();
    daemon = await startDaemon({
      journal,
      limits: { graceMs: 50, goodbyeMs: 20, highBytes: 65_536, lowBytes: 16_384 },
    });
    journal.append(RUN, messages(3_000, 0, "x".repeat(10_000)));
    const seen: number[] = [];
    let reconnected = 0;
    for await (const one of clientOf(daemon.port).watch(RUN, 0)) {
      if (one.kind === "reconnecting") reconnected++;
      if (one.kind === "event") seen.push(one.event.seq);
      if (seen.length === 200 && reconnected === 0)
        while (daemon.sockets > 0) await new Promise((resolve) => setImmediate(resolve));
      if (seen.length === 3_020) break;
    }
    expect(seen).toEqual(from(1, 3_020));
    expect(reconnected).toBeGreaterThanOrEqual(1);
  });
});

describe("W1: a stream that repeats itself, skips, or says what nobody knows", () => {
  it("is made whole: each event once, in order, caught up once", async () => {
    const server = new WebSocketServer({ host: "127.0.0.1", port: 0 });
    await new Promise((resolve) => server.once("listening", resolve));
    const event = (seq: number) => ({ type: "event", run: RUN, event: { seq, type: "future.event" } });
    const caughtUp = { type: "caught-up", run: RUN, seq: 2 };
    const scripts = [
      [event(1), event(1), { type: "future" }, event(2), caughtUp, event(4)],
      [event(1), event(2), event(3), caughtUp, { ...event(4), run: UNKNOWN_RUN }, event(4), event(5)],
    ];
    const asked: unknown[] = [];
    server.on("connection", (socket) => {
      socket.on("message", (data) => {
        asked.push(JSON.parse(String(data)));
        for (const frame of scripts.shift() ?? []) socket.send(JSON.stringify(frame));
      });
    });
    const { port } = server.address() as { port: number };
    const seen = await collect(clientOf(port).watch(RUN, 0), (all) => seqs(all).at(-1) === 5);
    expect(seen.map(({ kind }) => kind)).toEqual([
      "event",
      "event",
      "caught-up",
      "reconnecting",
      "event",
      "event",
      "event",
    ]);
    expect(seqs(seen)).toEqual([1, 2, 3, 4, 5]);
    expect(asked).toEqual([0, 2].map((after) => ({ type: "subscribe", run: RUN, after })));
    await new Promise((resolve) => server.close(resolve));
  });
});

describe("the feed", () => {
  it("shows new events of all runs", async () => {
    const other = RUN.replace("1e01", "1e02");
    const feed = clientOf(daemon.port).watchAll()[Symbol.asyncIterator]();
    const first = feed.next();
    while (daemon.sockets === 0) await new Promise((resolve) => setImmediate(resolve));
    const appending = setInterval(() => journal.append(other, messages(1)), 5);
    expect((await first).value).toMatchObject({ kind: "event", run: other });
    clearInterval(appending);
    await feed.return?.(undefined);
  });
});

describe("what can't go on is thrown; what is asked to stop, stops", () => {
  const first = (watched: AsyncIterable<Watched>) => collect(watched, () => true);

  it.each([
    ["an unknown run", UNKNOWN_RUN, 0, "unknown_run"],
    ["after past the head", RUN, 21, "after_past_head"],
  ])("%s", async (_name, run, after, code) => {
    await expect(first(clientOf(daemon.port).watch(run, after))).rejects.toMatchObject({ code });
  });

  it("a wrong token", async () => {
    const watched = clientOf(daemon.port, { token: "wrong" }).watch(RUN);
    await expect(first(watched)).rejects.toMatchObject({ code: "unauthorised" });
  });

  it("no daemon at all; and one that is gone for longer than patience", async () => {
    await expect(first(clientOf(1).watch(RUN))).rejects.toMatchObject({ name: "DaemonUnreachable" });
    const watched = collect(clientOf(daemon.port).watch(RUN, 0, { patienceMs: 300 }), (all) => {
      if (all.at(-1)?.kind === "caught-up") void daemon.stop();
      return false;
    });
    await expect(watched).rejects.toMatchObject({ name: "DaemonUnreachable" });
    daemon = await startDaemon({ journal });
  });

  it("an abort ends the loop at once, also while it waits to reconnect", async () => {
    const abort = new AbortController();
    const seen = await collect(clientOf(daemon.port).watch(RUN, 0, { signal: abort.signal }), (all) => {
      const last = all.at(-1);
      if (last?.kind === "caught-up") void daemon.stop();
      if (last?.kind === "reconnecting") abort.abort();
      return false;
    });
    expect(seen.at(-1)?.kind).toBe("reconnecting");
    daemon = await startDaemon({ journal });
  });
});

/** Passes bytes on and cuts each connection after a few more of them than the last. */
async function cuttingProxy(to: number): Promise<{ port: number; close(): Promise<void> }> {
  let passed = 0;
  const server: Server = createServer((near) => {
    passed += 1_777;
    let left = passed;
    const far = connect(to, "127.0.0.1");
    near.on("data", (chunk) => far.write(chunk.toString("latin1").replace(`:${port}`, `:${to}`), "latin1"));
    far.on("data", (chunk) => {
      near.write(chunk.subarray(0, left));
      left -= chunk.length;
      if (left <= 0) near.destroySoon();
    });
    for (const [one, other] of [
      [near, far],
      [far, near],
    ] as const)
      one.on("error", () => undefined).on("close", () => other.destroySoon());
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as { port: number };
  return { port, close: () => new Promise((resolve) => server.close(() => resolve())) };
}
