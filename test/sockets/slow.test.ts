import { afterEach, describe, expect, it } from "vitest";
import { startDaemon, type TestDaemon } from "../http/daemon.ts";
import { MemoryJournal, messages, RUN } from "../http/doubles.ts";
import { Client } from "./client.ts";

const MiB = 1024 * 1024;
let daemon: TestDaemon;
afterEach(() => daemon.stop());

/** Resolves when the daemon has no socket left, without asking the peer. */
async function gone(): Promise<void> {
  while (daemon.sockets > 0) await new Promise((resolve) => setImmediate(resolve));
}

describe("W2: a slow subscriber", () => {
  it("that stops reading is cut off while the run goes on, and costs no memory", async () => {
    daemon = await startDaemon({ limits: { graceMs: 150, goodbyeMs: 50 } });
    const text = "x".repeat(10_000);
    daemon.journal.append(RUN, messages(1));
    const [slow, quick] = [await Client.open(daemon.port), await Client.open(daemon.port)];
    for (const client of [slow, quick]) client.subscribe(RUN);
    for (const client of [slow, quick]) await client.until(() => client.ofType("caught-up").length === 1);
    slow.socket.pause();
    const before = process.memoryUsage().arrayBuffers;
    let most = 0;
    for (let batch = 0; batch < 400; batch++) {
      daemon.journal.append(RUN, messages(10, batch * 10, text));
      await quick.until(() => quick.events().length >= 1 + (batch + 1) * 10);
      quick.texts.length = 0;
      most = Math.max(most, process.memoryUsage().arrayBuffers - before);
    }
    expect(quick.events().map(({ seq }) => seq)).toEqual(
      Array.from({ length: 4_001 }, (_, index) => index + 1),
    );
    while (daemon.sockets > 1) await new Promise((resolve) => setImmediate(resolve));
    // 40 MB were appended; what waits for the slow one is bounded by highBytes and the system's buffers.
    expect(most).toBeLessThan(16 * MiB);
    slow.socket.resume();
    expect([4408, 1006]).toContain(await slow.closed);
    const resumed = await Client.open(daemon.port);
    resumed.subscribe(RUN, slow.events().at(-1)?.seq ?? 0);
    await resumed.until(() => resumed.ofType("caught-up").length === 1);
    expect([...slow.events(), ...resumed.events()]).toEqual(daemon.journal.events(RUN));
    await Promise.all([quick.close(), resumed.close()]);
  });

  it("replay reads the journal no faster than the subscriber takes it", async () => {
    const journal = new MemoryJournal(4);
    journal.append(RUN, messages(5_000, 0, "x".repeat(10_000)));
    daemon = await startDaemon({ journal, limits: { graceMs: 100, goodbyeMs: 20, hardBytes: 1024 * MiB } });
    const client = await Client.open(daemon.port);
    client.subscribe(RUN);
    client.socket.pause();
    await gone();
    expect(journal.given).toBeLessThan(2_000);
    client.socket.terminate();
  });

  it("one that pauses shorter than the grace gets everything, once", async () => {
    daemon = await startDaemon({ limits: { graceMs: 20_000 } });
    daemon.journal.append(RUN, messages(1));
    const client = await Client.open(daemon.port);
    client.subscribe(RUN);
    await client.until(() => client.ofType("caught-up").length === 1);
    client.socket.pause();
    for (let batch = 0; batch < 200; batch++) {
      daemon.journal.append(RUN, messages(10, batch * 10, "x".repeat(10_000)));
      await new Promise((resolve) => setImmediate(resolve));
    }
    client.socket.resume();
    await client.until(() => client.events().length >= 2_001);
    expect(client.events()).toEqual(daemon.journal.events(RUN));
    expect(client.ofType("caught-up")).toHaveLength(1);
    await client.close();
  });

  it("loses live output first, and no event", async () => {
    daemon = await startDaemon({ limits: { graceMs: 20_000 } });
    daemon.journal.append(RUN, messages(1));
    const client = await Client.open(daemon.port);
    client.subscribe(RUN);
    await client.until(() => client.ofType("caught-up").length === 1);
    client.socket.pause();
    const sent = 2_000;
    for (let index = 0; index < sent; index++) {
      daemon.harness.live({ type: "live", run: RUN, stream: "stdout", data: "y".repeat(10_000) });
      if (index % 100 === 0) await new Promise((resolve) => setImmediate(resolve));
    }
    daemon.journal.append(RUN, messages(1, 1));
    client.socket.resume();
    await client.until(() => client.events().length === 2);
    expect(client.ofType("live").length).toBeLessThan(sent);
    await client.close();
  });

  it("a feed, which can't be replayed, is cut at the hard bound", async () => {
    daemon = await startDaemon({ limits: { graceMs: 60_000, goodbyeMs: 20, hardBytes: 2 * MiB } });
    const client = await Client.open(daemon.port);
    client.subscribe("*");
    client.subscribe(RUN);
    await client.until(() => client.ofType("error").length === 1);
    client.socket.pause();
    let batches = 0;
    while (daemon.sockets > 0 && batches < 5_000) {
      daemon.journal.append(RUN, messages(10, batches++ * 10, "x".repeat(10_000)));
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(daemon.sockets).toBe(0);
    client.socket.terminate();
  });
});
