#define _GNU_SOURCE
#include "supervisor.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "processes.h"

#define REPORT_FD 3

static uint64_t now_us(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static uint64_t timeval_us(struct timeval value) {
  return (uint64_t)value.tv_sec * 1000000 + (uint64_t)value.tv_usec;
}

void close_from(unsigned first) {
  if (syscall(SYS_close_range, first, ~0u, 0) == 0) return;
  for (int fd = (int)first; fd < 4096; fd++) close(fd);
}

static void report_send(const struct report *report) {
  ssize_t written;
  do written = write(REPORT_FD, report, sizeof *report);
  while (written < 0 && errno == EINTR);
}

/* The command's descriptors to 0, 1, 2; everything else of the runner's away, other actions' pipes included. */
static void descriptors_arrange(const struct supervisor_fds *fds) {
  dup2(fds->in, 0);
  dup2(fds->out, 1);
  dup2(fds->error, 2);
  dup3(fds->report, REPORT_FD, O_CLOEXEC);
  close_from(REPORT_FD + 1);
}

/* A function of its own: nothing here changes between vfork and exec but what `failure` points to. */
static __attribute__((noinline)) pid_t leader_vfork(const struct start *start, int input, int state,
                                                    struct exec_failure *failure) {
  static char path[PATH_MAX];
  pid_t leader = vfork();
  if (leader == 0) {
    command_exec(start, input, state, path, sizeof path, failure);
    _exit(127);
  }
  return leader;
}

static void fail(struct exec_failure *failure, const char *stage) {
  failure->error = errno;
  failure->stage = stage;
}

/* The leader's pid, or -1. Whatever fails, in the vforked child too, is told in `failure`. */
static pid_t leader_start(const struct start *start, int *state, struct exec_failure *failure) {
  int input = start->input_fd >= 0 ? input_memfd(start) : -1;
  if (start->input_fd >= 0 && input < 0) {
    fail(failure, "input");
    return -1;
  }
  *state = start->state_fd >= 0 ? memfd_create("state", MFD_CLOEXEC) : -1;
  if (start->state_fd >= 0 && *state < 0) {
    fail(failure, "state");
    return -1;
  }
  pid_t leader = leader_vfork(start, input, *state, failure);
  if (leader < 0) fail(failure, "fork");
  if (input >= 0) close(input);
  return leader;
}

/* Reaps until the leader has ended. One that goes on for long gives way, with all that it started. */
static void leader_await(pid_t leader, struct report *report) {
  struct rusage usage = {0};
  pid_t ended = 0;
  int status = 0;
  giving_way_begin();
  while (ended != leader) {
    ended = wait4(-1, &status, 0, &usage);
    if (ended < 0 && errno != EINTR) break;
    giving_way_look();
  }
  giving_way_end();
  if (ended != leader) return;
  report->wait_status = status;
  report->cpu_us = timeval_us(usage.ru_utime) + timeval_us(usage.ru_stime);
  report->max_rss = (uint64_t)usage.ru_maxrss * 1024;
}

/* Whether nothing is left below us. What the leader left behind is our child by now. */
static bool childless(void) {
  for (;;) {
    pid_t ended = waitpid(-1, NULL, WNOHANG);
    if (ended == 0) return false;
    if (ended < 0 && errno != EINTR) return true;
  }
}

static void name_set(const struct start *start) {
  char name[16] = "action ";
  strncat(name, start->id, sizeof name - 1 - strlen(name));
  prctl(PR_SET_NAME, name);
}

void supervise(const struct start *start, const struct supervisor_fds *fds) {
  struct report report = {.kind = REPORT_STARTED};
  struct exec_failure failure = {0};
  int state = -1;
  prctl(PR_SET_CHILD_SUBREAPER, 1);
  descriptors_arrange(fds);
  uint64_t began = now_us();
  pid_t leader = leader_start(start, &state, &failure);
  close(0);
  close(1);
  close(2);
  if (!failure.error) {
    report.leader = leader;
    report_send(&report);
    leader_await(leader, &report);
  } else {
    if (leader > 0) waitpid(leader, NULL, 0);
    report.start_errno = failure.error;
    strncpy(report.start_stage, failure.stage, sizeof report.start_stage - 1);
  }
  report.kind = REPORT_ENDED;
  report.duration_us = now_us() - began;
  if (state >= 0 && !failure.error) report.state_saved = state_save(state, start);
  if (state >= 0) close(state);
  bool alone = childless();
  if (!alone) {
    /* One that forks and ends over and over is missed by looking, and there all the same. */
    report.left_running = processes_below(getpid());
    if (report.left_running == 0) report.left_running = 1;
  }
  report_send(&report);
  if (alone) _exit(0);
  name_set(start);
  giving_way_begin();
  while (waitpid(-1, NULL, 0) > 0 || errno == EINTR) giving_way_look();
  _exit(0);
}
