/** Requests through the gateway, TLS ended and begun anew, against the same client going straight to the same host. */
import { once } from "node:events";
import { Agent, get } from "node:http";
import { createServer } from "node:https";
import { type AddressInfo, connect, createServer as createTcpServer, type Server } from "node:net";
import { performance } from "node:perf_hooks";
import { connect as secure } from "node:tls";
import { createAuthority } from "../daemon/gateway/authority.ts";
import { createGateway } from "../daemon/gateway/gateway.ts";
import type { Gatekeeper } from "../daemon/gateway/port.ts";
import { type BenchRow, quantile, timesRow } from "./row.ts";

const REQUESTS = 600;
const TRANSFERS = 5;
const MiB = 1024 * 1024;
const BODY = Buffer.alloc(64 * MiB);
const NAME = "bench.test";

async function listening(server: Server): Promise<number> {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return (server.address() as AddressInfo).port;
}

/** One that allows all of it at once: what the gateway itself costs, without verdict and journal. */
async function openKeeper(): Promise<Gatekeeper> {
  const terms = { addresses: ["127.0.0.0/8"] };
  return {
    authority: await createAuthority("bench"),
    tunnel: () => ({ mode: "inspect" }),
    body: () => "streamed",
    judge: async () => ({ allowed: true, request: "q1", terms, headers: {} }),
    spend: () => "within",
    arriving: async () => {},
    finished: async () => {},
    inspection: {
      outgoing: () => ({ text: () => [], push: () => [], end: () => [] }),
      incoming: () => undefined,
    },
  };
}

/** A client of one kept connection, through the proxy where there is one. */
async function client(port: number, ca: string, through?: number): Promise<Agent> {
  const socket = connect({ port: through ?? port, host: "127.0.0.1", noDelay: true });
  if (through !== undefined) {
    socket.write(`CONNECT ${NAME}:${port} HTTP/1.1\r\nHost: ${NAME}:${port}\r\n\r\n`);
    await once(socket, "data");
  }
  const secured = secure({ socket, ca, servername: NAME });
  await once(secured, "secureConnect");
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  agent.createConnection = () => secured;
  return agent;
}

/** Milliseconds of one request after the other. */
async function times(agent: Agent, port: number, path: string, count: number): Promise<number[]> {
  const measured: number[] = [];
  for (let i = 0; i < count; i++) {
    const started = performance.now();
    const [answer] = await once(get({ agent, path, headers: { host: `${NAME}:${port}` } }), "response");
    answer.resume();
    await once(answer, "end");
    measured.push(performance.now() - started);
  }
  return measured;
}

/** Rows: what a request costs on a kept connection, and how fast a large answer comes. */
export async function benchGateway(): Promise<{ rows: readonly BenchRow[] }> {
  const upstream = await createAuthority("upstream");
  const context = await upstream.contextFor(NAME);
  const host = createServer({ SNICallback: (_name, done) => done(null, context) }, (request, response) =>
    response.end(request.url === "/large" ? BODY : "small"),
  );
  const gateway = createGateway({ ca: upstream.certificate, lookup: async () => ["127.0.0.1"] });
  const keeper = await openKeeper();
  const proxy = createTcpServer({ noDelay: true }, (socket) => gateway.serve(socket, keeper));
  const [port, through] = [await listening(host), await listening(proxy)];
  const straight = await client(port, upstream.certificate);
  const ours = await client(port, keeper.authority.certificate, through);
  try {
    const small = async (agent: Agent) => (await times(agent, port, "/small", REQUESTS)).slice(REQUESTS / 4);
    return {
      rows: [
        timesRow(
          "request through the gateway (plain: straight to the host)",
          await small(straight),
          await small(ours),
        ),
        await rateRow(straight, ours, port),
      ],
    };
  } finally {
    gateway.close();
    straight.destroy();
    proxy.close();
    host.close();
    host.closeAllConnections();
  }
}

async function rateRow(straight: Agent, through: Agent, port: number): Promise<BenchRow> {
  const rates = async (agent: Agent) =>
    (await times(agent, port, "/large", TRANSFERS)).map((ms) => BODY.length / MiB / (ms / 1_000));
  const plain = quantile(await rates(straight), 0.5);
  const ours = quantile(await rates(through), 0.5);
  return { name: "a 64 MiB answer through the gateway", plain, ours, unit: "MiB/s", ratio: ours / plain };
}
