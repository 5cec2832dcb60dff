/*
 * What the runner knows: its connection to the daemon, and every action it remembers.
 *
 * An action is one process started by the daemon (its leader), below a supervisor process of its own. The
 * supervisor adopts what the leader leaves behind, so the action's tree is what descends from the supervisor.
 */
#ifndef CAISSON_RUNNER_H
#define CAISSON_RUNNER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "frames.h"
#include "ring.h"

#define LIVE_MAX 128             /* actions with a supervisor or undelivered pipe content */
#define ENDED_MAX 1024           /* outcomes remembered */
#define RETAINED_MAX (16 << 20)  /* unacknowledged output of ended actions; the oldest goes first */
#define CONTROL_MAX (1 << 20)    /* replies waiting for the daemon to read */

struct action;

/* One descriptor in the epoll set. */
enum watch_kind { WATCH_LINK, WATCH_SIGNALS, WATCH_REPORT, WATCH_OUTPUT, WATCH_INPUT, WATCH_LISTENER, WATCH_CONNECTION };
struct watch {
  enum watch_kind kind;
  int fd; /* -1: closed */
  uint32_t events;
  struct action *action;
};

/* stdout or stderr: bytes [base, end) are kept until acknowledged, those below `sent` have been sent. */
struct output {
  struct watch watch;
  struct ring kept;
  uint64_t base, sent;
  uint64_t stop; /* where the leader's output ends; UINT64_MAX while it runs. Beyond it bytes are discarded */
  uint64_t small_paid; /* ms: until when its small reads are paid for, each costs REST_MS */
  uint64_t rest_until; /* ms; 0: not resting */
};

struct input {
  struct watch watch;
  struct ring waiting;
  uint64_t taken, written, granted;
  bool closing; /* close when all that waits is written */
};

struct outcome {
  uint8_t kind, flags;
  int32_t code; /* exit code, signal number, or errno */
  uint64_t duration_us, cpu_us, max_rss;
  uint32_t left_running;
  char text[32]; /* of a start error: errno name and stage */
};

enum action_state { ACTION_RUNNING, ACTION_DRAINING, ACTION_ENDED };

struct action {
  struct action *next; /* in order of start */
  char id[ID_MAX + 1];
  enum action_state state;
  pid_t supervisor; /* 0: gone */
  pid_t leader;     /* 0: not reported yet, or ended */
  pid_t group;      /* the leader's pid, for good */
  struct watch report;
  struct output out[2];
  struct input in;
  struct outcome outcome;
  uint32_t channel; /* 0: no handle on this connection */
  bool outcome_sent, forgotten, timed_out;
  bool tail; /* of its output only the end is wanted: a full window loses its oldest bytes and blocks nobody */
  bool lost; /* its supervisor was killed before it could report */
  uint32_t signals_waiting; /* signals to the group that came before the leader's pid was known */
  uint64_t ended_order;
  uint64_t started_at, deadline, grace_ms; /* milliseconds; deadline 0: none */
  uint64_t kill_at;            /* next step of killing the tree; 0: not being killed */
  uint32_t kill_round;
};

/* A command's connection to the gateway; a place without a descriptor is free. */
struct connection {
  struct watch watch; /* first: the watch of an event is the connection's */
  uint32_t number;
  bool readable;           /* for all we know: until a read says otherwise */
  bool out_ended, in_ended; /* the command's, the daemon's last byte was seen */
  uint64_t sent, granted;  /* from the command: offsets sent, and that may be sent */
  uint64_t small_paid, rest_until;  /* as of an output */
  uint64_t taken, written, offered; /* to the command: offsets received, passed on, and that the daemon may send */
  struct ring waiting;
};

struct connections {
  struct watch listener;
  uint16_t port;      /* 0: nothing is listened on */
  uint64_t accept_at; /* ms: no connection is accepted before; 0: not resting */
  uint32_t last_number;
  unsigned turn;           /* whose bytes go next */
  uint64_t sent, received; /* bytes, over all of them, since HELLO */
  struct connection list[CONNECTIONS_MAX];
};

struct link {
  struct watch in, out;
  struct frame_parser parser;
  bool greeted, takes_connections;
  uint64_t heard_at; /* ms: when anything last came from a daemon */
  uint64_t output_sent, output_received;
  uint8_t *control; /* replies, whole frames */
  size_t control_length, control_capacity;
  uint8_t *start_body; /* a START in the making */
  size_t start_length, start_total;
  uint32_t start_channel;
  struct action *turn; /* whose output goes next */
  bool connections_turn; /* they and actions take turns */
  size_t held;         /* bytes that may wait for company until then, in ms */
  uint64_t held_until;
  size_t pending_from, pending_to;
  uint8_t pending[2 * FRAME_MAX]; /* what is being written: whole frames, then a tail of them */
};

