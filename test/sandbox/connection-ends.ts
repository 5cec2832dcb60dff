/** What tests see at either end of a connection. */
import { once } from "node:events";
import type { Socket } from "node:net";
import type { Duplex } from "node:stream";

/** Reads to the end, and leaves the other direction as it is, which `for await` would not. */
export async function all(stream: Socket | Duplex): Promise<Buffer> {
  const pieces: Buffer[] = [];
  stream.on("data", (piece: Buffer) => pieces.push(piece));
  await once(stream, "end");
  return Buffer.concat(pieces);
}

/** How a socket ended: an error's code, or "end". */
export function ending(socket: Socket | Duplex): Promise<string> {
  return new Promise((resolve) => {
    socket.once("error", (error: NodeJS.ErrnoException) => resolve(error.code ?? error.name));
    socket.once("end", () => resolve("end"));
    socket.resume();
  });
}

export function pattern(length: number): Buffer {
  const bytes = Buffer.allocUnsafe(length);
  for (let at = 0; at < length; at++) bytes[at] = (at * 31 + (at >>> 8)) & 0xff;
  return bytes;
}
