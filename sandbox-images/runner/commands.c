/* What each frame of the daemon does. Frames of unknown types and impossible lengths do nothing. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "connections.h"
#include "processes.h"
#include "runner.h"
#include "start.h"

static void hello(struct runner *runner, const struct frame *frame) {
  uint8_t payload[NONCE_LENGTH + 8 + sizeof RUNNER_VERSION + 2];
  if (frame->length < NONCE_LENGTH) return;
  link_reset(runner);
  runner->link.greeted = true;
  runner->link.takes_connections = frame->flags & HELLO_TAKES_CONNECTIONS;
  memcpy(payload, frame->payload, NONCE_LENGTH);
  put_u16(payload + NONCE_LENGTH, PROTOCOL_VERSION);
  put_u16(payload + NONCE_LENGTH + 2, (uint16_t)runner->landlock);
  put_u32(payload + NONCE_LENGTH + 4, (uint32_t)runner->pid);
  memcpy(payload + NONCE_LENGTH + 8, RUNNER_VERSION, sizeof RUNNER_VERSION);
  put_u16(payload + sizeof payload - 2, runner->connections.port);
  link_pad(runner);
  link_reply(runner, FRAME_HELLO_ACK, 0, 0, payload, sizeof payload);
}

/* From here on the daemon hears of the action on this channel, from the first byte that is still kept. */
static void bind(struct runner *runner, struct action *action, uint32_t channel) {
  struct action *before = action_by_channel(runner, channel);
  if (before) before->channel = 0;
  action->channel = channel;
  action->outcome_sent = false;
  for (int i = 0; i < 2; i++) action->out[i].sent = action->out[i].base;
}

/* The four offsets of a START_ACK or RESUME_ACK; a refusal's text follows. */
#define ACK_LENGTH 32

/* action: NULL when there is none to tell of. */
static void acknowledge(struct runner *runner, const struct frame *frame, uint8_t type, uint8_t result,
                        const struct action *action, const char *text) {
  uint8_t payload[ACK_LENGTH + 128] = {0};
  size_t length = strnlen(text, 128);
  if (action) {
    put_u64(payload, action->out[0].base);
    put_u64(payload + 8, action->out[1].base);
    put_u64(payload + 16, action->in.taken);
    put_u64(payload + 24, action->in.granted);
  }
  memcpy(payload + ACK_LENGTH, text, length);
  link_reply(runner, type, result, frame->channel, payload, ACK_LENGTH + length);
}

static void start_begin(struct link *link, const struct frame *frame) {
  free(link->start_body);
  link->start_body = NULL;
  if (frame->length < 4) return;
  size_t total = get_u32(frame->payload), length = frame->length - 4u;
  if (total > START_MAX || length > total || !(link->start_body = malloc(total + 1))) return;
  memcpy(link->start_body, frame->payload + 4, length);
  link->start_channel = frame->channel;
  link->start_total = total;
  link->start_length = length;
}

static void start_continue(struct link *link, const struct frame *frame) {
  if (!link->start_body || frame->channel != link->start_channel) return;
  if (frame->length > link->start_total - link->start_length) return;
  memcpy(link->start_body + link->start_length, frame->payload, frame->length);
  link->start_length += frame->length;
}

static void start_run(struct runner *runner, const struct frame *frame, uint8_t *body, size_t length) {
  struct start start;
  struct action *action = NULL;
  const char *refusal = start_decode(&start, body, length);
  uint8_t result = START_REFUSED;
  if (!refusal && (action = action_find(runner, start.id)) != NULL) {
    result = START_EXISTS;
  } else if (!refusal && (refusal = action_spawn(runner, &start, &action)) == NULL) {
    result = START_STARTED;
  }
  start_free(&start);
  if (action) bind(runner, action, frame->channel);
  acknowledge(runner, frame, FRAME_START_ACK, result, action, refusal ? refusal : "");
  /* Who is to write to it waits for the reply. */
  if (result == START_STARTED && !start.stdin_pipe) link_hold(runner, FRAME_HEADER + ACK_LENGTH);
}

static void start_commit(struct runner *runner, const struct frame *frame) {
  struct link *link = &runner->link;
  uint8_t *body = link->start_body;
  bool whole = body && frame->channel == link->start_channel && link->start_length == link->start_total;
  link->start_body = NULL;
  if (whole && frame->channel) start_run(runner, frame, body, link->start_total);
  else acknowledge(runner, frame, FRAME_START_ACK, START_REFUSED, NULL, "EINVAL incomplete start");
  free(body);
}

