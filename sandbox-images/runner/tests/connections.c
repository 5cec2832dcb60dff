/*
 * Connections under sanitizers, with real sockets and a daemon that sends whatever it likes: numbers, kinds, lengths,
 * credits. The same steps every time; argv: how many. What must hold is checked after each.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../connections.h"

#define CLIENTS 80

static struct runner runner;
static int clients[CLIENTS];
static uint64_t clock_ms = 1000;
static size_t replies;

/* The rest of the runner, as far as connections ask for it. */
uint64_t now_ms(void) { return clock_ms; }
void watch_set(struct runner *r, struct watch *watch, uint32_t events) { (void)r, watch->events = events; }
void watch_close(struct runner *r, struct watch *watch) {
  (void)r;
  if (watch->fd >= 0) close(watch->fd);
  watch->fd = -1;
}
void link_reply(struct runner *r, uint8_t type, uint8_t flags, uint32_t channel, const void *payload, size_t length) {
  (void)r, (void)payload, (void)length, (void)flags;
  if (type < FRAME_CONNECTION_OPEN || channel == 0) abort();
  replies++;
}
uint8_t *link_room(struct link *link) {
  return sizeof link->pending - link->pending_to >= FRAME_MAX ? link->pending + link->pending_to : NULL;
}
void link_fill(struct link *link, size_t length) { link->pending_to += length; }
bool small_read_rests(uint64_t *paid, uint64_t now) { return (*paid += REST_MS) > now; }
int wait_until(uint64_t due, uint64_t now, int wait) { return due > now ? (int)(due - now) : wait; }

static uint64_t state = 88172645463325252ull;
static uint32_t next(uint32_t below) {
  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  return (uint32_t)(state >> 20) % below;
}

static void dial(int which) {
  struct sockaddr_in address = {.sin_family = AF_INET,
                                .sin_port = htons(runner.connections.port),
                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  if (clients[which] >= 0) close(clients[which]);
  int small = 4096; /* so that much has to wait */
  clients[which] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  setsockopt(clients[which], SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
  connect(clients[which], (struct sockaddr *)&address, sizeof address);
}

static void client_act(void) {
  static uint8_t bytes[200000];
  int which = (int)next(next(4) ? 3 : CLIENTS), fd = clients[which];
  if (fd < 0 || next(300) == 0) return dial(which);
  switch (next(300)) {
    case 0: shutdown(fd, SHUT_WR); return;
    case 1: close(fd), clients[which] = -1; return;
    case 2: while (recv(fd, bytes, sizeof bytes, 0) > 0) continue; return;
    case 3 ... 5: recv(fd, bytes, next(sizeof bytes), 0); return;
    default: send(fd, bytes, next(sizeof bytes), MSG_NOSIGNAL);
  }
}

static void daemon_act(void) {
  static uint8_t payload[PAYLOAD_MAX];
  static const uint8_t types[] = {FRAME_CONNECTION_DATA, FRAME_CONNECTION_DATA, FRAME_CONNECTION_CREDIT,
                                  FRAME_CONNECTION_CLOSE, FRAME_CONNECTION_OPEN};
  struct frame frame = {.type = types[next(5)], .flags = (uint8_t)next(3), .payload = payload};
  if (frame.type == FRAME_CONNECTION_CLOSE && next(100)) return;
  struct connection *one = &runner.connections.list[next(3)];
  frame.channel = next(8) ? one->number : runner.connections.last_number + 2 - next(CONNECTIONS_MAX + 20);
  frame.length = frame.type == FRAME_CONNECTION_CREDIT && next(4) ? 8 : (uint16_t)next(CHUNK_MAX + 1);
  put_u64(payload, next(100) ? one->granted + next(1 << 18) - (1 << 16) : UINT64_MAX - next(9));
  connection_command(&runner, &frame);
}

static void ready_all(void) {
  for (int i = 0; i < CONNECTIONS_MAX; i++)
    if (runner.connections.list[i].watch.fd >= 0) connection_ready(&runner, &runner.connections.list[i]);
}

static void runner_act(void) {
  struct connections *all = &runner.connections;
  runner.link.control_length = next(50) ? 0 : 1 << 20;
  if (all->listener.events) connections_accept(&runner);
  ready_all();
  while (link_room(&runner.link) && connections_send(&runner)) continue;
  runner.link.pending_to = 0;
  if (next(6) == 0) all->received = all->sent;
  clock_ms += next(20);
  if (next(200)) runner.link.heard_at = clock_ms;
  if (next(2000) == 0) clock_ms += 60000;
  connections_run(&runner);
  connections_wait(&runner, -1);
  if (next(3000) == 0) connections_reset(&runner);
}

static void holds(void) {
  struct connections *all = &runner.connections;
  if (all->sent - all->received > CONNECTIONS_IN_FLIGHT) abort();
  for (int i = 0; i < CONNECTIONS_MAX; i++) {
    struct connection *one = &all->list[i];
    if (one->watch.fd < 0 && one->waiting.used > 0) abort();
    if (one->watch.fd < 0) continue;
    if (one->sent > one->granted || one->taken > one->offered) abort();
    if (one->waiting.used > CONNECTION_WINDOW || one->taken - one->written != one->waiting.used) abort();
  }
}

/* Sends a byte and what was waiting before it; whether anything of it became a frame. */
static bool byte_sent(int fd, struct connection *connection) {
  if (send(fd, "x", 1, MSG_NOSIGNAL) != 1) abort();
  connection_ready(&runner, connection);
  bool sent = connections_send(&runner);
  runner.link.pending_to = 0;
  return sent;
}

/* While the clock stands still: a command that writes single bytes has to rest, unless it gets an answer. */
static void single_bytes_are_gathered(void) {
  struct connection *connection = &runner.connections.list[0];
  dial(0);
  connections_accept(&runner);
  for (int bytes = 0; !connection->rest_until; bytes++, byte_sent(clients[0], connection))
    if (bytes > 10000) abort();
  if (byte_sent(clients[0], connection)) abort();
  struct frame answer = {.type = FRAME_CONNECTION_DATA, .channel = connection->number, .length = 1,
                         .payload = (const uint8_t *)"y"};
  connection_command(&runner, &answer);
  for (int bytes = 0; !byte_sent(clients[0], connection); bytes++)
    if (bytes > 1000) abort();
}

int main(int argc, char **argv) {
  memset(clients, -1, sizeof clients);
  connections_open(&runner, 0);
  if (!runner.connections.port) return puts("no loopback"), 1;
  runner.link.greeted = runner.link.takes_connections = true;
  runner.link.heard_at = clock_ms;
  single_bytes_are_gathered();
  for (long i = argc > 1 ? atol(argv[1]) : 5000; i > 0; i--) {
    client_act();
    for (int acts = 0; acts < 4; acts++) daemon_act();
    runner_act();
    holds();
  }
  connections_reset(&runner);
  for (int i = 0; i < CONNECTIONS_MAX; i++)
    if (runner.connections.list[i].watch.fd >= 0) abort();
  return replies == 0;
}
