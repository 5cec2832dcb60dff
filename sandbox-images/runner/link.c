/*
 * The stream to and from the daemon. Replies go first, at frame boundaries; then output, one chunk an action
 * in turn, and by turns with it what connections carry; an action's outcome after all its output. What a daemon did not acknowledge stays with the
 * action, so dropping the queue when a new daemon says HELLO loses nothing.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "connections.h"
#include "runner.h"

#define READS_A_TURN 8
#define HOLD_MS 3

void link_open(struct runner *runner) {
  struct link *link = &runner->link;
  fcntl(0, F_SETFL, fcntl(0, F_GETFL) | O_NONBLOCK);
  fcntl(1, F_SETFL, fcntl(1, F_GETFL) | O_NONBLOCK);
  link->in = (struct watch){.kind = WATCH_LINK, .fd = 0};
  link->out = (struct watch){.kind = WATCH_LINK, .fd = 1};
  parser_reset(&link->parser);
  watch_set(runner, &link->in, EPOLLIN);
}

void link_reset(struct runner *runner) {
  struct link *link = &runner->link;
  link->control_length = link->pending_from = link->pending_to = 0;
  link->output_sent = link->output_received = 0;
  link->turn = NULL;
  link->held = link->held_until = 0;
  free(link->start_body);
  link->start_body = NULL;
  connections_reset(runner);
  for (struct action *action = runner->first; action; action = action->next) action->channel = 0;
}

static uint8_t *control_room(struct link *link, size_t length) {
  if (link->control_length + length > CONTROL_MAX) return NULL;
  if (link->control_length + length > link->control_capacity) {
    size_t capacity = 2 * (link->control_length + length);
    uint8_t *grown = realloc(link->control, capacity);
    if (!grown) return NULL;
    link->control = grown;
    link->control_capacity = capacity;
  }
  return link->control + link->control_length;
}

void link_reply(struct runner *runner, uint8_t type, uint8_t flags, uint32_t channel, const void *payload,
                size_t length) {
  uint8_t *frame = control_room(&runner->link, FRAME_HEADER + length);
  if (!frame) return; /* the daemon does not read; its request runs into its deadline */
  if (length) memcpy(frame + FRAME_HEADER, payload, length);
  runner->link.control_length += frame_seal(frame, type, flags, channel, length);
}

/*
 * The reply just made may wait a moment: most actions end within it, and then reply and outcome wake the
 * daemon once instead of twice.
 */
void link_hold(struct runner *runner, size_t length) {
  struct link *link = &runner->link;
  if (link->held_until == 0) link->held_until = now_ms() + HOLD_MS;
  link->held += length;
}

/* How long to wait for events when something is held: no longer than it may be. */
int link_wait(const struct runner *runner, int wait) {
  const struct link *link = &runner->link;
  if (link->held_until == 0) return wait;
  uint64_t now = now_ms();
  int left = link->held_until > now ? (int)(link->held_until - now) : 0;
  return wait < 0 || left < wait ? left : wait;
}

/* Satisfies whatever length a frame before it claims. */
void link_pad(struct runner *runner) {
  uint8_t *padding = control_room(&runner->link, FRAME_MAX);
  if (!padding) return;
  memset(padding, 0, FRAME_MAX);
  runner->link.control_length += FRAME_MAX;
}

size_t outcome_encode(const struct action *action, uint8_t *into) {
  const struct outcome *outcome = &action->outcome;
  size_t text = strlen(outcome->text);
  into[0] = outcome->kind;
  into[1] = outcome->flags;
  put_u16(into + 2, (uint16_t)text);
  put_u32(into + 4, (uint32_t)outcome->code);
  put_u64(into + 8, outcome->duration_us);
  put_u64(into + 16, outcome->cpu_us);
  put_u64(into + 24, outcome->max_rss);
  put_u64(into + 32, output_end(&action->out[0]));
  put_u64(into + 40, output_end(&action->out[1]));
  put_u32(into + 48, outcome->left_running);
  memcpy(into + 52, outcome->text, text);
  return 52 + text;
}

uint8_t *link_room(struct link *link) {
  return sizeof link->pending - link->pending_to >= FRAME_MAX ? link->pending + link->pending_to : NULL;
}

void link_fill(struct link *link, size_t length) { link->pending_to += length; }

