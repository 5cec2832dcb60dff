/*
 * The frame protocol between daemon and runner. daemon/sandbox/runner-frames.ts is its other half: a
 * number changed here is changed there (a test compares them).
 *
 * Every frame: magic (4 bytes), type (1), flags (1), payload length (2), channel (4), crc32 over the 12
 * bytes before it and the payload (4), payload. Integers are little-endian. Zero bytes between frames are
 * padding.
 */
#ifndef CAISSON_PROTOCOL_H
#define CAISSON_PROTOCOL_H

#define PROTOCOL_VERSION 1
#define RUNNER_VERSION "0.2.0"

#define FRAME_MAGIC "\xC5\x43\x53\x4E"
#define FRAME_HEADER 16
/* Bytes of output or input in one frame. */
#define CHUNK_MAX (32 * 1024)
/* A chunk and the fields beside it. */
#define PAYLOAD_MAX (CHUNK_MAX + 64)
#define FRAME_MAX (FRAME_HEADER + PAYLOAD_MAX)

#define NONCE_LENGTH 16
#define ID_MAX 64
/* A whole START, over all its frames. */
#define START_MAX (4 * 1024 * 1024)
/* Unacknowledged bytes a stream may have; the process blocks beyond. */
#define OUTPUT_WINDOW (256 * 1024)
/* Bytes of standard input the daemon may send before the process has read them. */
#define INPUT_WINDOW (256 * 1024)
/* Output bytes on their way to the daemon, over all streams. */
#define OUTPUT_IN_FLIGHT (512 * 1024)
/* On 127.0.0.1, for connections of commands to the gateway. */
#define PROXY_PORT 3128
/* Such connections at once; whoever comes beyond is reset. */
#define CONNECTIONS_MAX 64
/* Bytes of a connection that may be sent, each way, before the other side has granted more. */
#define CONNECTION_WINDOW (256 * 1024)
/* Bytes of connections on their way to the daemon, over all of them: what outcomes and output wait behind. */
#define CONNECTIONS_IN_FLIGHT (256 * 1024)

enum frame_type {
  /* daemon to runner */
  FRAME_HELLO = 1,         /* nonce, u16 version; flags: hello_flag */
  FRAME_START = 2,         /* first bytes of a START body; u32 length of the whole comes before them */
  FRAME_START_DATA = 3,    /* more of them */
  FRAME_START_COMMIT = 4,  /* run it: without this frame nothing runs */
  FRAME_RESUME = 5,        /* u64 stdout, u64 stderr, id */
  FRAME_ACK = 6,           /* flags: stream; u64 offset */
  FRAME_STDIN = 7,         /* bytes */
  FRAME_STDIN_CLOSE = 8,
  FRAME_SIGNAL = 9,        /* u8 signal, u8 scope */
  FRAME_FORGET = 10,       /* id */
  FRAME_LIST = 11,         /* channel: request number */
  FRAME_RECEIVED = 12,     /* u64 bytes received since HELLO; flags: received_kind */
  FRAME_PING = 13,         /* up to 64 bytes, sent back */
  FRAME_TAIL = 14,         /* of what comes now only the end is wanted, when the process has ended */

  /* runner to daemon */
  FRAME_HELLO_ACK = 33,    /* nonce, u16 version, u16 landlock, u32 pid, text, a zero, u16 port listened on (0: none) */
  FRAME_START_ACK = 34,    /* flags: start_result; u64 first stdout offset, first stderr offset, stdin taken, stdin granted; text */
  FRAME_RESUME_ACK = 35,   /* the same; flags: resume_result */
  FRAME_OUTPUT = 36,       /* flags: stream; u64 offset, bytes */
  FRAME_OUTCOME = 37,      /* see outcome_encode */
  FRAME_STDIN_CREDIT = 38, /* u64: the offset up to which the daemon may send; flags 1: it reads no more */
  FRAME_LIST_ENTRY = 39,   /* channel: request; u8 state, u32 alive, id with u8 length, outcome if ended */
  FRAME_LIST_END = 40,     /* channel: request; u32 entries */
  FRAME_PONG = 41,

  /*
   * Connections of commands to the gateway; channel: the connection's number, chosen by the runner, larger each time.
   * All but OPEN go both ways, and of a number that the other side has done with they do nothing.
   */
  FRAME_CONNECTION_OPEN = 64,   /* runner to daemon */
  FRAME_CONNECTION_DATA = 65,   /* bytes, at most CHUNK_MAX and within the other side's credit */
  FRAME_CONNECTION_CREDIT = 66, /* u64: the offset up to which the other side may send; CONNECTION_WINDOW at first */
  FRAME_CONNECTION_CLOSE = 67,  /* flags: close_kind; an end comes after all data */
};

enum stream_name { STREAM_STDOUT = 1, STREAM_STDERR = 2 };
/* HELLO of a daemon that serves connections: for another one they are reset as soon as they are made. */
enum hello_flag { HELLO_TAKES_CONNECTIONS = 1 };
enum received_kind { RECEIVED_OUTPUT = 0, RECEIVED_CONNECTIONS = 1 };
/* END: this side sends no more, and still receives. RESET: the connection is gone, with all that is on its way. */
enum close_kind { CLOSE_END = 0, CLOSE_RESET = 1 };
enum signal_scope { SCOPE_GROUP = 0, SCOPE_TREE = 1 };
enum start_result { START_STARTED = 0, START_EXISTS = 1, START_REFUSED = 2 };
enum resume_result { RESUME_KNOWN = 0, RESUME_UNKNOWN = 1 };
enum outcome_kind { OUTCOME_EXIT = 0, OUTCOME_SIGNAL = 1, OUTCOME_START_ERROR = 2 };
enum outcome_flag { OUTCOME_TIMED_OUT = 1, OUTCOME_STATE_SAVED = 2, OUTCOME_SUPERVISION_LOST = 4 };
/* What a Landlock rule allows below its path; FOLLOW: symlinks on the way to it are followed. */
enum rule_access { RULE_READ = 1, RULE_WRITE = 2, RULE_EXECUTE = 4, RULE_FOLLOW = 8 };

#endif
