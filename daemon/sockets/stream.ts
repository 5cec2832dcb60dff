import type { IncomingMessage, Server } from "node:http";
import type { Duplex } from "node:stream";
import { type RawData, type WebSocket, WebSocketServer } from "ws";
import type { Harness } from "../harness/port.ts";
import { refuseRaw } from "../http/broken-request.ts";
import type { Journal } from "../journal/port.ts";
import { CaissonError, type ErrorCode } from "../protocol/errors.ts";
import type { JournalEvent } from "../protocol/events.ts";
import { CLOSE, type LiveFrame } from "../protocol/frames.ts";
import type { RunId } from "../protocol/ids.ts";
import type { NoticeBoard } from "../protocol/notices.ts";
import { Connection, type Peer } from "./connection.ts";
import { STREAM_LIMITS, type StreamLimits } from "./limits.ts";

const PATH = "/v1/stream";
const SUBPROTOCOL = "caisson.v1";
const BEARER = "bearer.";

/** Who may connect: the same checks as HTTP's (H1). */
export interface StreamAccess {
  foreign(request: IncomingMessage): { readonly code: ErrorCode; readonly detail: string } | undefined;
  authorised(token: string | undefined): boolean;
}

export interface StreamSettings {
  /** The server whose upgrades are taken; it stays its owner's. */
  readonly server: Server;
  readonly access: StreamAccess;
  readonly journal: Pick<Journal, "read" | "lineOf" | "onAppended" | "onRemoved">;
  readonly harness: Pick<Harness, "onLive">;
  readonly notices?: NoticeBoard;
  readonly limits?: Partial<StreamLimits>;
  /** Told of each connection that became a socket: from there on it is counted here. */
  readonly admission?: { upgraded(socket: Duplex): void };
  /** Told of every socket that is cut off, and why. Must not throw. */
  readonly cutOff?: (reason: CutOff) => void;
}

/** `unresponsive`: it answered no ping. */
export type CutOff = "too_slow" | "bad_frame" | "unauthorised" | "unresponsive";

const CUT_OFF_BY: ReadonlyMap<number, CutOff> = new Map([
  [CLOSE.tooSlow, "too_slow"],
  [CLOSE.badFrame, "bad_frame"],
  [CLOSE.unauthorised, "unauthorised"],
]);

/** `GET /v1/stream`: journals over WebSocket, replayed and then followed. */
export interface Stream {
  /** Sockets open now. */
  readonly sockets: number;
  /** Closes every socket with 1012 and takes no more; resolves when all are gone. */
  close(): Promise<void>;
}

/** Starts to take upgrades. The owner closes it before the server. */
export function createStream(settings: StreamSettings): Stream {
  const limits = { ...STREAM_LIMITS, ...settings.limits };
  const server = new WebSocketServer({
    noServer: true,
    perMessageDeflate: false,
    maxPayload: limits.cutOffBytes,
    // However small, each keeps the whole chunk it came in.
    maxFragments: limits.fragments,
    maxBufferedChunks: limits.chunks,
    // See Hub.accept: answers to pings must not pile up for a peer that doesn't read.
    autoPong: false,
    handleProtocols: (offered) => (offered.has(SUBPROTOCOL) ? SUBPROTOCOL : false),
  });
  const hub = new Hub(settings, limits);
  let stopping = false;
  server.on("wsClientError", (error, socket) => {
    const detail = `That is no WebSocket handshake: ${error.message}.`;
    refuseRaw(socket, new CaissonError("invalid_request", detail), ["sec-websocket-version: 13"]);
  });
  // Stays to the server's end: who comes back while the daemon stops is told to try again.
  settings.server.on("upgrade", (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    const refusal = refusalOf(request, settings.access, stopping ? undefined : hub.sockets, limits);
    if (refusal !== undefined) refuseRaw(socket, refusal);
    else server.handleUpgrade(request, socket, head, (one) => hub.accept(one, request));
  });
  return {
    get sockets() {
      return server.clients.size;
    },
    close: async () => {
      stopping = true;
      await hub.close(server.clients);
      server.close();
    },
  };
}

/** All connections, and what is sent to several of them. */
class Hub {
  readonly #settings: StreamSettings;
  readonly #limits: StreamLimits;
  readonly #connections = new Set<Connection>();
  readonly #answering = new WeakSet<WebSocket>();
  readonly #open = new Set<WebSocket>();
  readonly #release: readonly (() => void)[];
  /** Frames of the batch that is being handed out, encoded once for all who get them. */
  #batch: Map<JournalEvent, Uint8Array> | undefined;

