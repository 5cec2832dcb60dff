#define _GNU_SOURCE
#include "connections.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

/* Connections that wait to be accepted; the kernel refuses or delays more. */
#define BACKLOG 64
/* Accepted before others have their turn. */
#define ACCEPTS_A_TURN 16
/* With more replies waiting for the daemon than this, nothing new is accepted. */
#define REPLIES_MAX (64 * 1024)
/* Until the next try, when there are no descriptors left. */
#define ACCEPT_REST_MS 50
/* A daemon asks whether we are alive more often than this; one that does not is taken for dead. */
#define SILENCE_MS 40000

static bool daemon_takes(const struct runner *runner, uint64_t now) {
  const struct link *link = &runner->link;
  return link->greeted && link->takes_connections && now - link->heard_at <= SILENCE_MS;
}

static struct connection *by_number(struct connections *all, uint32_t number) {
  for (int i = 0; i < CONNECTIONS_MAX; i++)
    if (all->list[i].watch.fd >= 0 && all->list[i].number == number) return &all->list[i];
  return NULL;
}

static struct connection *free_place(struct connections *all) {
  for (int i = 0; i < CONNECTIONS_MAX; i++)
    if (all->list[i].watch.fd < 0) return &all->list[i];
  return NULL;
}

/* Aborts: the other side sees a reset instead of an end. */
static void abort_on_close(int fd) {
  struct linger linger = {.l_onoff = 1, .l_linger = 0};
  setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
}

static void drop(struct runner *runner, struct connection *connection) {
  watch_close(runner, &connection->watch);
  ring_drop(&connection->waiting, connection->waiting.used);
}

static void reset(struct runner *runner, struct connection *connection) {
  abort_on_close(connection->watch.fd);
  drop(runner, connection);
}

static void reset_and_tell(struct runner *runner, struct connection *connection) {
  reset(runner, connection);
  link_reply(runner, FRAME_CONNECTION_CLOSE, CLOSE_RESET, connection->number, NULL, 0);
}

/* Both sides have said that they send no more, and all of it is delivered. */
static void drop_if_over(struct runner *runner, struct connection *connection) {
  if (connection->out_ended && connection->in_ended && connection->waiting.used == 0) drop(runner, connection);
}

