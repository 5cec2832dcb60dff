/** Bounds of everything that passes; milliseconds and bytes. */
export interface GatewayLimits {
  /** Resolving a name. */
  readonly resolveMs: number;
  /** A connection to a host, TLS included. */
  readonly connectMs: number;
  /** From the request's last byte to the answer's head. */
  readonly firstByteMs: number;
  /** Without a byte in either direction while a request or an opaque tunnel lives. */
  readonly idleMs: number;
  /** What a connection has to bring its next request's head, TLS included. */
  readonly headMs: number;
  readonly requestHeadBytes: number;
  readonly responseHeadBytes: number;
  /** Of a body that is held to be judged. */
  readonly heldBodyBytes: number;
  /** Of an answer's body, decompressed where it is looked through. */
  readonly responseBytes: number;
}

const MiB = 1024 * 1024;

export const GATEWAY_LIMITS: GatewayLimits = {
  resolveMs: 5_000,
  connectMs: 10_000,
  firstByteMs: 300_000,
  idleMs: 120_000,
  headMs: 120_000,
  requestHeadBytes: 32 * 1024,
  responseHeadBytes: 64 * 1024,
  heldBodyBytes: MiB,
  responseBytes: 4_096 * MiB,
};