/* One chunk of one stream into the pending bytes; false when it has nothing to send or may not. */
static bool output_send(struct link *link, const struct action *action, int which, struct output *output) {
  uint64_t unsent = output_end(output) - output->sent;
  uint64_t window = OUTPUT_IN_FLIGHT - (link->output_sent - link->output_received);
  size_t length = unsent < CHUNK_MAX ? (size_t)unsent : CHUNK_MAX;
  if (action->tail && action->state != ACTION_ENDED) return false;
  uint8_t *frame = link_room(link);
  if (length == 0 || length > window || !frame) return false;
  put_u64(frame + FRAME_HEADER, output->sent);
  ring_copy(&output->kept, (size_t)(output->sent - output->base), frame + FRAME_HEADER + 8, length);
  uint8_t stream = which == 0 ? STREAM_STDOUT : STREAM_STDERR;
  link_fill(link, frame_seal(frame, FRAME_OUTPUT, stream, action->channel, 8 + length));
  link->output_sent += length;
  output->sent += length;
  return true;
}

static bool outcome_send(struct link *link, struct action *action) {
  uint8_t *frame = link_room(link);
  bool due = action->state == ACTION_ENDED && !action->outcome_sent;
  for (int i = 0; i < 2; i++) due = due && action->out[i].sent == output_end(&action->out[i]);
  if (!due || !frame) return false;
  size_t length = outcome_encode(action, frame + FRAME_HEADER);
  link_fill(link, frame_seal(frame, FRAME_OUTCOME, 0, action->channel, length));
  action->outcome_sent = true;
  return true;
}

static bool action_send(struct link *link, struct action *action) {
  bool sent = output_send(link, action, 0, &action->out[0]);
  /* In which order the two ends were written is not known: errors come last, where they are read. */
  if (sent && action->tail) return true;
  sent |= output_send(link, action, 1, &action->out[1]);
  return outcome_send(link, action) || sent;
}

static void fill_control(struct link *link) {
  size_t room = sizeof link->pending - link->pending_to;
  size_t length = link->control_length < room ? link->control_length : room;
  if (length == 0) return;
  memcpy(link->pending + link->pending_to, link->control, length);
  link->pending_to += length;
  link->control_length -= length;
  memmove(link->control, link->control + length, link->control_length);
}

/* The next action that has something to send, beginning behind the one that did last; false when none has. */
static bool actions_send(struct runner *runner) {
  struct link *link = &runner->link;
  struct action *begin = link->turn ? link->turn : runner->first, *action = begin;
  if (!begin) return false;
  do {
    bool sent = action->channel && action_send(link, action);
    action = action->next ? action->next : runner->first;
    if (sent) link->turn = action;
    if (sent) return true;
  } while (action != begin);
  return false;
}

/* Actions and connections by turns: neither waits for more than a turn of the other. */
static void fill_output(struct runner *runner) {
  struct link *link = &runner->link;
  while (link_room(link)) {
    bool connections = link->connections_turn;
    link->connections_turn = !connections;
    if (connections ? connections_send(runner) : actions_send(runner)) continue;
    if (connections ? actions_send(runner) : connections_send(runner)) continue;
    return;
  }
}

static void link_broken(struct runner *runner) {
  watch_set(runner, &runner->link.out, 0);
  link_reset(runner);
  runner->link.greeted = false;
}

void link_flush(struct runner *runner) {
  struct link *link = &runner->link;
  while (link->greeted) {
    if (link->pending_from == link->pending_to) link->pending_from = link->pending_to = 0;
    if (link->pending_from == 0) {
      fill_control(link);
      if (link->control_length == 0) fill_output(runner);
    }
    if (link->pending_to == 0 && link->control_length > 0) continue; /* only the end of a connection was read */
    if (link->pending_to == 0) break;
    if (link->pending_to <= link->held && now_ms() < link->held_until) return;
    link->held = link->held_until = 0;
    ssize_t length = write(1, link->pending + link->pending_from, link->pending_to - link->pending_from);
    if (length >= 0) link->pending_from += (size_t)length;
    else if (errno == EAGAIN) return watch_set(runner, &link->out, EPOLLOUT);
    else if (errno != EINTR) return link_broken(runner);
  }
  watch_set(runner, &link->out, 0);
}

void link_readable(struct runner *runner) {
  struct link *link = &runner->link;
  for (int i = 0; i < READS_A_TURN; i++) {
    size_t room;
    struct frame frame;
    uint8_t *space = parser_space(&link->parser, &room);
    ssize_t length = read(0, space, room);
    if (length < 0 && errno == EINTR) continue;
    if (length < 0 && errno == EAGAIN) return;
    if (length <= 0) return watch_close(runner, &link->in);
    link->heard_at = now_ms();
    parser_filled(&link->parser, (size_t)length);
    while (parser_next(&link->parser, &frame)) command_run(runner, &frame);
    if ((size_t)length < room) return;
  }
}