void connections_open(struct runner *runner, int port) {
  struct connections *all = &runner->connections;
  for (int i = 0; i < CONNECTIONS_MAX; i++) all->list[i].watch = (struct watch){.kind = WATCH_CONNECTION, .fd = -1};
  struct sockaddr_in address = {
      .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t length = sizeof address;
  /* Neither SO_REUSEADDR nor SO_REUSEPORT: nobody can listen on it beside us. */
  int fd = port < 0 ? -1 : socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  all->listener = (struct watch){.kind = WATCH_LISTENER, .fd = fd};
  if (fd >= 0 && bind(fd, (struct sockaddr *)&address, length) == 0 && listen(fd, BACKLOG) == 0 &&
      getsockname(fd, (struct sockaddr *)&address, &length) == 0) {
    all->port = ntohs(address.sin_port);
    watch_set(runner, &all->listener, EPOLLIN);
    return;
  }
  watch_close(runner, &all->listener);
}

static void adopt(struct runner *runner, struct connection *connection, int fd) {
  struct connections *all = &runner->connections;
  int on = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  if (++all->last_number == 0) all->last_number = 1;
  *connection = (struct connection){.watch = {.kind = WATCH_CONNECTION, .fd = fd},
                                    .number = all->last_number,
                                    .granted = CONNECTION_WINDOW,
                                    .offered = CONNECTION_WINDOW};
  /* On edges: what can't be read or written yet must not be told again and again. */
  watch_set(runner, &connection->watch, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET);
  link_reply(runner, FRAME_CONNECTION_OPEN, 0, connection->number, NULL, 0);
}

static void accept_rest(struct runner *runner, uint64_t until) {
  runner->connections.accept_at = until;
  watch_set(runner, &runner->connections.listener, 0);
}

void connections_accept(struct runner *runner) {
  struct connections *all = &runner->connections;
  uint64_t now = now_ms();
  for (int i = 0; i < ACCEPTS_A_TURN; i++) {
    if (runner->link.control_length > REPLIES_MAX) return accept_rest(runner, now + 1);
    int fd = accept4(all->listener.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0 && (errno == EINTR || errno == ECONNABORTED)) continue;
    if (fd < 0 && errno == EAGAIN) return;
    if (fd < 0) return accept_rest(runner, now + ACCEPT_REST_MS);
    struct connection *place = daemon_takes(runner, now) ? free_place(all) : NULL;
    if (place) {
      adopt(runner, place, fd);
    } else {
      abort_on_close(fd);
      close(fd);
    }
  }
}

static void grant(struct runner *runner, struct connection *connection) {
  uint8_t payload[8];
  uint64_t offered = connection->written + CONNECTION_WINDOW;
  if (offered - connection->offered < CONNECTION_WINDOW / 4) return;
  connection->offered = offered;
  put_u64(payload, offered);
  link_reply(runner, FRAME_CONNECTION_CREDIT, 0, connection->number, payload, sizeof payload);
}

/* As send(2), but 0 where it would block and -1 where the connection is broken. */
static ssize_t pass_on(struct connection *connection, const struct iovec *pieces, int count) {
  struct msghdr message = {.msg_iov = (struct iovec *)pieces, .msg_iovlen = (size_t)count};
  for (;;) {
    ssize_t length = sendmsg(connection->watch.fd, &message, MSG_NOSIGNAL);
    if (length >= 0) return length;
    if (errno == EAGAIN) return 0;
    if (errno != EINTR) return -1;
  }
}

/* What waits for the command, as far as it takes it. */
static void deliver(struct runner *runner, struct connection *connection) {
  while (connection->waiting.used > 0) {
    struct iovec pieces[2];
    ssize_t length = pass_on(connection, pieces, ring_content(&connection->waiting, pieces, CONNECTION_WINDOW));
    if (length < 0) return reset_and_tell(runner, connection);
    if (length == 0) return;
    ring_drop(&connection->waiting, (size_t)length);
    connection->written += (uint64_t)length;
    grant(runner, connection);
  }
  if (connection->in_ended) shutdown(connection->watch.fd, SHUT_WR);
  drop_if_over(runner, connection);
}

static bool broken(const struct connection *connection) {
  int error = 0;
  socklen_t length = sizeof error;
  return getsockopt(connection->watch.fd, SOL_SOCKET, SO_ERROR, &error, &length) < 0 || error != 0;
}

void connection_ready(struct runner *runner, struct connection *connection) {
  /* Of one whose end was read already nothing else tells that it was reset since. */
  if (connection->out_ended && broken(connection)) return reset_and_tell(runner, connection);
  connection->readable = !connection->out_ended;
  if (connection->waiting.used > 0) deliver(runner, connection);
}

/* A command that writes single bytes, as of an output; not one that gets an answer to each. */
static void small_read(struct connection *connection) {
  uint64_t now = now_ms();
  if (small_read_rests(&connection->small_paid, now)) connection->rest_until = now + REST_MS;
}

/* False when there is nothing to send now. */
static bool chunk_send(struct runner *runner, struct connection *connection) {
  struct connections *all = &runner->connections;
  uint64_t credit = connection->granted - connection->sent;
  uint8_t *frame = link_room(&runner->link);
  if (connection->rest_until) return false;
  while (connection->watch.fd >= 0 && connection->readable && credit > 0 && frame) {
    size_t most = credit < CHUNK_MAX ? (size_t)credit : CHUNK_MAX;
    ssize_t length = recv(connection->watch.fd, frame + FRAME_HEADER, most, 0);
    if (length > 0) {
      link_fill(&runner->link, frame_seal(frame, FRAME_CONNECTION_DATA, 0, connection->number, (size_t)length));
      connection->sent += (uint64_t)length;
      all->sent += (uint64_t)length;
      if (length < SMALL_READ) small_read(connection);
      return true;
    }
    if (length < 0 && errno == EINTR) continue;
    connection->readable = false;
    if (length < 0 && errno == EAGAIN) return false;
    if (length < 0) {
      reset_and_tell(runner, connection);
      return false;
    }
    connection->out_ended = true;
    link_reply(runner, FRAME_CONNECTION_CLOSE, CLOSE_END, connection->number, NULL, 0);
    drop_if_over(runner, connection);
  }
  return false;
}

bool connections_send(struct runner *runner) {
  struct connections *all = &runner->connections;
  /* Less than a chunk's room is waited out, or whoever sends little would always be first. */
  if (CONNECTIONS_IN_FLIGHT - (all->sent - all->received) < CHUNK_MAX) return false;
  for (unsigned i = 0; i < CONNECTIONS_MAX; i++) {
    unsigned turn = (all->turn + i) % CONNECTIONS_MAX;
    if (!chunk_send(runner, &all->list[turn])) continue;
    all->turn = turn + 1;
    return true;
  }
  return false;
}

static void take(struct runner *runner, struct connection *connection, const struct frame *frame) {
  struct iovec piece = {(void *)frame->payload, frame->length};
  if (connection->in_ended || connection->taken + frame->length > connection->offered)
    return reset_and_tell(runner, connection);
  connection->taken += frame->length;
  connection->small_paid = connection->rest_until = 0;
  if (connection->waiting.used == 0 && frame->length > 0) {
    ssize_t length = pass_on(connection, &piece, 1);
    if (length < 0) return reset_and_tell(runner, connection);
    connection->written += (uint64_t)length;
    piece = (struct iovec){(uint8_t *)piece.iov_base + length, piece.iov_len - (size_t)length};
  }
  if (!ring_put(&connection->waiting, piece.iov_base, piece.iov_len, CONNECTION_WINDOW))
    return reset_and_tell(runner, connection);
  grant(runner, connection);
}

void connection_command(struct runner *runner, const struct frame *frame) {
  struct connection *connection = by_number(&runner->connections, frame->channel);
  if (!connection) return;
  if (frame->type == FRAME_CONNECTION_DATA) return take(runner, connection, frame);
  if (frame->type == FRAME_CONNECTION_CREDIT && frame->length == 8) {
    uint64_t granted = get_u64(frame->payload);
    if (granted > connection->granted) connection->granted = granted;
  }
  if (frame->type != FRAME_CONNECTION_CLOSE) return;
  if (frame->flags != CLOSE_END) return reset(runner, connection);
  connection->in_ended = true;
  deliver(runner, connection);
}

void connections_reset(struct runner *runner) {
  struct connections *all = &runner->connections;
  for (int i = 0; i < CONNECTIONS_MAX; i++)
    if (all->list[i].watch.fd >= 0) reset(runner, &all->list[i]);
  all->sent = all->received = 0;
}

void connections_run(struct runner *runner) {
  struct connections *all = &runner->connections;
  uint64_t now = now_ms();
  bool silent = now - runner->link.heard_at > SILENCE_MS;
  for (int i = 0; i < CONNECTIONS_MAX; i++) {
    struct connection *connection = &all->list[i];
    if (connection->rest_until <= now) connection->rest_until = 0;
    if (connection->watch.fd >= 0 && silent) reset_and_tell(runner, connection);
  }
  if (all->accept_at == 0 || all->accept_at > now) return;
  all->accept_at = 0;
  watch_set(runner, &all->listener, EPOLLIN);
}

int connections_wait(const struct runner *runner, int wait) {
  const struct connections *all = &runner->connections;
  uint64_t now = now_ms();
  for (int i = 0; i < CONNECTIONS_MAX; i++) {
    if (all->list[i].watch.fd < 0) continue;
    wait = wait_until(runner->link.heard_at + SILENCE_MS + 1, now, wait);
    wait = wait_until(all->list[i].rest_until, now, wait);
  }
  return wait_until(all->accept_at, now, wait);
}
