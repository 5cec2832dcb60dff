import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { StreamLimits } from "../../daemon/sockets/limits.ts";
import { startDaemon, type TestDaemon } from "../http/daemon.ts";
import { messages, RUN, UNKNOWN_RUN } from "../http/doubles.ts";
import { Client } from "./client.ts";

const OTHER = RUN.replace("1e01", "1e02");
let daemon: TestDaemon;
async function start(limits: Partial<StreamLimits> = {}): Promise<void> {
  daemon = await startDaemon({ limits });
  daemon.journal.append(RUN, messages(20));
}
beforeEach(() => start());
afterEach(async () => {
  await daemon.stop();
  expect(daemon.sockets).toBe(0);
  expect(daemon.journal.listeners).toBe(0);
  expect(daemon.harness.listeners).toBe(0);
});

async function restart(limits: Partial<StreamLimits>): Promise<void> {
  await daemon.stop();
  await start(limits);
}
const ofTypes = (client: Client) => client.frames.map(({ type }) => type);
const seqs = (client: Client, run = RUN) => client.events(run).map(({ seq }) => seq);
const from = (first: number, last: number) =>
  Array.from({ length: last - first + 1 }, (_, index) => first + index);

describe("W1: replay, then follow", () => {
  it("says hello, replays, is caught up once, follows", async () => {
    const client = await Client.open(daemon.port);
    client.subscribe(RUN, 15);
    await client.until((frames) => frames.some(({ type }) => type === "caught-up"));
    daemon.journal.append(RUN, messages(2, 20));
    await client.until((frames) => frames.length === 9);
    expect(ofTypes(client)).toEqual(["hello", ...Array(5).fill("event"), "caught-up", "event", "event"]);
    expect(client.frames[0]).toEqual({ type: "hello", protocol: 1 });
    expect(client.ofType("caught-up")).toEqual([{ type: "caught-up", run: RUN, seq: 20 }]);
    expect(seqs(client)).toEqual(from(16, 22));
    await client.close();
  });

  it("carries the event exactly as in the journal", async () => {
    const client = await Client.open(daemon.port);
    client.subscribe(RUN);
    await client.until((frames) => frames.length === 22);
    const [first] = daemon.journal.append(RUN, messages(1, 20));
    await client.until((frames) => frames.length === 23);
    const lines = daemon.journal.events(RUN).map((event) => daemon.journal.lineOf(event));
    const frames = client.texts.filter((text) => text.startsWith('{"type":"event"'));
    expect(frames).toEqual(lines.map((line) => `{"type":"event","run":"${RUN}","event":${line}}`));
    expect(first?.seq).toBe(21);
    await client.close();
  });

  it("at the head: caught up at once", async () => {
    const client = await Client.open(daemon.port);
    client.subscribe(RUN, 20);
    await client.until((frames) => frames.length === 2);
    expect(client.frames[1]).toEqual({ type: "caught-up", run: RUN, seq: 20 });
    await client.close();
  });

  it("two watchers, one of which reconnects forty times, end with the same events while appends go on", async () => {
    const total = 2_000;
    const steady = await Client.open(daemon.port);
    steady.subscribe(RUN);
    const collected: unknown[] = [];
    let appended = 20;
    const append = () => {
      if (appended >= total) return;
      const count = Math.min(total - appended, 1 + (appended % 7));
      daemon.journal.append(RUN, messages(count, appended));
      appended += count;
      setImmediate(append);
    };
    append();
    for (let round = 1; round <= 40; round++) {
      const client = await Client.open(daemon.port);
      client.subscribe(RUN, collected.length);
      const wanted = round === 40 ? total - collected.length : Math.min(10, total - collected.length);
      await client.until(() => client.events().length >= wanted);
      const dropped = round % 2 === 0;
      if (dropped) client.socket.terminate();
      else await client.close();
      collected.push(...client.events());
    }
    await steady.until(() => steady.events().length >= total);
    expect(collected).toEqual(daemon.journal.events(RUN));
    expect(steady.events()).toEqual(collected);
    expect(steady.ofType("caught-up")).toHaveLength(1);
    await steady.close();
  });

  it("goes on by seq after a daemon restart (1012)", async () => {
    const { journal } = daemon;
    const first = await Client.open(daemon.port);
    first.subscribe(RUN);
    await first.until((frames) => frames.some(({ type }) => type === "caught-up"));
    await daemon.stop();
    expect(await first.closed).toBe(1012);
    journal.append(RUN, messages(3, 20));
    daemon = await startDaemon({ journal });
    const second = await Client.open(daemon.port);
    second.subscribe(RUN, 20);
    await second.until((frames) => frames.some(({ type }) => type === "caught-up"));
    expect([...seqs(first), ...seqs(second)]).toEqual(from(1, 23));
    await second.close();
  });

  it("several runs on one socket; unsubscribing ends one", async () => {
    daemon.journal.append(OTHER, messages(3));
    const client = await Client.open(daemon.port);
    client.subscribe(RUN);
    client.subscribe(OTHER);
    await client.until(() => client.ofType("caught-up").length === 2);
    client.send({ type: "unsubscribe", run: OTHER });
    client.subscribe(UNKNOWN_RUN);
    await client.until(() => client.ofType("error").length === 1);
    daemon.journal.append(OTHER, messages(1, 3));
    daemon.journal.append(RUN, messages(1, 20));
    await client.until(() => client.events(RUN).length === 21);
    expect(seqs(client, OTHER)).toEqual([1, 2, 3]);
    await client.close();
  });

  it("a run appended to in the tick of subscribing has no gap", async () => {
    for (let round = 0; round < 20; round++) {
      const client = await Client.open(daemon.port);
      client.subscribe(RUN);
      const read = client.until((frames) => frames.length > round);
      daemon.journal.append(RUN, messages(3));
      await read;
      daemon.journal.append(RUN, messages(5));
      const total = daemon.journal.seqOf(RUN);
      await client.until(() => client.events().length >= total && client.ofType("caught-up").length === 1);
      expect(seqs(client)).toEqual(from(1, total));
      await client.close();
    }
  });
});

