/* The supervisor: one small process an action, between the runner and the command. */
#ifndef CAISSON_SUPERVISOR_H
#define CAISSON_SUPERVISOR_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "start.h"

enum report_kind { REPORT_STARTED = 1, REPORT_ENDED = 2 };

/* Travels over a pipe in one write each. */
struct report {
  uint32_t kind;
  int32_t leader;
  int32_t wait_status;
  int32_t start_errno; /* 0: it ran */
  char start_stage[16];
  uint64_t duration_us, cpu_us, max_rss;
  uint32_t left_running;
  uint32_t state_saved;
};

struct supervisor_fds {
  int in, out, error, report;
};

/* Runs in the forked child; never returns. */
_Noreturn void supervise(const struct start *start, const struct supervisor_fds *fds);

/* command.c: between vfork and exec. Sets what failed; returns only on failure. */
struct exec_failure {
  volatile int error;
  const char *volatile stage;
};
void command_exec(const struct start *start, int input, int state, char *path_buffer, size_t path_size,
                  struct exec_failure *failure);

/* However many commands there are, the runner answers and can kill them. */
#define NICENESS_OF_COMMANDS 10

/* giving_way.c: from begin to end an alarm interrupts now and then what the supervisor waits in; a look is cheap else. */
void giving_way_begin(void);
void giving_way_look(void);
void giving_way_end(void);

/* landlock.c */
int landlock_version(void);
/* 0, or an errno: the calling process may then only do what the rules allow. */
int landlock_apply(const struct rule *rules, uint32_t count);

/* state.c: moves a memfd's content to a path, if it ends as it should */
bool state_save(int fd, const struct start *start);
int input_memfd(const struct start *start);

/* Closes every descriptor from `first` on. */
void close_from(unsigned first);

#endif
