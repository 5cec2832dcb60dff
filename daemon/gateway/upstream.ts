import {
  Agent,
  type ClientRequest,
  type ClientRequestArgs,
  request as httpRequest,
  type IncomingMessage,
} from "node:http";
import type { Socket } from "node:net";
import { Duplex } from "node:stream";
import type { HttpTarget } from "../policy/http-target.ts";
import { type Destination, type Dialler, dial } from "./dial.ts";
import type { GatewayLimits } from "./limits.ts";
import { TooLate } from "./refusal.ts";

/** Milliseconds a connection is kept for a next request: less than servers keep theirs, so that none is lost on it. */
const KEPT_MS = 2_000;

/** Of one connection from a sandbox; a host beyond that has its own dialled anew. */
const MOST_HOSTS = 32;

/** What a host says on a connection where it is asked nothing would be read as the answer to the next request. */
function endUnasked(this: Duplex): void {
  this.destroy();
}

/** Connections to one destination. */
class HostAgent extends Agent {
  readonly #dial: () => Promise<Socket>;

  constructor(dialling: () => Promise<Socket>) {
    super({ keepAlive: true, timeout: KEPT_MS, maxFreeSockets: 2, maxSockets: 8 });
    this.#dial = dialling;
  }

  override createConnection(
    _options: ClientRequestArgs,
    made?: (error: Error | null, socket: Duplex) => void,
  ): undefined {
    // Node's own type says that there is always a socket; beside an error it looks at none.
    this.#dial().then(
      (socket) => made?.(null, socket),
      (error: Error) => made?.(error, new Duplex()),
    );
  }

  // Node's own type hides that `false` means: not to be kept.
  override keepSocketAlive(socket: Duplex): boolean {
    const may: unknown = super.keepSocketAlive(socket);
    if (may !== true || socket.readableLength > 0) return false;
    socket.on("data", endUnasked).resume();
    return true;
  }

  override reuseSocket(socket: Duplex, request: ClientRequest): void {
    socket.off("data", endUnasked);
    super.reuseSocket(socket, request);
  }
}

/**
 * Connections to hosts, of one connection from a sandbox: no other run's requests travel on them. Each is made to
 * addresses that were resolved and checked for it, and is only used for the same host under the same terms.
 */
export class Upstream {
  readonly #dialler: Dialler;
  readonly #gone: AbortSignal;
  readonly #agents = new Map<string, HostAgent>();

  constructor(dialler: Dialler, gone: AbortSignal) {
    this.#dialler = dialler;
    this.#gone = gone;
    gone.addEventListener("abort", () => this.#close(), { once: true });
  }

  agentFor(destination: Destination): Agent {
    const key = JSON.stringify(destination);
    const kept = this.#agents.get(key);
    if (kept !== undefined) return kept;
    const agent = new HostAgent(() => dial(destination, this.#dialler, this.#gone));
    this.#agents.set(key, agent);
    const [oldest] = this.#agents.keys();
    if (this.#agents.size > MOST_HOSTS && oldest !== undefined) this.#agents.delete(oldest);
    return agent;
  }

  #close(): void {
    for (const agent of this.#agents.values()) agent.destroy();
  }
}

export interface Sending {
  readonly request: ClientRequest;
  /** The answer's head. Rejects when there is none in time. */
  readonly answered: Promise<IncomingMessage>;
}

export interface SendOptions {
  readonly upstream: Upstream;
  readonly addresses: readonly string[];
  readonly gone: AbortSignal;
  readonly limits: GatewayLimits;
}

/** Begins a request; its body is the caller's to write. */
export function send(
  target: HttpTarget,
  headers: Readonly<Record<string, string | string[]>>,
  { upstream, addresses, gone, limits }: SendOptions,
): Sending {
  const { scheme, host, port } = target;
  const request = httpRequest({
    agent: upstream.agentFor({ scheme, host, port, addresses }),
    method: target.method,
    path: target.target,
    headers,
    setHost: false,
    maxHeaderSize: limits.responseHeadBytes,
  });
  // Node's own `signal` option watches the request's end too, at a tenth of what a request costs here.
  const stop = () => request.destroy(gone.reason);
  gone.addEventListener("abort", stop, { once: true });
  request.once("close", () => gone.removeEventListener("abort", stop));
  return { request, answered: answerTo(request, limits.firstByteMs) };
}

function answerTo(request: ClientRequest, firstByteMs: number): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    let timer: NodeJS.Timeout | undefined;
    request.once("finish", () => {
      timer = setTimeout(
        () => request.destroy(new TooLate(`no answer within ${firstByteMs} ms`)),
        firstByteMs,
      );
    });
    request.once("response", resolve);
    request.once("upgrade", (_answer, socket) => {
      socket.destroy();
      reject(new Error("the host switched to another protocol, which nobody asked for"));
    });
    request.on("error", reject);
    request.once("close", () => clearTimeout(timer));
    request.once("response", () => clearTimeout(timer));
  });
}
