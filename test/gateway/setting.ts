/** A host, a keeper and a gateway between them, as a test wants them. */
import type { RequestListener } from "node:http";
import { createServer, type Socket } from "node:net";
import type { GatewayLimits } from "../../daemon/gateway/limits.ts";
import { listening, plainHost, proxy } from "./hosts.ts";
import { type Keeping, keeperUnderTest, LOOPBACK } from "./keeper.ts";

/** What a test has opened, to be closed after it. */
export const ends: (() => Promise<void>)[] = [];

export async function endAll(): Promise<void> {
  for (const end of ends.splice(0)) await end();
}

export interface Setting extends Keeping {
  readonly limits?: Partial<GatewayLimits>;
  readonly answer?: RequestListener;
}

export async function set({
  limits = {},
  answer = (_request, response) => response.end("answer"),
  ...keeping
}: Setting = {}) {
  const host = await plainHost(answer);
  ends.push(host.close);
  return { host, ...(await before(host.port, keeping, limits)) };
}

/** A host that answers in its own bytes, whatever it is asked. */
export async function setRaw(answer: (socket: Socket) => void, setting: Setting = {}) {
  const host = await listening(
    createServer((socket) => {
      socket.on("error", () => {});
      socket.once("data", () => answer(socket));
    }),
  );
  ends.push(host.close);
  return before(host.port, setting, setting.limits ?? {});
}

export async function before(port: number, keeping: Keeping, limits: Partial<GatewayLimits>) {
  const keeper = await keeperUnderTest(keeping);
  const through = await proxy(keeper, { lookup: async () => ["127.0.0.1"], limits });
  ends.push(through.close);
  const at = `api.test:${port}`;
  const text = (head = "", body = "", method = "GET") =>
    `${method} http://${at}/ HTTP/1.1\r\nHost: ${at}\r\nConnection: close\r\n${head}\r\n${body}`;
  return {
    keeper,
    through,
    at,
    text,
    send: (...parts: Parameters<typeof text>) => through.raw(text(...parts)),
  };
}

export const allowing =
  (maxBytesOut: number): NonNullable<Keeping["judge"]> =>
  (_request, request) => ({
    allowed: true,
    request,
    terms: { ...LOOPBACK, maxBytesOut },
    headers: {},
  });
export const sized = (body: string) => `Content-Length: ${body.length}\r\n`;
