/** Connections through the runner's proxy port, with a plain runner on this machine's own loopback. */
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import type { Duplex } from "node:stream";
import { pipeline } from "node:stream/promises";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import type { RunnerChannel } from "../../daemon/sandbox/runner-channel.ts";
import { CONNECTIONS_MAX, encodeFrame, FrameType } from "../../daemon/sandbox/runner-frames.ts";
import { all, ending, pattern } from "./connection-ends.ts";
import { buildRunner, HeldRunner, run, shell, spec } from "./runner-fixture.ts";

const MIB = 1024 * 1024;

let built: Awaited<ReturnType<typeof buildRunner>>;
let runner: HeldRunner;
let channel: RunnerChannel;
const clients: Socket[] = [];
beforeAll(async () => {
  built = await buildRunner();
});
afterAll(() => built.remove());
beforeEach(async () => {
  runner = new HeldRunner(built.program, { port: 0 });
  channel = await runner.open();
});
afterEach(async () => {
  for (const client of clients.splice(0)) client.destroy();
  channel.close();
  await runner.stop();
});

/** A command's socket; connected only soon. */
function dialling(): Socket {
  const client = connect({ port: channel.facts.proxyPort, host: "127.0.0.1", allowHalfOpen: true });
  client.on("error", () => undefined);
  clients.push(client);
  return client;
}

async function dial(): Promise<Socket> {
  const client = dialling();
  await once(client, "connect");
  return client;
}

/** The daemon's end of each connection from now on, in the order in which they were made. */
function accepted(): { next(): Promise<Duplex> } {
  const waiting: Duplex[] = [];
  const wanted: ((connection: Duplex) => void)[] = [];
  channel.onConnection((connection) => {
    const give = wanted.shift();
    if (give) give(connection);
    else waiting.push(connection);
  });
  return {
    next: () =>
      new Promise((resolve) => {
        const first = waiting.shift();
        if (first) resolve(first);
        else wanted.push(resolve);
      }),
  };
}

function echo(): void {
  channel.onConnection((connection) => {
    pipeline(connection, connection).catch(() => undefined);
  });
}

describe("a connection", () => {
  it("carries bytes both ways, in order, and ends when both have ended", async () => {
    echo();
    const sent = pattern(3 * MIB + 17);
    const client = await dial();
    client.end(sent);
    expect((await all(client)).equals(sent)).toBe(true);
  });

  it("can be half closed from either side", async () => {
    const connections = accepted();
    const one = await dial();
    one.end("asked");
    const first = await connections.next();
    expect(String(await all(first))).toBe("asked");
    first.end("answered late");
    expect(String(await all(one))).toBe("answered late");

    const other = await dial();
    const second = await connections.next();
    second.end("at once");
    expect(String(await all(other))).toBe("at once");
    const closed = once(second, "close");
    other.end("asked late");
    expect(String(await all(second))).toBe("asked late");
    await closed;
  });

  it("that the command resets is reset for the daemon, and the other way round", async () => {
    const connections = accepted();
    const one = await dial();
    const first = await connections.next();
    const heard = ending(first);
    one.resetAndDestroy();
    expect(await heard).toBe("ECONNRESET");

    const other = await dial();
    const second = await connections.next();
    second.destroy();
    expect(await ending(other)).toBe("ECONNRESET");
  });

  it("that a daemon destroys amid writes settles them, and its error ends nothing else", async () => {
    const connections = accepted();
    const client = await dial();
    const connection = await connections.next();
    const written = new Promise((resolve) => connection.write(Buffer.alloc(4 * MIB), resolve));
    connection.destroy(new Error("no longer wanted"));
    expect(await written).toBeInstanceOf(Error);
    // Node itself calls a reset behind unread bytes an end.
    await ending(client);
    expect(client.bytesRead).toBeLessThan(MIB);
    await channel.ping();
  });

  it("S4: carries bytes that look like frames as bytes", async () => {
    echo();
    const forged = Buffer.concat([
      encodeFrame(FrameType.hello, 0, 1, [Buffer.alloc(18)]),
      encodeFrame(FrameType.connectionOpen, 99),
      encodeFrame(FrameType.connectionClose, 1, 1),
      encodeFrame(FrameType.helloAck, 0, 0, [Buffer.alloc(24)]),
    ]);
    const sent = Buffer.concat(Array.from({ length: 5000 }, () => forged));
    const client = await dial();
    client.end(sent);
    expect((await all(client)).equals(sent)).toBe(true);
  });

  it("S4: is not made, fed or closed by a command's output", async () => {
    const connections = accepted();
    const client = await dial();
    const connection = await connections.next();
    const bytes = Buffer.concat([
      encodeFrame(FrameType.connectionOpen, 2),
      encodeFrame(FrameType.connectionData, 1, 0, [Buffer.from("forged")]),
      encodeFrame(FrameType.connectionClose, 1, 1),
    ]);
    const ran = await run(channel, spec("a", ["cat"], { inputFd: { fd: 0, bytes } }));
    expect(ran.stdout.equals(bytes)).toBe(true);
    client.end("true");
    expect(String(await all(connection))).toBe("true");
  });
});