/* An id from a payload, or the empty one. */
static void id_take(char id[ID_MAX + 1], const uint8_t *bytes, size_t length) {
  memset(id, 0, ID_MAX + 1);
  if (id_valid((const char *)bytes, length)) memcpy(id, bytes, length);
}

static void resume(struct runner *runner, const struct frame *frame) {
  char id[ID_MAX + 1];
  if (frame->length < 17 || !frame->channel) return;
  id_take(id, frame->payload + 16, frame->length - 16u);
  struct action *action = action_find(runner, id);
  if (!action) return acknowledge(runner, frame, FRAME_RESUME_ACK, RESUME_UNKNOWN, NULL, "");
  for (int i = 0; i < 2; i++)
    output_acknowledge(runner, action, &action->out[i], get_u64(frame->payload + 8 * i));
  bind(runner, action, frame->channel);
  acknowledge(runner, frame, FRAME_RESUME_ACK, RESUME_KNOWN, action, "");
}

static void forget(struct runner *runner, const struct frame *frame) {
  char id[ID_MAX + 1];
  id_take(id, frame->payload, frame->length);
  struct action *action = action_find(runner, id);
  if (action) action_forget(runner, action);
}

static void list_entry(struct runner *runner, const struct frame *frame, const struct action *action,
                       uint32_t alive) {
  uint8_t payload[6 + ID_MAX + 96];
  size_t id_length = strlen(action->id), length = 6 + id_length;
  payload[0] = action->state == ACTION_ENDED;
  put_u32(payload + 1, alive);
  payload[5] = (uint8_t)id_length;
  memcpy(payload + 6, action->id, id_length);
  if (action->state == ACTION_ENDED) length += outcome_encode(action, payload + length);
  link_reply(runner, FRAME_LIST_ENTRY, 0, frame->channel, payload, length);
}

static void list(struct runner *runner, const struct frame *frame) {
  uint8_t payload[4];
  uint32_t count = 0;
  for (const struct action *action = runner->first; action; action = action->next) {
    if (action_hidden(action)) continue;
    list_entry(runner, frame, action, action->state == ACTION_ENDED ? action_alive(action) : 0);
    count++;
  }
  put_u32(payload, count);
  link_reply(runner, FRAME_LIST_END, 0, frame->channel, payload, sizeof payload);
}

/* Frames to an action by its channel. */
static void action_command(struct runner *runner, const struct frame *frame) {
  struct action *action = action_by_channel(runner, frame->channel);
  const uint8_t *payload = frame->payload;
  if (!action) return;
  if (frame->type == FRAME_STDIN) input_put(runner, action, payload, frame->length);
  if (frame->type == FRAME_STDIN_CLOSE) input_close(runner, action);
  if (frame->type == FRAME_ACK && frame->length == 8 && (frame->flags == STREAM_STDOUT || frame->flags == STREAM_STDERR))
    output_acknowledge(runner, action, &action->out[frame->flags - 1], get_u64(payload));
  if (frame->type == FRAME_TAIL) outputs_tail(runner, action);
  if (frame->type == FRAME_SIGNAL && frame->length == 2 && payload[0] > 0 && payload[0] < 32)
    action_signal(runner, action, payload[0], payload[1] == SCOPE_TREE ? SCOPE_TREE : SCOPE_GROUP);
}

static void received(struct runner *runner, const struct frame *frame) {
  if (frame->length != 8) return;
  bool of_connections = frame->flags == RECEIVED_CONNECTIONS;
  uint64_t total = get_u64(frame->payload);
  uint64_t sent = of_connections ? runner->connections.sent : runner->link.output_sent;
  uint64_t *before = of_connections ? &runner->connections.received : &runner->link.output_received;
  if (total > *before && total <= sent) *before = total;
}

void command_run(struct runner *runner, const struct frame *frame) {
  switch (frame->type) {
    case FRAME_HELLO: return hello(runner, frame);
    case FRAME_START: return start_begin(&runner->link, frame);
    case FRAME_START_DATA: return start_continue(&runner->link, frame);
    case FRAME_START_COMMIT: return start_commit(runner, frame);
    case FRAME_RESUME: return resume(runner, frame);
    case FRAME_FORGET: return forget(runner, frame);
    case FRAME_LIST: return list(runner, frame);
    case FRAME_RECEIVED: return received(runner, frame);
    case FRAME_PING:
      if (frame->length <= 64) link_reply(runner, FRAME_PONG, 0, frame->channel, frame->payload, frame->length);
      return;
    case FRAME_CONNECTION_DATA:
    case FRAME_CONNECTION_CREDIT:
    case FRAME_CONNECTION_CLOSE: return connection_command(runner, frame);
    default: return action_command(runner, frame);
  }
}
