import { request as requestOver } from "node:http";
import type { Duplex } from "node:stream";
import { createAuthority, type RunAuthority } from "../../daemon/gateway/authority.ts";
import { createGateway, type Gateway, type GatewayOptions } from "../../daemon/gateway/gateway.ts";
import { NO_REGISTRIES, type Outside } from "../../daemon/harness/egress/outside.ts";
import { pair } from "../../daemon/harness/egress/pair.ts";
import type { ProcessOutcome, Sandbox, SandboxHost } from "../../daemon/sandbox/host.ts";
import { cannedHost } from "./replay/canned-host.ts";

/** To whoever asks every name is this machine: no resolver is asked for names that are made up. */
const HERE: GatewayOptions = { lookup: async () => ["127.0.0.1"] };

/** A real gateway; authorities are kept as long as this is, as a home would. */
export function outsideUnderTest(options: GatewayOptions = HERE): Outside & Pick<Gateway, "close"> {
  const gateway = createGateway(options);
  const authorities = new Map<string, Promise<RunAuthority>>();
  return {
    serve: (connection, keeper) => gateway.serve(connection, keeper),
    registries: async () => NO_REGISTRIES,
    authorityOf: (run) => {
      const known = authorities.get(run) ?? createAuthority(run);
      authorities.set(run, known);
      return known;
    },
    close: () => gateway.close(),
  };
}

/** An answer as a program in a sandbox reads it. */
export interface Answered {
  readonly status: number;
  readonly text: string;
}

export interface Sending {
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
}

/** A host of one sandbox in which nothing runs; commands with `wait` in them last until they are told to end. */
export interface ConnectingHost {
  readonly host: SandboxHost;
  /** A new connection of a command's to the proxy. */
  connect(): Duplex;
  /** Sends a request over a connection of its own. Rejects when that is reset. */
  send(url: string, sending?: Sending): Promise<Answered>;
  /** Ends the commands that wait. */
  endCommands(): void;
}

export function connectingHost(): ConnectingHost {
  const canned = cannedHost({ answer: () => ({ output: "done\n" }) });
  let accept: ((connection: Duplex) => void) | undefined;
  let sandbox: Sandbox | undefined;
  const ends: ((how: Partial<ProcessOutcome>) => void)[] = [];
  const wrapped = (one: Sandbox): Sandbox => ({
    ...one,
    detach: () => endAll(),
    onConnection: (given) => {
      accept = given;
    },
    start: async (spec) => {
      const process = await one.start(spec);
      const text = spec.inputFd ? Buffer.from(spec.inputFd.bytes).toString() : "";
      if (!text.includes("wait")) return process;
      const ended = new Promise<Partial<ProcessOutcome>>((resolve) => ends.push(resolve));
      const outcome = ended.then(async (how) => ({ ...(await process.outcome), ...how }));
      const output = async function* () {
        await ended;
        yield* process.output;
      };
      return { ...process, output: output(), outcome, signal: () => endAll({ signal: "SIGTERM" }) };
    },
  });
  const endAll = (how: Partial<ProcessOutcome> = {}) => {
    for (const end of ends.splice(0)) end(how);
  };
  const connect = () => {
    const [ours, theirs] = pair();
    ours.on("error", () => undefined);
    if (accept) accept(theirs);
    else theirs.destroy();
    return ours;
  };
  return {
    host: {
      ...canned,
      acquire: async (spec) => {
        sandbox = wrapped(await canned.acquire(spec));
        return sandbox;
      },
      reattach: async () => sandbox,
    },
    connect,
    endCommands: () => endAll(),
    send: (url, sending) => sent(connect(), url, sending),
  };
}

function sent(connection: Duplex, url: string, sending: Sending = {}): Promise<Answered> {
  const { method = "GET", headers = {}, body } = sending;
  return new Promise((resolve, reject) => {
    const request = requestOver({
      createConnection: () => connection,
      method,
      path: url,
      headers: { host: new URL(url).host, connection: "close", ...headers },
    });
    let begun = false;
    connection.once("close", () => begun || reject(new Error("the connection was reset")));
    request.once("error", reject);
    request.once("response", async (response) => {
      begun = true;
      let text = "";
      for await (const piece of response) text += piece;
      resolve({ status: response.statusCode ?? 0, text });
    });
    request.end(body);
  });
}