describe("flow control", () => {
  it("holds a command that the daemon does not read from, and nobody else", async () => {
    const connections = accepted();
    const flood = await dial();
    const unread = await connections.next();
    const before = process.memoryUsage().arrayBuffers;
    flood.write(Buffer.alloc(64 * MIB));
    // What is beyond the windows stays in the command's own socket: it never drains.
    const other = await dial();
    const read = await connections.next();
    for (let round = 0; round < 50; round += 1) {
      other.write(String(round));
      expect(String((await once(read, "data"))[0])).toBe(String(round));
    }
    const { outcome } = await run(channel, shell("a", "head -c 3000000 /dev/zero"));
    expect(outcome.stdoutBytes).toBe(3_000_000);
    expect(unread.readableLength).toBeLessThanOrEqual(MIB);
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(64 * MIB + 16 * MIB);
    expect(runner.memory.peakKiB).toBeLessThan(8 * 1024);
  });

  it("holds the daemon where a command does not read, within a window in the runner", async () => {
    const connections = accepted();
    const idle = await Promise.all(Array.from({ length: 4 }, dial));
    const held = await Promise.all(idle.map(() => connections.next()));
    const bytes = pattern(12 * MIB);
    for (const connection of held) connection.end(bytes);
    const reading = await dial();
    const fed = await connections.next();
    fed.end(bytes);
    expect((await all(reading)).equals(bytes)).toBe(true);
    await channel.ping();
    expect(runner.memory.peakKiB).toBeLessThan(4 * 256 + 8 * 1024);
    for (const client of idle) expect((await all(client)).equals(bytes)).toBe(true);
  });

  it("takes turns with output: neither waits until the other has nothing more to send", async () => {
    channel.onConnection((connection) => connection.resume());
    const flood = await dial();
    const more = (): void => void (flood.destroyed || flood.write(Buffer.alloc(MIB), more));
    more();
    expect((await run(channel, shell("a", "head -c 3000000 /dev/zero"))).stdout.length).toBe(3_000_000);
    flood.destroy();

    echo();
    const client = await dial();
    const endless = await channel.start(spec("b", ["yes"]));
    const first = endless.output[Symbol.asyncIterator]();
    await first.next();
    client.write("answered while output waits to be stored");
    await once(client, "data");
    endless.signal("SIGKILL", "tree");
  });

  it("keeps single bytes that nobody reads in no more than a window", async () => {
    const connections = accepted();
    const client = await dial();
    client.setNoDelay(true);
    const connection = await connections.next();
    for (let sent = 0; sent < 2_000; sent += 1) {
      client.write("x");
      if (sent % 100 === 0) await channel.ping();
    }
    client.end();
    expect((await all(connection)).length).toBe(2_000);
  });
});

describe("the proxy port", () => {
  it(`takes ${CONNECTIONS_MAX} connections at once, resets who comes beyond, and takes new ones when some have gone`, async () => {
    echo();
    const many = await Promise.all(Array.from({ length: CONNECTIONS_MAX }, dial));
    for (const client of many) {
      client.write("a");
      expect(String((await once(client, "data"))[0])).toBe("a");
    }
    expect(await ending(dialling())).toBe("ECONNRESET");
    const [first] = many;
    first?.end();
    if (first) expect(await ending(first)).toBe("end");
    const next = await dial();
    next.end("again");
    expect(String(await all(next))).toBe("again");
  });

  it("resets whoever connects while nobody takes connections", async () => {
    expect(await ending(dialling())).toBe("ECONNRESET");
  });

  it("A3: a new daemon's greeting resets the connections of the one before, which the daemon's end does not", async () => {
    const connections = accepted();
    const client = await dial();
    const connection = await connections.next();
    client.write("half a");
    await once(connection, "data");
    const ended = ending(client);
    runner.detach();
    const next = await runner.open();
    expect(await ended).toBe("ECONNRESET");
    channel.close();
    expect(await ending(connection)).toBe("SandboxLost");
    channel = next;
    echo();
    const again = await dial();
    again.end("served");
    expect(String(await all(again))).toBe("served");
  });

  // It takes as long as a daemon may be silent: 40 s.
  it.skipIf(!process.env.CAISSON_TEST_FULL)(
    "fails closed: what a daemon that says nothing any more held is reset, and nothing new is taken until one speaks",
    async () => {
      const connections = accepted();
      const client = await dial();
      const connection = await connections.next();
      const told = ending(connection);
      expect(await ending(client)).toBe("ECONNRESET");
      expect(await told).toBe("ECONNRESET");
      expect(await ending(dialling())).toBe("ECONNRESET");
      await channel.ping();
      echo();
      const again = await dial();
      again.end("served");
      expect(String(await all(again))).toBe("served");
    },
    120_000,
  );

  it("closing the channel resets connections at both ends", async () => {
    const connections = accepted();
    const client = await dial();
    const connection = await connections.next();
    const [ours, theirs] = [ending(connection), ending(client)];
    channel.close();
    expect(await ours).toBe("SandboxLost");
    expect(await theirs).toBe("ECONNRESET");
  });

  it("that is taken already is told, and everything else works", async () => {
    const second = new HeldRunner(built.program, { port: channel.facts.proxyPort });
    try {
      const other = await second.open();
      expect(other.facts.proxyPort).toBe(0);
      expect((await run(other, shell("a", "echo works"))).stdout.toString()).toBe("works\n");
      other.close();
    } finally {
      await second.stop();
    }
  });

  it("is no descriptor of commands, nor are connections", async () => {
    accepted();
    await dial();
    const { stdout } = await run(channel, shell("a", "ls -l /proc/self/fd"));
    expect(String(stdout)).not.toContain("socket");
  });
});
