/*
 * Connections of commands to the daemon's gateway: a listener on loopback, and what is sent over each accepted
 * connection carried in frames on the stream to the daemon.
 *
 * Out: bytes are read from a socket only when they can be framed at once, so none of them wait in the runner. In: at
 * most a window a connection waits for a command that does not read. A daemon that goes, or says nothing for long,
 * takes the connections with it: they are reset.
 */
#ifndef CAISSON_CONNECTIONS_H
#define CAISSON_CONNECTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "runner.h"

/* port: 0 for any, -1 for none. Without a listener everything else works as ever. */
void connections_open(struct runner *runner, int port);
void connections_accept(struct runner *runner);
/* Something came, or there is room again. */
void connection_ready(struct runner *runner, struct connection *connection);
/* One chunk of the next connection that has one, into the stream's pending bytes; false when none has, or may. */
bool connections_send(struct runner *runner);
/* A frame of the daemon about a connection. Of one that is gone: nothing. */
void connection_command(struct runner *runner, const struct frame *frame);
/* Ends all of them; the daemon is not told. */
void connections_reset(struct runner *runner);
/* Does what is due. */
void connections_run(struct runner *runner);
/* How long to wait for what will be due: the shorter of it and `wait`, after all was sent that can be. */
int connections_wait(const struct runner *runner, int wait);

#endif
