import type { Socket } from "node:net";
import { performance } from "node:perf_hooks";
import { Transform } from "node:stream";
import { pipeline } from "node:stream/promises";
import { Meter } from "./body.ts";
import { type Dialler, dial } from "./dial.ts";
import { ASK_A_PERSON, refusalOf, refuseConnection } from "./refusal.ts";
import type { TunnelEnd } from "./request.ts";
import type { Served } from "./served.ts";
import { type Watch, watch } from "./watch.ts";

/** The answer to a CONNECT; what follows it is the tunnel's. */
export const ESTABLISHED = "HTTP/1.1 200 Connection established\r\n\r\n";

/**
 * A tunnel that nobody looks into, where a rule says so: judged once, then metered.
 * @throws {Error} when the keeper does
 */
export async function openOpaque(end: TunnelEnd, served: Served, dialler: Dialler): Promise<void> {
  const { keeper, connection, gone } = served;
  const name = `${end.host}:${end.port}`;
  const judged = await keeper.judge({ method: "CONNECT", url: `https://${name}/` }, gone);
  if (!judged.allowed) {
    const { rule, reason } = judged.verdict;
    refuseConnection(connection, { status: 403, what: `CONNECT ${name}`, rule, reason, next: ASK_A_PERSON });
    return;
  }
  const started = performance.now();
  const meter = new Meter(keeper, judged.request, judged.terms.maxBytesOut);
  const told: { status?: number; bytesIn: number; error?: string } = { bytesIn: 0 };
  let socket: Socket | undefined;
  try {
    const to = { scheme: "opaque", ...end, addresses: judged.terms.addresses } as const;
    socket = await dial(to, dialler, gone);
    told.status = 200;
    await keeper.arriving(judged.request, 200);
    connection.write(ESTABLISHED);
    await carry(served, socket, { meter, told, idleMs: dialler.limits.idleMs });
  } catch (thrown) {
    const error = thrown instanceof Error ? thrown : new Error(String(thrown));
    told.error = error.message;
    if (told.status === undefined) refuseConnection(connection, refusalOf(error, `CONNECT ${name}`));
    else served.reset();
  } finally {
    socket?.destroy();
  }
  const durationMs = Math.round(performance.now() - started);
  await keeper.finished(judged.request, { ...told, bytesOut: meter.bytes, durationMs });
}

interface Carrying {
  readonly meter: Meter;
  readonly told: { bytesIn: number };
  readonly idleMs: number;
}

async function carry(
  { connection }: Served,
  socket: Socket,
  { meter, told, idleMs }: Carrying,
): Promise<void> {
  const idle = watch(idleMs, () => socket.destroy(new Error(`nothing moved for ${idleMs} ms`)));
  const out = each(idle, (bytes) => meter.take(bytes));
  const back = each(idle, (bytes) => {
    told.bytesIn += bytes;
  });
  try {
    await pipeline(connection, out, socket, back, connection);
  } finally {
    idle.stop();
  }
}

function each(idle: Watch, seen: (bytes: number) => void): Transform {
  return new Transform({
    transform(piece: Buffer, _encoding, done) {
      idle.moved();
      try {
        seen(piece.length);
        done(null, piece);
      } catch (error) {
        done(error as Error);
      }
    },
  });
}
