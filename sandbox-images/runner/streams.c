/* The pipes of an action. Output is kept until it is acknowledged; a full window stops the reading. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "runner.h"

/* Bytes read from one pipe before others have their turn. */
#define TURN_MAX (128 * 1024)
/* Beyond this much memory for output in all, a stream gets a small window. */
#define BUFFERED_MAX (24 << 20)
#define SMALL_WINDOW (32 * 1024)
/*
 * Whoever writes single bytes would have a frame made, carried and read for each of them, at the cost of all other
 * sandboxes. So of reads below SMALL_READ bytes a stream has SMALL_READS_MAX at once, then one every REST_MS; what
 * comes meanwhile is in the pipe, and an action that ends is read at once.
 */
#define SMALL_READS_MAX 64
/* Where only the end is wanted, reading a flood as fast as can be would take all cores: so a rest every so many bytes. */
#define TAIL_READ (256 * 1024)
#define TAIL_REST_MS 1

static bool drained(const struct output *output) {
  return output->watch.fd < 0 || output_end(output) >= output->stop;
}

static void finish_if_drained(struct runner *runner, struct action *action) {
  if (action->state != ACTION_DRAINING || !drained(&action->out[0]) || !drained(&action->out[1])) return;
  for (int i = 0; i < 2; i++) {
    struct output *output = &action->out[i];
    runner->buffered -= output->kept.capacity;
    ring_trim(&output->kept);
    runner->buffered += output->kept.capacity;
    if (!action->supervisor) watch_close(runner, &output->watch);
  }
  action_finish(runner, action);
}

/* Background processes go on writing; nobody shall block on it, and nothing of it is kept. */
static void discard(struct runner *runner, struct action *action, struct output *output) {
  if (!action->supervisor && action->state == ACTION_ENDED) {
    watch_close(runner, &output->watch);
    return;
  }
  watch_set(runner, &output->watch, EPOLLIN);
  ssize_t length = splice(output->watch.fd, NULL, runner->null_fd, NULL, TURN_MAX, SPLICE_F_NONBLOCK);
  if (length == 0 || (length < 0 && errno != EAGAIN && errno != EINTR)) watch_close(runner, &output->watch);
}

static size_t window(const struct runner *runner) {
  return runner->buffered > BUFFERED_MAX ? SMALL_WINDOW : OUTPUT_WINDOW;
}

/*
 * Most streams end without a byte, and need no memory then: so ask before making room. 1: there is something;
 * else as read(2) for nothing.
 */
static ssize_t readable(int fd) {
  struct pollfd asked = {.fd = fd, .events = POLLIN};
  poll(&asked, 1, 0);
  if (asked.revents & POLLIN) return 1;
  errno = EAGAIN;
  return asked.revents ? 0 : -1;
}

static void output_drop(struct runner *runner, struct output *output, uint64_t offset) {
  runner->buffered -= output->kept.capacity;
  ring_drop(&output->kept, (size_t)(offset - output->base));
  runner->buffered += output->kept.capacity;
  output->base = offset;
  if (output->sent < offset) output->sent = offset;
}

/* Of a full window the older half goes. */
static void make_room(struct runner *runner, struct output *output) {
  if (output->kept.used >= window(runner)) output_drop(runner, output, output_end(output) - window(runner) / 2);
}

/* As read(2). Without room it is ENOBUFS, and the watch sleeps until something is acknowledged. */
static ssize_t read_kept(struct runner *runner, struct action *action, struct output *output) {
  struct iovec pieces[2];
  uint64_t left = output->stop - output_end(output);
  size_t before = output->kept.capacity;
  ssize_t length = before == 0 ? readable(output->watch.fd) : 1;
  if (length <= 0) return length;
  if (action->tail) make_room(runner, output);
  bool room = ring_grow(&output->kept, window(runner));
  runner->buffered += output->kept.capacity - before;
  if (!room) {
    watch_set(runner, &output->watch, 0);
    errno = ENOBUFS;
    return -1;
  }
  int count = ring_space(&output->kept, pieces, left < TURN_MAX ? (size_t)left : TURN_MAX);
  length = readv(output->watch.fd, pieces, count);
  if (length > 0) ring_filled(&output->kept, (size_t)length);
  return length;
}

/* One read; false when there is nothing more to be had now. */
static bool read_some(struct runner *runner, struct action *action, struct output *output) {
  ssize_t length = read_kept(runner, action, output);
  if (length > 0 || (length < 0 && errno == EINTR)) return true;
  if (length < 0 && errno == ENOBUFS) return false;
  if (length < 0 && errno == EAGAIN) {
    /* Someone else took what we had counted: there is nothing left to wait for. */
    if (action->state == ACTION_DRAINING) output->stop = output_end(output);
    return false;
  }
  watch_close(runner, &output->watch);
  return false;
}

bool small_read_rests(uint64_t *paid, uint64_t now) {
  uint64_t credit = REST_MS * SMALL_READS_MAX;
  if (*paid + credit < now) *paid = now - credit;
  *paid += REST_MS;
  return *paid > now;
}