  constructor(settings: StreamSettings, limits: StreamLimits) {
    this.#settings = settings;
    this.#limits = limits;
    const heartbeat = setInterval(() => this.#beat(), limits.pingMs);
    this.#release = [
      () => clearInterval(heartbeat),
      settings.journal.onAppended((run, events) => this.#appended(run, events)),
      settings.journal.onRemoved((run) => {
        for (const connection of this.#connections) connection.removed(run);
      }),
      settings.harness.onLive((frame) => this.#live(frame)),
      settings.notices?.subscribe((run, notice) => {
        if (notice) for (const connection of this.#connections) connection.noticed(run, notice);
      }) ?? (() => undefined),
    ];
  }

  /** Authorised ones: who has no token takes nobody's place. */
  get sockets(): number {
    return this.#open.size;
  }

  accept(socket: WebSocket, request: IncomingMessage): void {
    socket.on("error", () => socket.terminate());
    const peer = this.#peerOf(socket);
    if (!this.#settings.access.authorised(tokenOf(request))) {
      peer.close(CLOSE.unauthorised, "unauthorised: send the daemon's token");
      return;
    }
    const connection = new Connection(peer, {
      journal: this.#settings.journal,
      limits: this.#limits,
      frameOf: (run, event) => this.#frameOf(run, event),
      noticeOf: (run) => this.#settings.notices?.of(run),
    });
    this.#connections.add(connection);
    this.#open.add(socket);
    this.#answering.add(socket);
    this.#settings.admission?.upgraded(request.socket);
    socket.on("pong", () => this.#answering.add(socket));
    socket.on("ping", (data) => {
      if (socket.readyState === socket.OPEN && socket.bufferedAmount <= this.#limits.liveBytes)
        socket.pong(data);
    });
    socket.on("message", (data, isBinary) => connection.received(isBinary ? undefined : textOf(data)));
    socket.on("close", () => {
      connection.end();
      this.#connections.delete(connection);
      this.#open.delete(socket);
    });
  }

  #peerOf(socket: WebSocket): Peer {
    const peer = peerOf(socket, this.#limits.goodbyeMs);
    return {
      get bufferedAmount() {
        return peer.bufferedAmount;
      },
      send: peer.send,
      close: (code, reason) => {
        const cutOff = CUT_OFF_BY.get(code);
        if (cutOff !== undefined) this.#settings.cutOff?.(cutOff);
        peer.close(code, reason);
      },
    };
  }

  async close(sockets: ReadonlySet<WebSocket>): Promise<void> {
    for (const release of this.#release) release();
    for (const connection of this.#connections) connection.end();
    const gone = [...sockets].map(
      (socket) => new Promise<void>((resolve) => socket.once("close", () => resolve())),
    );
    for (const socket of sockets)
      peerOf(socket, this.#limits.goodbyeMs).close(CLOSE.restarting, "daemon restarting");
    await Promise.all(gone);
  }

  #appended(run: RunId, events: readonly JournalEvent[]): void {
    this.#batch = new Map();
    for (const connection of this.#connections) connection.appended(run, events);
    this.#batch = undefined;
  }

  #live(frame: LiveFrame): void {
    let made: Uint8Array | undefined;
    const encoded = () => {
      made ??= Buffer.from(JSON.stringify({ ...frame, type: "live" }));
      return made;
    };
    for (const connection of this.#connections) connection.live(frame, encoded);
  }

  #frameOf(run: RunId, event: JournalEvent): Uint8Array {
    const made = this.#batch?.get(event);
    if (made !== undefined) return made;
    const line = this.#settings.journal.lineOf(event);
    const frame = Buffer.from(`{"type":"event","run":"${run}","event":${line.trimEnd()}}`);
    this.#batch?.set(event, frame);
    return frame;
  }

  #beat(): void {
    for (const socket of this.#open) {
      if (!this.#answering.delete(socket)) {
        this.#settings.cutOff?.("unresponsive");
        socket.terminate();
      } else if (socket.readyState === socket.OPEN) socket.ping();
    }
  }
}

function peerOf(socket: WebSocket, goodbyeMs: number): Peer {
  return {
    get bufferedAmount() {
      return socket.bufferedAmount;
    },
    send: (frame, sent) => socket.send(frame, { binary: false }, sent),
    close: (code, reason) => {
      socket.close(code, reason);
      const timer = setTimeout(() => socket.terminate(), goodbyeMs);
      socket.once("close", () => clearTimeout(timer));
    },
  };
}

function textOf(data: RawData): string {
  return Array.isArray(data) ? Buffer.concat(data).toString() : Buffer.from(data as Buffer).toString();
}

/** The token of `Authorization: Bearer`, or of a subprotocol `bearer.TOKEN`, which is all a browser can send. */
function tokenOf(request: IncomingMessage): string | undefined {
  const header = /^Bearer ([\x21-\x7e]{1,1024})$/i.exec(request.headers.authorization ?? "")?.[1];
  if (header !== undefined) return header;
  const offered = (request.headers["sec-websocket-protocol"] ?? "").split(",").map((one) => one.trim());
  return offered.find((one) => one.startsWith(BEARER))?.slice(BEARER.length);
}

function refusalOf(
  request: IncomingMessage,
  access: StreamAccess,
  sockets: number | undefined,
  limits: StreamLimits,
): CaissonError | undefined {
  const foreign = access.foreign(request);
  if (foreign !== undefined) return new CaissonError(foreign.code, foreign.detail);
  if (request.headers.upgrade?.toLowerCase() !== "websocket")
    return new CaissonError(
      "invalid_request",
      "A connection can be upgraded to a WebSocket and to nothing else. Send the request again without Upgrade; nothing was done.",
    );
  if ((request.url ?? "").split("?")[0] !== PATH)
    return new CaissonError("not_found", `There is no such WebSocket. The stream is ${PATH}.`);
  if (sockets === undefined)
    return new CaissonError(
      "stopping",
      "The daemon is stopping. Connect again in a moment, and resume by seq.",
    );
  if (sockets >= limits.sockets)
    return new CaissonError("too_many_requests", `The daemon has ${sockets} sockets open. Close one first.`);
  return undefined;
}