describe('the feed of all runs ("*")', () => {
  it("has new events of every run, old and new, and no live output", async () => {
    const client = await Client.open(daemon.port);
    client.subscribe("*");
    client.subscribe(UNKNOWN_RUN);
    await client.until(() => client.ofType("error").length === 1);
    daemon.journal.append(RUN, messages(1, 20));
    daemon.harness.live({ type: "live", run: RUN, stream: "text", data: "x" });
    daemon.journal.append(OTHER, messages(1));
    await client.until(() => client.events().length === 2);
    expect(client.ofType("event").map(({ run, event }) => [run, event.seq])).toEqual([
      [RUN, 21],
      [OTHER, 1],
    ]);
    expect(ofTypes(client)).not.toContain("live");
    await client.close();
  });

  it("doesn't repeat what a subscription of the same socket gives", async () => {
    const client = await Client.open(daemon.port);
    client.subscribe("*");
    client.subscribe(RUN);
    await client.until(() => client.ofType("caught-up").length === 1);
    daemon.journal.append(RUN, messages(1, 20));
    daemon.journal.append(OTHER, messages(1));
    await client.until(() => client.events(OTHER).length === 1);
    expect(seqs(client)).toEqual(from(1, 21));
    await client.close();
  });

  it("has no cursor: one is refused, and the socket stays", async () => {
    const client = await Client.open(daemon.port);
    client.subscribe("*", 3);
    await client.until(() => client.ofType("error").length === 1);
    expect(client.ofType("error")[0]).toMatchObject({ code: "invalid_request", run: "*" });
    await client.close();
  });
});

describe("live output", () => {
  it("goes to who has caught up with the run, unnumbered", async () => {
    const [near, far] = [await Client.open(daemon.port), await Client.open(daemon.port)];
    near.subscribe(RUN);
    daemon.journal.append(OTHER, messages(1));
    far.subscribe(OTHER);
    await Promise.all([near, far].map((one) => one.until(() => one.ofType("caught-up").length === 1)));
    const frame = {
      type: "live",
      run: RUN,
      action: "a1",
      stream: "stdout",
      data: "3 passed\n\u0000",
    } as const;
    daemon.harness.live(frame);
    await near.until(() => near.ofType("live").length === 1);
    expect(near.ofType("live")).toEqual([frame]);
    expect(ofTypes(far)).not.toContain("live");
    await Promise.all([near.close(), far.close()]);
  });
});