static void output_rest(struct runner *runner, struct output *output, uint64_t until) {
  output->rest_until = until;
  watch_set(runner, &output->watch, 0);
}

/* After many small reads in quick succession the pipe is left to fill for a moment. */
static void small_read(struct runner *runner, struct output *output) {
  uint64_t now = now_ms();
  if (small_read_rests(&output->small_paid, now)) output_rest(runner, output, now + REST_MS);
}

void output_rested(struct runner *runner, struct output *output, uint64_t now) {
  if (output->rest_until == 0 || output->rest_until > now) return;
  output->rest_until = 0;
  watch_set(runner, &output->watch, EPOLLIN);
}

void output_readable(struct runner *runner, struct action *action, struct output *output) {
  if (output->watch.fd < 0) return;
  uint64_t begin = output_end(output), turn_end = begin + TURN_MAX;
  while (output->watch.fd >= 0 && output_end(output) < turn_end && output_end(output) < output->stop)
    if (!read_some(runner, action, output)) break;
  finish_if_drained(runner, action);
  if (output->watch.fd >= 0 && output_end(output) >= output->stop) discard(runner, action, output);
  if (output->watch.events == 0) return;
  if (output_end(output) - begin < SMALL_READ) small_read(runner, output);
  else if (action->tail && begin / TAIL_READ != output_end(output) / TAIL_READ)
    output_rest(runner, output, now_ms() + TAIL_REST_MS);
}

void outputs_drain(struct runner *runner, struct action *action) {
  action->state = ACTION_DRAINING;
  for (int i = 0; i < 2; i++) {
    struct output *output = &action->out[i];
    int waiting = 0;
    if (output->watch.fd < 0 || ioctl(output->watch.fd, FIONREAD, &waiting) < 0) waiting = 0;
    output->stop = output_end(output) + (uint64_t)waiting;
  }
  for (int i = 0; i < 2; i++) output_readable(runner, action, &action->out[i]);
  finish_if_drained(runner, action);
}

void output_acknowledge(struct runner *runner, struct action *action, struct output *output, uint64_t offset) {
  if (offset > output_end(output)) offset = output_end(output);
  if (offset <= output->base) return;
  output_drop(runner, output, offset);
  if (output->watch.fd < 0 || output->watch.events) return;
  watch_set(runner, &output->watch, EPOLLIN);
  if (action->state == ACTION_DRAINING) output_readable(runner, action, output);
}

void outputs_tail(struct runner *runner, struct action *action) {
  action->tail = true;
  for (int i = 0; i < 2; i++) {
    struct output *output = &action->out[i];
    if (output->watch.fd < 0 || output->watch.events) continue;
    watch_set(runner, &output->watch, EPOLLIN);
    if (action->state == ACTION_DRAINING) output_readable(runner, action, output);
  }
}

void outputs_forget(struct runner *runner, struct action *action) {
  for (int i = 0; i < 2; i++) output_drop(runner, &action->out[i], output_end(&action->out[i]));
}

static void input_grant(struct runner *runner, struct action *action, bool over) {
  uint8_t payload[8];
  struct input *input = &action->in;
  uint64_t granted = input->written + INPUT_WINDOW;
  if (!over && granted - input->granted < INPUT_WINDOW / 4) return;
  input->granted = granted;
  put_u64(payload, granted);
  if (action->channel) link_reply(runner, FRAME_STDIN_CREDIT, over, action->channel, payload, sizeof payload);
}

void input_end(struct runner *runner, struct action *action) {
  struct input *input = &action->in;
  if (input->watch.fd < 0) return;
  watch_close(runner, &input->watch);
  ring_drop(&input->waiting, input->waiting.used);
  input->written = input->taken;
  input_grant(runner, action, true);
}

void input_writable(struct runner *runner, struct action *action) {
  struct input *input = &action->in;
  while (input->watch.fd >= 0 && input->waiting.used > 0) {
    struct iovec pieces[2];
    int count = ring_content(&input->waiting, pieces, INPUT_WINDOW);
    ssize_t length = writev(input->watch.fd, pieces, count);
    if (length < 0 && errno == EINTR) continue;
    if (length < 0 && errno == EAGAIN) {
      watch_set(runner, &input->watch, EPOLLOUT);
      return;
    }
    if (length < 0) return input_end(runner, action); /* it does not read any more */
    ring_drop(&input->waiting, (size_t)length);
    input->written += (uint64_t)length;
    input_grant(runner, action, false);
  }
  if (input->watch.fd < 0) return;
  watch_set(runner, &input->watch, 0);
  if (input->closing) input_end(runner, action);
}

void input_put(struct runner *runner, struct action *action, const uint8_t *bytes, size_t length) {
  struct input *input = &action->in;
  if (input->watch.fd < 0 || input->closing || input->taken + length > input->granted) return;
  if (!ring_put(&input->waiting, bytes, length, INPUT_WINDOW)) return input_end(runner, action);
  input->taken += length;
  input_writable(runner, action);
}

void input_close(struct runner *runner, struct action *action) {
  struct input *input = &action->in;
  input->closing = true;
  if (input->waiting.used == 0) input_end(runner, action);
}
