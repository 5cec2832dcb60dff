/** The daemon's side of connections, with a runner that sends whatever it likes (S4), or is of an earlier version. */
import { once } from "node:events";
import { type Duplex, PassThrough } from "node:stream";
import { afterEach, describe, expect, it } from "vitest";
import { ByteQueue } from "../../daemon/sandbox/byte-queue.ts";
import { openRunnerChannel, type RunnerChannel } from "../../daemon/sandbox/runner-channel.ts";
import {
  CHUNK_MAX,
  CONNECTION_WINDOW,
  CONNECTIONS_MAX,
  encodeFrame,
  type Frame,
  FrameParser,
  FrameType,
} from "../../daemon/sandbox/runner-frames.ts";
import { u64 } from "../../daemon/sandbox/runner-messages.ts";

const OLD_VERSION = Buffer.from("0.1.0");
const VERSION = Buffer.from("0.2.0\0\x38\x0c", "latin1");

/** A runner made of two streams. */
class FakeRunner {
  readonly input = new PassThrough();
  readonly output = new PassThrough();
  readonly frames: Frame[] = [];
  readonly #parser = new FrameParser();
  #wake: () => void = () => undefined;

  constructor() {
    this.output.on("data", (bytes: Buffer) => {
      this.#parser.push(bytes);
      for (let frame = this.#parser.next(); frame; frame = this.#parser.next()) this.frames.push(frame);
      this.#wake();
    });
  }

  say(type: number, channel: number, flags = 0, payload: Uint8Array = Buffer.alloc(0)): void {
    this.input.write(encodeFrame(type, channel, flags, [payload]));
  }

  /** The first frame that fits, when it has come. */
  async heard(fits: (frame: Frame) => boolean): Promise<Frame> {
    for (;;) {
      const found = this.frames.find(fits);
      if (found) return found;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  sentOn(channel: number): number {
    return this.frames
      .filter((frame) => frame.type === FrameType.connectionData && frame.channel === channel)
      .reduce((sum, { payload }) => sum + payload.length, 0);
  }
}

let channel: RunnerChannel;
afterEach(() => channel.close());

async function greeted(version: Buffer): Promise<FakeRunner> {
  const runner = new FakeRunner();
  const opening = openRunnerChannel({ input: runner.input, output: runner.output, deadlineMs: 5_000 });
  const hello = await runner.heard((frame) => frame.type === FrameType.hello);
  expect(hello.flags).toBe(1);
  const fixed = Buffer.from([1, 0, 7, 0, 1, 0, 0, 0]);
  runner.say(FrameType.helloAck, 0, 0, Buffer.concat([hello.payload.subarray(0, 16), fixed, version]));
  channel = await opening;
  return runner;
}

/** What the runner said before has been taken when this resolves. */
async function answerPing(runner: FakeRunner): Promise<void> {
  const pong = channel.ping();
  const ping = await runner.heard((frame) => frame.type === FrameType.ping);
  runner.say(FrameType.pong, ping.channel);
  await pong;
}

/** With its first connection open. */
async function connected(): Promise<{ runner: FakeRunner; connection: Duplex }> {
  const runner = await greeted(VERSION);
  const connection = new Promise<Duplex>((resolve) => channel.onConnection(resolve));
  runner.say(FrameType.connectionOpen, 1);
  return { runner, connection: await connection };
}

describe("a runner of an earlier version", () => {
  it("is greeted as ever, and has no proxy port", async () => {
    await greeted(OLD_VERSION);
    expect(channel).toMatchObject({ runnerVersion: "0.1.0", facts: { landlock: 7, proxyPort: 0 } });
  });
});

describe("what a runner may not send closes the channel (S4)", () => {
  const data = (length: number) => encodeFrame(FrameType.connectionData, 1, 0, [Buffer.alloc(length)]);
  it.each([
    ["bytes of no connection", encodeFrame(FrameType.connectionData, 2, 0, [Buffer.from("x")])],
    ["an end of no connection", encodeFrame(FrameType.connectionClose, 0)],
    ["a number a second time", encodeFrame(FrameType.connectionOpen, 1)],
    ["too short a credit", encodeFrame(FrameType.connectionCredit, 1, 0, [Buffer.alloc(7)])],
    ["bytes after the end", Buffer.concat([encodeFrame(FrameType.connectionClose, 1), data(1)])],
    [
      "more than its window",
      Buffer.concat(Array.from({ length: CONNECTION_WINDOW / CHUNK_MAX + 1 }, () => data(CHUNK_MAX))),
    ],
  ])("%s", async (_what, bytes) => {
    const { runner, connection } = await connected();
    const ended = new Promise((resolve) => connection.once("close", resolve));
    runner.input.write(bytes);
    expect(await channel.closed).toMatch(/^The runner (sent|gave)/);
    await ended;
  });
});

describe("a connection", () => {
  it("that is gone may still be spoken of", async () => {
    const { runner, connection } = await connected();
    connection.destroy();
    await runner.heard((frame) => frame.type === FrameType.connectionClose && frame.flags === 1);
    runner.say(FrameType.connectionData, 1, 0, Buffer.from("late"));
    runner.say(FrameType.connectionCredit, 1, 0, u64(1 << 20));
    runner.say(FrameType.connectionClose, 1, 1);
    const next = new Promise<Duplex>((resolve) => channel.onConnection(resolve));
    runner.say(FrameType.connectionOpen, 2);
    runner.say(FrameType.connectionData, 2, 0, Buffer.from("new"));
    expect(String((await once(await next, "data"))[0])).toBe("new");
  });

  it("is sent no more than its credit, in chunks", async () => {
    const { runner, connection } = await connected();
    connection.write(Buffer.alloc(3 * CONNECTION_WINDOW));
    await runner.heard(() => runner.sentOn(1) === CONNECTION_WINDOW);
    expect(runner.frames.every(({ payload }) => payload.length <= CHUNK_MAX)).toBe(true);
    runner.say(FrameType.connectionCredit, 1, 0, u64(CONNECTION_WINDOW + 5));
    await runner.heard(() => runner.sentOn(1) === CONNECTION_WINDOW + 5);
    runner.say(FrameType.connectionCredit, 1, 0, u64(1));
    runner.say(FrameType.connectionCredit, 1, 0, u64(3 * CONNECTION_WINDOW));
    await runner.heard(() => runner.sentOn(1) === 3 * CONNECTION_WINDOW);
  });

  it("is granted more only as it is read", async () => {
    const { runner, connection } = await connected();
    for (let sent = 0; sent < CONNECTION_WINDOW; sent += CHUNK_MAX)
      runner.say(FrameType.connectionData, 1, 0, Buffer.alloc(CHUNK_MAX));
    const isCredit = ({ type }: Frame) => type === FrameType.connectionCredit;
    await answerPing(runner);
    expect(runner.frames.some(isCredit)).toBe(false);
    let read = 0;
    connection.on("data", (piece: Buffer) => {
      read += piece.length;
      if (read === CONNECTION_WINDOW / 2) connection.pause();
    });
    const credit = await runner.heard((frame) => isCredit(frame));
    expect(credit.payload.equals(u64(CONNECTION_WINDOW + CONNECTION_WINDOW / 2))).toBe(true);
  });

  it(`beyond ${CONNECTIONS_MAX} is reset, whatever the runner thinks`, async () => {
    const { runner } = await connected();
    for (let number = 2; number <= CONNECTIONS_MAX + 1; number += 1)
      runner.say(FrameType.connectionOpen, number);
    const reset = await runner.heard((frame) => frame.type === FrameType.connectionClose);
    expect(reset).toMatchObject({ channel: CONNECTIONS_MAX + 1, flags: 1 });
  });

  it("whose taker throws is reset, and nothing else ends", async () => {
    const runner = await greeted(VERSION);
    channel.onConnection(() => {
      throw new Error("not today");
    });
    runner.say(FrameType.connectionOpen, 1);
    await runner.heard((frame) => frame.type === FrameType.connectionClose && frame.flags === 1);
    await answerPing(runner);
  });
});

describe("bytes that wait", () => {
  it("are what was pushed, in as few pieces as their size needs", () => {
    const queue = new ByteQueue();
    const whole = Buffer.from(Array.from({ length: 100_000 }, (_, at) => at % 251));
    for (let at = 0; at < 40_000; at += 1) queue.push(whole.subarray(at, at + 1));
    queue.push(whole.subarray(40_000, 70_000));
    queue.push(whole.subarray(70_000, 70_001));
    const early = queue.shift();
    queue.push(whole.subarray(70_001));
    const pieces = [early ?? Buffer.alloc(0)];
    for (let piece = queue.shift(); piece; piece = queue.shift()) pieces.push(piece);
    expect(Buffer.concat(pieces).equals(whole)).toBe(true);
    expect(pieces.length).toBeLessThanOrEqual(6);
    expect(queue.length).toBe(0);
  });

  it("are not changed once they were given out", () => {
    const queue = new ByteQueue();
    queue.push(Buffer.from("a"));
    const given = queue.shift();
    queue.push(Buffer.from("b"));
    expect(String(given)).toBe("a");
    expect(String(queue.shift())).toBe("b");
  });
});