describe("errors that leave the socket open", () => {
  it.each([
    ["an unknown run", { type: "subscribe", run: UNKNOWN_RUN, after: 0 }, "unknown_run"],
    ["what is no run id", { type: "subscribe", run: "nope" }, "unknown_run"],
    ["after past the head", { type: "subscribe", run: RUN, after: 21 }, "after_past_head"],
    [
      "after far past the head",
      { type: "subscribe", run: RUN, after: 9_007_199_254_740_991 },
      "after_past_head",
    ],
  ])("%s", async (_name, frame, code) => {
    const client = await Client.open(daemon.port);
    client.send(frame);
    await client.until(() => client.ofType("error").length === 1);
    expect(client.ofType("error")[0]).toMatchObject({ code, run: frame.run });
    client.subscribe(RUN, 19);
    await client.until(() => client.ofType("caught-up").length === 1);
    await client.close();
  });

  it("a run that is deleted while it is watched", async () => {
    const client = await Client.open(daemon.port);
    client.subscribe(RUN, 19);
    await client.until(() => client.ofType("caught-up").length === 1);
    daemon.journal.remove(RUN);
    await client.until(() => client.ofType("error").length === 1);
    expect(client.ofType("error")[0]).toMatchObject({ code: "unknown_run", run: RUN });
    await client.close();
  });

  it("more subscriptions than a socket takes", async () => {
    await restart({ subscriptions: 2 });
    const client = await Client.open(daemon.port);
    for (let index = 1; index <= 3; index++) {
      const run = RUN.replace("1e01", `2e0${index}`);
      daemon.journal.append(run, messages(1));
      client.subscribe(run);
    }
    await client.until(() => client.ofType("error").length === 1);
    expect(client.ofType("error")[0]).toMatchObject({ code: "too_many_requests" });
    await client.close();
  });
});

describe("bad frames close with 4400", () => {
  it.each([
    "",
    "hello",
    "null",
    "[]",
    "7",
    '{"type":"subscribe"}',
    '{"type":"subscribe","run":7}',
    `{"type":"subscribe","run":"${RUN}","after":-1}`,
    `{"type":"subscribe","run":"${RUN}","after":1.5}`,
    `{"type":"subscribe","run":"${RUN}","after":"1"}`,
    `{"type":"subscribe","run":"${RUN}","surprise":1}`,
    '{"type":"cancel","run":"*"}',
    "[".repeat(60_000),
  ])("%s", async (text) => {
    const client = await Client.open(daemon.port);
    client.send(text);
    expect(await client.closed).toBe(4400);
  });

  it("a binary frame too, and one of over 64 KiB, whatever it holds; one beyond 1 MiB is 1009", async () => {
    const binary = await Client.open(daemon.port);
    binary.socket.send(Buffer.from('{"type":"subscribe","run":"*"}'), { binary: true });
    expect(await binary.closed).toBe(4400);
    for (const bytes of [64 * 1024 + 1, 1024 * 1024]) {
      const large = await Client.open(daemon.port);
      large.send('{"type":"subscribe","run":"*"}'.padEnd(bytes));
      expect([bytes, await large.closed]).toEqual([bytes, 4400]);
    }
    const fits = await Client.open(daemon.port);
    fits.send(`{"type":"subscribe","run":"${RUN}"}`.padEnd(64 * 1024));
    await fits.until((frames) => frames.length > 1);
    await fits.close();
    const huge = await Client.open(daemon.port);
    huge.send("x".repeat(1024 * 1024 + 1));
    expect(await huge.closed).toBe(1009);
  });
});

describe("bounds", () => {
  it("sockets in all: one more is refused before the upgrade", async () => {
    await restart({ sockets: 2 });
    const two = [await Client.open(daemon.port), await Client.open(daemon.port)];
    const third = new Client(daemon.port);
    const status = await new Promise((resolve) =>
      third.socket.once("unexpected-response", (_request, response) => resolve(response.statusCode)),
    );
    expect(status).toBe(429);
    third.socket.terminate();
    await Promise.all(two.map((one) => one.close()));
  });

  it("another path is 404 before the upgrade", async () => {
    const response = await daemon.call("GET", "/v1/streams", { headers: {} });
    expect(response.status).toBe(404);
  });

  it("a peer that doesn't answer pings is cut", async () => {
    await restart({ pingMs: 20 });
    const client = await Client.open(daemon.port);
    client.socket.pong = () => undefined;
    client.socket.removeAllListeners("ping");
    client.socket.pause();
    client.socket.once("close", () => undefined);
    while (daemon.sockets > 0) await new Promise((resolve) => setImmediate(resolve));
    client.socket.terminate();
  });
});
