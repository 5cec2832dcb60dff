import type { IncomingMessage, ServerResponse } from "node:http";
import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import { CaissonError } from "../protocol/errors.ts";

/** Bounds of what the daemon holds for its callers at once. */
export interface AdmissionLimits {
  /** Connections without an authorised request under way; more than a listen backlog, so that each gets read once. */
  readonly idleConnections: number;
  /** Authorised requests under way. */
  readonly requests: number;
  /** Of those, on one connection: pipelined ones. */
  readonly requestsAConnection: number;
  /** Of those, uploads. */
  readonly uploads: number;
  /** Bytes of JSON bodies that are in memory before they are whole. */
  readonly bodyBytes: number;
}

const ADMISSION_LIMITS: AdmissionLimits = {
  idleConnections: 1_024,
  requests: 256,
  requestsAConnection: 16,
  uploads: 8,
  bodyBytes: 64 * 1024 * 1024,
};

/** Counts connections and requests, so that no caller, however many sockets it opens, shuts the others out. */
export class Admission {
  readonly #limits: AdmissionLimits;
  /** Oldest first. */
  readonly #idle = new Set<Socket>();
  readonly #busy = new Map<Socket, number>();
  #requests = 0;
  #uploads = 0;
  #bodyBytes = 0;

  constructor(limits: Partial<AdmissionLimits> = {}) {
    this.#limits = { ...ADMISSION_LIMITS, ...limits };
  }

  /** A new connection. When too many do nothing that the token allows, the one that did so longest makes room. */
  connected(socket: Socket): void {
    this.#rest(socket);
    socket.once("close", () => {
      this.#idle.delete(socket);
      this.#requests -= this.#busy.get(socket) ?? 0;
      this.#busy.delete(socket);
    });
  }

  /** A WebSocket that was let in: its connection is counted by the stream from here on. */
  upgraded(socket: Duplex): void {
    this.#idle.delete(socket as Socket);
  }

  /**
   * An authorised request, until its answer is out or its connection gone.
   * @throws CaissonError `too_many_requests`
   */
  entered(request: IncomingMessage, response: ServerResponse): void {
    const { socket } = request;
    const here = this.#busy.get(socket) ?? 0;
    if (this.#requests >= this.#limits.requests || here >= this.#limits.requestsAConnection)
      throw tooMany("requests");
    this.#idle.delete(socket);
    this.#busy.set(socket, here + 1);
    this.#requests += 1;
    response.once("close", () => this.#left(socket));
  }

  /** Runs one upload, unless too many run. @throws CaissonError `too_many_requests` */
  async upload<T>(work: () => Promise<T>): Promise<T> {
    if (this.#uploads >= this.#limits.uploads) throw tooMany("uploads");
    this.#uploads += 1;
    try {
      return await work();
    } finally {
      this.#uploads -= 1;
    }
  }

  /** Counts bytes of a body; give them back with `freed`. @throws CaissonError `too_many_requests` */
  buffered(bytes: number): void {
    if (this.#bodyBytes + bytes > this.#limits.bodyBytes) throw tooMany("request bodies");
    this.#bodyBytes += bytes;
  }

  freed(bytes: number): void {
    this.#bodyBytes -= bytes;
  }

  #left(socket: Socket): void {
    const here = this.#busy.get(socket);
    // Its connection is gone, and was counted out with all its requests.
    if (here === undefined) return;
    this.#requests -= 1;
    if (here > 1) this.#busy.set(socket, here - 1);
    else {
      this.#busy.delete(socket);
      this.#rest(socket);
    }
  }

  #rest(socket: Socket): void {
    if (socket.destroyed) return;
    this.#idle.add(socket);
    if (this.#idle.size <= this.#limits.idleConnections) return;
    const [oldest] = this.#idle;
    if (oldest === undefined) return;
    this.#idle.delete(oldest);
    oldest.destroy();
  }
}

function tooMany(what: string): CaissonError {
  return new CaissonError(
    "too_many_requests",
    `The daemon has too many ${what} under way; nothing was changed. Try again in a moment.`,
  );
}
