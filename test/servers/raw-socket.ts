import { randomBytes } from "node:crypto";
import { RawHttp } from "./raw-http.ts";

/** A WebSocket frame as its sender wants it, right or wrong. */
export interface RawFrame {
  readonly opcode: number;
  readonly payload: Buffer;
  readonly fin?: boolean;
  /** The three reserved bits. */
  readonly reserved?: number;
  readonly masked?: boolean;
  /** Bytes that its head promises, when they are not the payload's. */
  readonly promised?: number;
}

export interface Received {
  readonly texts: readonly string[];
  /** The close code; 1006 when the connection ended without one; undefined while it is open. */
  readonly closed: number | undefined;
}

const PING = 9;
const PONG = 10;

export function encoded({
  opcode,
  payload,
  fin = true,
  reserved = 0,
  masked = true,
  promised,
}: RawFrame): Buffer {
  const length = promised ?? payload.length;
  const head = [(fin ? 0x80 : 0) | (reserved << 4) | opcode];
  const flag = masked ? 0x80 : 0;
  const size = Buffer.alloc(8);
  size.writeBigUInt64BE(BigInt(length));
  if (length < 126) head.push(flag | length);
  else if (length < 65_536) head.push(flag | 126, ...size.subarray(6));
  else head.push(flag | 127, ...size);
  // A mask of zeros leaves the payload as it is.
  return Buffer.concat([Buffer.from(head), Buffer.alloc(masked ? 4 : 0), payload]);
}

/** A WebSocket of the daemon's stream on which a test writes what it likes. */
export class RawSocket {
  readonly #http: RawHttp;
  #taken = 0;
  #pings = 0;

  private constructor(http: RawHttp) {
    this.#http = http;
  }

  static async open(address: string, token: string): Promise<RawSocket> {
    const http = await RawHttp.open(address);
    const head = [
      "GET /v1/stream HTTP/1.1",
      `host: ${address}`,
      `authorization: Bearer ${token}`,
      "upgrade: websocket",
      "connection: upgrade",
      "sec-websocket-version: 13",
      `sec-websocket-key: ${randomBytes(16).toString("base64")}`,
    ];
    http.socket.write(`${head.join("\r\n")}\r\n\r\n`);
    const answer = await http.answer();
    if (answer?.status !== 101) throw new Error(`the upgrade was answered with ${answer?.status}`);
    return new RawSocket(http);
  }

  write(bytes: Buffer): void {
    this.#http.socket.write(bytes);
  }

  /** What came since the last time, up to the answer to a ping that is sent now, or the end. */
  async settled(): Promise<Received> {
    const id = `p${this.#pings++}`;
    this.write(encoded({ opcode: PING, payload: Buffer.from(id) }));
    let seen: Received & { readonly ponged: boolean } = { texts: [], closed: undefined, ponged: false };
    await this.#http.until(() => {
      seen = this.#received(id);
      return seen.ponged || seen.closed !== undefined;
    });
    this.#taken = this.#http.rest.length;
    return seen;
  }

  /** Hangs up; what came up to the end. */
  async hungUp(): Promise<Received> {
    this.#http.socket.end();
    await this.#http.closed();
    return this.#received("");
  }

  destroy(): void {
    this.#http.socket.destroy();
  }

  #received(pong: string): Received & { readonly ponged: boolean } {
    const bytes = this.#http.rest.subarray(this.#taken);
    const texts: string[] = [];
    let closed: number | undefined;
    let ponged = false;
    for (let at = 0; ; ) {
      const frame = frameAt(bytes, at);
      if (frame === undefined) break;
      at = frame.end;
      if (frame.opcode === 1) texts.push(frame.payload.toString());
      else if (frame.opcode === 8) closed = frame.payload.length < 2 ? 1005 : frame.payload.readUInt16BE();
      else if (frame.opcode === PONG) ponged ||= frame.payload.toString() === pong;
      else if (frame.opcode !== PING) throw new Error(`a frame of opcode ${frame.opcode}`);
    }
    if (closed === undefined && this.#http.ended) closed = 1006;
    return { texts, closed, ponged };
  }
}

function frameAt(bytes: Buffer, at: number) {
  if (bytes.length < at + 2) return undefined;
  const short = (bytes[at + 1] ?? 0) & 0x7f;
  const from = at + 2 + (short === 126 ? 2 : short === 127 ? 8 : 0);
  if (bytes.length < from) return undefined;
  const length =
    short === 126
      ? bytes.readUInt16BE(at + 2)
      : short === 127
        ? Number(bytes.readBigUInt64BE(at + 2))
        : short;
  if (bytes.length < from + length) return undefined;
  return {
    opcode: (bytes[at] ?? 0) & 0x0f,
    payload: bytes.subarray(from, from + length),
    end: from + length,
  };
}