struct runner {
  int epoll, null_fd, oom_fd, oom_score;
  struct watch signals;
  pid_t pid;
  int landlock;
  bool leave_on_eof;
  struct link link;
  struct connections connections;
  struct action *first, *last;
  bool untidy; /* actions_trim has something to do */
  uint64_t ended_count;
  size_t buffered; /* bytes of memory in output rings */
  uint64_t stray_sweep_at; /* 0: none due */
};

uint64_t now_ms(void);
void watch_set(struct runner *runner, struct watch *watch, uint32_t events);
void watch_close(struct runner *runner, struct watch *watch);

/* actions.c: what is remembered */
struct action *action_find(struct runner *runner, const char *id);
struct action *action_by_channel(struct runner *runner, uint32_t channel);
struct action *action_new(struct runner *runner, const char *id);
void action_finish(struct runner *runner, struct action *action); /* when all its output is read */
void action_forget(struct runner *runner, struct action *action);
void actions_trim(struct runner *runner); /* drops what is beyond the bounds; only between events */
bool action_live(const struct action *action);
/* Forgotten, with nothing left to tell of: its supervisor may be on its way out still. */
bool action_hidden(const struct action *action);

/* spawn.c: NULL, or why it was refused */
struct start;
const char *action_spawn(struct runner *runner, const struct start *start, struct action **made);

/* reports.c: what supervisors say and how they end */
void report_readable(struct runner *runner, struct action *action);
void children_reap(struct runner *runner);
/* The outcome of an action whose supervisor was killed. */
void report_lost(struct runner *runner, struct action *action, int wait_status);

/* streams.c: pipes of the action */
#define SMALL_READ 4096 /* bytes; fewer are few for what a frame costs */
#define REST_MS 4
/* Counts a small read; true when the next has to rest first, for REST_MS. */
bool small_read_rests(uint64_t *paid, uint64_t now);
void output_readable(struct runner *runner, struct action *action, struct output *output);
void output_acknowledge(struct runner *runner, struct action *action, struct output *output, uint64_t offset);
/* Its rest is over when it is time. */
void output_rested(struct runner *runner, struct output *output, uint64_t now);
/* From now on only the end of its output is kept, and sent when it has ended. */
void outputs_tail(struct runner *runner, struct action *action);
/* The leader has ended: reads what is in the pipes now, and no more. */
void outputs_drain(struct runner *runner, struct action *action);
void outputs_forget(struct runner *runner, struct action *action);
void input_put(struct runner *runner, struct action *action, const uint8_t *bytes, size_t length);
void input_writable(struct runner *runner, struct action *action);
/* No more is written to it, whatever waits. */
void input_end(struct runner *runner, struct action *action);
/* Ends it when what waits is written. */
void input_close(struct runner *runner, struct action *action);
static inline uint64_t output_end(const struct output *output) { return output->base + output->kept.used; }

/* killing.c: signals and deadlines */
void action_signal(struct runner *runner, struct action *action, int signal, enum signal_scope scope);
void action_kill_tree(struct action *action);
uint32_t action_alive(const struct action *action);
/* Does what is due; returns milliseconds until the next is, or -1. */
int deadlines_run(struct runner *runner);
/* The shorter of `wait` (-1: for ever) and the time until `due` (0: nothing is). Milliseconds. */
int wait_until(uint64_t due, uint64_t now, int wait);
void strays_sweep_soon(struct runner *runner);

/* link.c: the stream to and from the daemon */
void link_open(struct runner *runner);
void link_readable(struct runner *runner);
void link_flush(struct runner *runner);
void link_hold(struct runner *runner, size_t length);
int link_wait(const struct runner *runner, int wait);
void link_reply(struct runner *runner, uint8_t type, uint8_t flags, uint32_t channel, const void *payload,
                size_t length);
void link_pad(struct runner *runner);
/* Where a frame of any size may be made, or NULL; link_fill says how long it is. */
uint8_t *link_room(struct link *link);
void link_fill(struct link *link, size_t length);
void link_reset(struct runner *runner);
size_t outcome_encode(const struct action *action, uint8_t *into);

/* commands.c */
void command_run(struct runner *runner, const struct frame *frame);

#endif
