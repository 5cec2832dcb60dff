import { randomInt } from "node:crypto";
import { once } from "node:events";
import { createServer } from "node:net";

/** Below those that a system gives to whoever asks for any (from 32,768 on Linux, from 49,152 on macOS). */
const FIRST = 12_000;
/** Ports of each worker: no two that run side by side try the same. */
const EACH = 2_000;
const WORKERS = 10;

let next = randomInt(EACH);

/**
 * A port of the loopback for a server that is to listen on it later, or again after a stop: nobody who asks the system
 * for any port is given it meanwhile.
 */
export async function ownPort(): Promise<number> {
  const worker = Number(process.env.VITEST_POOL_ID ?? 0) % WORKERS;
  for (let tried = 0; tried < EACH; tried += 1) {
    next = (next + 1) % EACH;
    const port = FIRST + worker * EACH + next;
    if (await isFree(port)) return port;
  }
  throw new Error("no port is free");
}

async function isFree(port: number): Promise<boolean> {
  const server = createServer().listen({ port, host: "127.0.0.1", exclusive: true });
  try {
    await once(server, "listening");
  } catch {
    return false;
  }
  await new Promise((resolve) => server.close(resolve));
  return true;
}
