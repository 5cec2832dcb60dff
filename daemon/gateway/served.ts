import type { ServerResponse } from "node:http";
import type { Duplex } from "node:stream";
import type { Dialler } from "./dial.ts";
import type { Gatekeeper, Violation } from "./port.ts";
import type { TunnelEnd } from "./request.ts";
import { Upstream } from "./upstream.ts";

/** One connection from a sandbox, and what it owns: all of it ends with the connection. */
export class Served {
  readonly connection: Duplex;
  readonly keeper: Gatekeeper;
  readonly upstream: Upstream;
  /** Aborted when the connection is gone. */
  readonly gone: AbortSignal;
  /** What requests are read from: the connection, then the plain side of its tunnel. */
  source: Duplex;
  /** Set once it has become an inspected tunnel. */
  tunnel?: TunnelEnd & { readonly violation?: Violation };
  /** The answer whose turn it is. */
  answering?: ServerResponse;
  readonly #headMs: number;
  #deadline: NodeJS.Timeout | undefined;
  #last: Promise<void> = Promise.resolve();
  #waiting = 0;

  constructor(connection: Duplex, keeper: Gatekeeper, dialler: Dialler) {
    const controller = new AbortController();
    this.connection = connection;
    this.source = connection;
    this.keeper = failingClosed(keeper, () => this.reset());
    this.gone = controller.signal;
    this.upstream = new Upstream(dialler, this.gone);
    this.#headMs = dialler.limits.headMs;
    // HTTP's parser and a pipeline both ways listen on it at once.
    connection.setMaxListeners(MOST_LISTENERS);
    // Without a listener an error of a connection that is being dropped would end the daemon.
    connection.on("error", () => {});
    connection.once("close", () => {
      clearTimeout(this.#deadline);
      controller.abort(new Error("the sandbox closed the connection"));
    });
    this.#expectHead();
  }

  /** One request of this connection after the other, each from its head to its end. */
  inTurn(work: () => Promise<void>): void {
    clearTimeout(this.#deadline);
    this.#waiting++;
    if (this.#waiting > MOST_WAITING) this.reset();
    this.#last = this.#last
      .then(() => (this.gone.aborted ? undefined : work()))
      .catch(() => this.reset())
      .finally(() => {
        this.#waiting--;
        if (this.#waiting === 0) this.#expectHead();
      });
  }

  reset(): void {
    this.connection.destroy();
  }

  #expectHead(): void {
    if (!this.gone.aborted) this.#deadline = setTimeout(() => this.reset(), this.#headMs);
  }
}

const MOST_LISTENERS = 24;
/** Requests sent on a connection before the first of them was answered. */
const MOST_WAITING = 32;

/** The keeper, whose failures reset the connection: what nobody judges or journals doesn't happen. */
function failingClosed(keeper: Gatekeeper, reset: () => void): Gatekeeper {
  const orReset = <Result>(call: () => Result): Result => {
    try {
      const result = call();
      if (result instanceof Promise) result.catch(reset);
      return result;
    } catch (error) {
      reset();
      throw error;
    }
  };
  return {
    tunnel: (host, port) => orReset(() => keeper.tunnel(host, port)),
    body: (request) => orReset(() => keeper.body(request)),
    judge: (request, gone) => orReset(() => keeper.judge(request, gone)),
    spend: (request, bytes) => orReset(() => keeper.spend(request, bytes)),
    arriving: (request, status) => orReset(() => keeper.arriving(request, status)),
    finished: (request, outcome) => orReset(() => keeper.finished(request, outcome)),
    inspection: {
      outgoing: (host) => orReset(() => keeper.inspection.outgoing(host)),
      incoming: () => orReset(() => keeper.inspection.incoming()),
    },
    authority: keeper.authority,
  };
}
