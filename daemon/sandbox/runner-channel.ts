/**
 * The client of the runner over any byte stream. One reader hands frames to process handles and never waits for
 * a consumer, so a slow one can't starve a fast one. Whatever breaks the protocol closes the channel: it can't
 * crash the daemon, and it can't make it remember more than a window a stream (S4).
 */
import { randomBytes } from "node:crypto";
import type { Duplex } from "node:stream";
import { NoRoom, type ProcessSpec, type ProcessStatus, SandboxLost, type SandboxProcess } from "./host.ts";
import { RunnerConnections } from "./runner-connections.ts";
import {
  encodeFrame,
  encodePadding,
  type Frame,
  FrameParser,
  FrameType,
  PROTOCOL_VERSION,
  ProtocolViolation,
} from "./runner-frames.ts";
import {
  decodeCount,
  decodeHandleAck,
  decodeHelloAck,
  decodeListEntry,
  decodeOffset,
  decodeOutcome,
  encodeStart,
  type HandleAck,
  u64,
} from "./runner-messages.ts";
import type { RunnerChannel, RunnerChannelOptions } from "./runner-port.ts";
import { RunnerProcess } from "./runner-process.ts";
import { Acknowledgements, processLink } from "./runner-process-link.ts";
import { listen } from "./runner-reader.ts";
import { Received } from "./runner-received.ts";
import { RunnerRequests } from "./runner-requests.ts";
import { FrameWriter } from "./runner-writer.ts";

export type { RunnerChannel, RunnerChannelOptions };

/** Rejects with SandboxLost when no runner answers within the deadline. */
export async function openRunnerChannel(options: RunnerChannelOptions): Promise<RunnerChannel> {
  const channel = new Channel(options);
  await channel.greet();
  return channel;
}

const STARTED = 0;
const START_REFUSED = 2;
const RESUME_KNOWN = 0;
const STDIN_OVER = 1;
/** Of processes, open files or memory. */
const NO_ROOM = /^(EAGAIN|EMFILE|ENOMEM) /;
/** The runner remembers fewer processes; more in a list is a violation. */
const LIST_MAX = 4096;
/** In HELLO: this daemon serves connections. */
const TAKES_CONNECTIONS = 1;

class Channel implements RunnerChannel {
  runnerVersion = "";
  runnerPid = 0;
  facts = { landlock: 0, proxyPort: 0 };
  readonly closed: Promise<string>;
  readonly #options: RunnerChannelOptions;
  readonly #parser = new FrameParser();
  readonly #writer: FrameWriter;
  readonly #requests: RunnerRequests;
  readonly #connections: RunnerConnections;
  readonly #received: Received;
  readonly #acknowledgements: Acknowledgements;
  readonly #nonce = randomBytes(16);
  readonly #lists = new Map<number, ProcessStatus[]>();
  /** Processes whose outcome is still to come, by channel and by id. */
  readonly #processes = new Map<number, RunnerProcess>();
  readonly #byId = new Map<string, Promise<RunnerProcess | undefined>>();
  #lastNumber = 0;
  #connectionsFirst = false;
  #closedReason: string | undefined;
  #resolveClosed: (reason: string) => void = () => {};
  #stopReading: () => void = () => {};

