/** Bounds of the stream; sizes in bytes, durations in milliseconds. */
export interface StreamLimits {
  /** Sockets open at once. */
  readonly sockets: number;
  /** Subscriptions on one socket. */
  readonly subscriptions: number;
  /** Largest frame a client may send; a larger one is a bad frame. */
  readonly frameBytes: number;
  /** Largest frame that is taken in to be told so; a larger one is cut off unread, with 1009. */
  readonly cutOffBytes: number;
  /** Pieces in which a frame may come: fragments, and reads of the network. */
  readonly fragments: number;
  readonly chunks: number;
  /** Replay pauses, and following becomes replay, when this much waits to be sent. */
  readonly highBytes: number;
  /** Replay goes on when no more than this waits. */
  readonly lowBytes: number;
  /** A frame that finds more than this waiting cuts the socket; only what can't be replayed, a feed, gets there. */
  readonly hardBytes: number;
  /** Live frames are dropped, not queued, when this much waits. */
  readonly liveBytes: number;
  /** How long a socket may stay above `lowBytes` once it was above `highBytes`. */
  readonly graceMs: number;
  /** How long a closed socket may take to say goodbye before it is cut. */
  readonly goodbyeMs: number;
  /** Between pings; a socket that has not answered the last one is cut. */
  readonly pingMs: number;
  /** Newest events kept by reference for each replay, so that it catches up with a busy run. */
  readonly tailEvents: number;
}

export const STREAM_LIMITS: StreamLimits = {
  sockets: 256,
  subscriptions: 64,
  frameBytes: 64 * 1024,
  cutOffBytes: 1024 * 1024,
  fragments: 16,
  chunks: 4_096,
  highBytes: 1024 * 1024,
  lowBytes: 256 * 1024,
  hardBytes: 4 * 1024 * 1024,
  liveBytes: 256 * 1024,
  graceMs: 10_000,
  goodbyeMs: 2_000,
  pingMs: 30_000,
  tailEvents: 64,
};