  constructor(options: RunnerChannelOptions) {
    this.#options = options;
    this.closed = new Promise((resolve) => {
      this.#resolveClosed = resolve;
    });
    this.#writer = new FrameWriter(options.output, {
      drained: () => this.#pump(),
      failed: (reason) => this.close(reason),
    });
    this.#received = new Received((frame) => this.#writer.send(frame));
    this.#connections = new RunnerConnections(this.#writer);
    this.#acknowledgements = new Acknowledgements(this.#writer);
    this.#requests = new RunnerRequests(options.deadlineMs, (what) =>
      this.close(`the runner did not answer ${what} within ${options.deadlineMs} ms`),
    );
  }

  async greet(): Promise<void> {
    this.#stopReading = listen(this.#options.input, {
      bytes: (bytes) => this.#take(bytes),
      ended: (reason) => this.close(reason),
    });
    this.#writer.send(encodePadding());
    const hello = [this.#nonce, Buffer.of(PROTOCOL_VERSION, 0)];
    this.#writer.send(encodeFrame(FrameType.hello, 0, TAKES_CONNECTIONS, hello));
    await this.#ask(0, "the greeting", (frame) => {
      const ack = decodeHelloAck(frame);
      if (ack.protocol !== PROTOCOL_VERSION)
        throw new ProtocolViolation(
          `The runner speaks protocol ${ack.protocol}, this daemon ${PROTOCOL_VERSION}.`,
        );
      this.runnerVersion = ack.version;
      this.runnerPid = ack.pid;
      this.facts = { landlock: ack.landlock, proxyPort: ack.port };
    });
  }

  async start(spec: ProcessSpec): Promise<SandboxProcess> {
    const process = await this.#handleOf(spec.id, (channel) => {
      this.#writer.send(encodeStart(channel, spec));
      return this.#ask(channel, `the start of ${spec.id}`, (frame) => {
        const ack = decodeHandleAck(frame);
        return ack.result === START_REFUSED
          ? ack.text
          : this.#adopt(channel, spec.id, ack, ack.result !== STARTED);
      });
    });
    if (process instanceof RunnerProcess) return process;
    const refusal = `The runner refused to start ${spec.id}: ${process}. Nothing ran.`;
    throw NO_ROOM.test(process ?? "") ? new NoRoom(refusal) : new Error(refusal);
  }

  async resume(id: string, from: { stdout: number; stderr: number }): Promise<SandboxProcess | undefined> {
    const process = await this.#handleOf(id, (channel) => {
      const payload = [u64(from.stdout), u64(from.stderr), Buffer.from(id)];
      this.#writer.send(encodeFrame(FrameType.resume, channel, 0, payload));
      return this.#ask(channel, `the resumption of ${id}`, (frame) => {
        const ack = decodeHandleAck(frame);
        return ack.result === RESUME_KNOWN ? this.#adopt(channel, id, ack, true) : undefined;
      });
    });
    return process instanceof RunnerProcess ? process : undefined;
  }

  async processes(): Promise<readonly ProcessStatus[]> {
    const number = this.#number();
    const list: ProcessStatus[] = [];
    this.#lists.set(number, list);
    this.#writer.send(encodeFrame(FrameType.list, number));
    return this.#ask(number, "a list of processes", (frame) => {
      this.#lists.delete(number);
      if (decodeCount(frame) !== list.length)
        throw new ProtocolViolation("The runner's list is not complete.");
      return list;
    });
  }

  forget(id: string): void {
    this.#writer.sendLater(encodeFrame(FrameType.forget, 0, 0, [Buffer.from(id)]));
  }

  async ping(): Promise<void> {
    const number = this.#number();
    this.#writer.send(encodeFrame(FrameType.ping, number));
    await this.#ask(number, "a ping", () => {});
  }

  onConnection(accept: (connection: Duplex) => void): void {
    this.#connections.onConnection(accept);
  }

  close(reason = "the daemon closed the channel"): void {
    if (this.#closedReason !== undefined) return;
    this.#acknowledgements.flush();
    this.#closedReason = reason;
    this.#stopReading();
    this.#connections.close(new SandboxLost(reason));
    this.#writer.close();
    this.#requests.fail(new SandboxLost(reason));
    for (const process of this.#processes.values()) process.fail(reason);
    this.#processes.clear();
    this.#byId.clear();
    this.#resolveClosed(reason);
  }

  #number(): number {
    this.#lastNumber += 1;
    return this.#lastNumber;
  }

  #ask<T>(number: number, what: string, read: (frame: Frame) => T): Promise<T> {
    if (this.#closedReason !== undefined) return Promise.reject(new SandboxLost(this.#closedReason));
    return this.#requests.ask(number, what, read);
  }

  /** While its outcome is to come, a process has one handle on a channel, whoever asks for it. */
  async #handleOf(
    id: string,
    ask: (channel: number) => Promise<RunnerProcess | string | undefined>,
  ): Promise<RunnerProcess | string | undefined> {
    const known = await this.#byId.get(id);
    if (known !== undefined) return known;
    const asked = ask(this.#number());
    const handle = asked.then((process) => (process instanceof RunnerProcess ? process : undefined));
    this.#byId.set(id, handle);
    handle.then((process) => process ?? this.#byId.delete(id)).catch(() => this.#byId.delete(id));
    return asked;
  }

  #adopt(channel: number, id: string, ack: HandleAck, resumed: boolean): RunnerProcess {
    const link = processLink(this.#writer, this.#acknowledgements, channel);
    const process = new RunnerProcess(id, link, ack, resumed);
    this.#processes.set(channel, process);
    return process;
  }

  /** Connections and processes by turns: what comes first may fill the writable again. */
  #pump(): void {
    this.#connectionsFirst = !this.#connectionsFirst;
    if (this.#connectionsFirst) this.#connections.pump();
    for (const process of this.#processes.values()) process.pumpStdin();
    this.#connections.pump();
  }

  #take(bytes: Buffer): void {
    try {
      this.#parser.push(bytes);
      for (let frame = this.#parser.next(); frame !== undefined; frame = this.#parser.next())
        this.#handle(frame);
    } catch (error) {
      this.close(error instanceof Error ? error.message : String(error));
    }
    this.#received.report();
  }

  /** Before the greeting's answer the stream is an earlier daemon's, and text of commands may pose as frames in it. */
  #handle(frame: Frame): void {
    if (this.#parser.strict) {
      this.#dispatch(frame);
      return;
    }
    if (frame.type !== FrameType.helloAck || !decodeHelloAck(frame).nonce.equals(this.#nonce)) return;
    this.#parser.strict = true;
    this.#requests.answer(0, frame);
  }

  #dispatch(frame: Frame): void {
    switch (frame.type) {
      case FrameType.output:
        this.#takeOutput(frame);
        break;
      case FrameType.outcome:
        this.#takeOutcome(frame);
        break;
      case FrameType.stdinCredit:
        this.#processes.get(frame.channel)?.takeCredit(decodeOffset(frame), frame.flags === STDIN_OVER);
        return;
      case FrameType.listEntry:
        this.#takeListEntry(frame);
        break;
      case FrameType.startAck:
      case FrameType.resumeAck:
      case FrameType.listEnd:
      case FrameType.pong:
        if (!this.#requests.answer(frame.channel, frame))
          throw new ProtocolViolation("The runner answered what was not asked.");
        return;
      case FrameType.connectionData:
        this.#received.connections += frame.payload.length;
        this.#connections.take(frame);
        break;
      case FrameType.connectionOpen:
      case FrameType.connectionCredit:
      case FrameType.connectionClose:
        this.#connections.take(frame);
    }
  }

  #takeOutput(frame: Frame): void {
    const process = this.#processes.get(frame.channel);
    if (process === undefined || (frame.flags !== 1 && frame.flags !== 2))
      throw new ProtocolViolation("The runner sent output of no process.");
    const bytes = frame.payload.subarray(8);
    process.takeOutput(frame.flags === 1 ? "stdout" : "stderr", decodeOffset(frame), bytes);
    this.#received.output += bytes.length;
  }

  #takeOutcome(frame: Frame): void {
    const process = this.#processes.get(frame.channel);
    if (process === undefined) throw new ProtocolViolation("The runner sent an outcome of no process.");
    process.takeOutcome(decodeOutcome(frame));
    this.#processes.delete(frame.channel);
    this.#byId.delete(process.id);
  }

  #takeListEntry(frame: Frame): void {
    const list = this.#lists.get(frame.channel);
    if (list === undefined || list.length >= LIST_MAX)
      throw new ProtocolViolation("The runner sent a list unasked.");
    list.push(decodeListEntry(frame));
  }
}
