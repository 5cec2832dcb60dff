/* The runner: PID 1 of every sandbox. One thread, one epoll loop. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "connections.h"
#include "files.h"
#include "runner.h"
#include "supervisor.h"
#include "tree.h"

#define EVENTS_A_TURN 64
#define OPEN_FILES_NEEDED 1024

uint64_t now_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* Without events the descriptor leaves the set: a hung-up one would be reported for ever. */
void watch_set(struct runner *runner, struct watch *watch, uint32_t events) {
  if (watch->fd < 0 || watch->events == events) return;
  struct epoll_event event = {.events = events, .data.ptr = watch};
  int operation = !watch->events ? EPOLL_CTL_ADD : events ? EPOLL_CTL_MOD : EPOLL_CTL_DEL;
  epoll_ctl(runner->epoll, operation, watch->fd, &event);
  watch->events = events;
}

void watch_close(struct runner *runner, struct watch *watch) {
  if (watch->fd < 0) return;
  watch_set(runner, watch, 0);
  close(watch->fd);
  watch->fd = -1;
}

static void signals_open(struct runner *runner) {
  sigset_t all;
  for (int signal = 1; signal < NSIG; signal++) {
    struct sigaction action = {.sa_handler = SIG_DFL};
    sigaction(signal, &action, NULL);
  }
  /* Blocked here and in supervisors, so that only KILL and STOP reach them; commands get an empty mask. */
  sigfillset(&all);
  sigprocmask(SIG_SETMASK, &all, NULL);
  sigset_t child;
  sigemptyset(&child);
  sigaddset(&child, SIGCHLD);
  runner->signals = (struct watch){.kind = WATCH_SIGNALS, .fd = signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK)};
  watch_set(runner, &runner->signals, EPOLLIN);
}

/* Before the runner stops being dumpable: then its /proc files belong to root. */
static void oom_open(struct runner *runner) {
  char text[16] = {0};
  runner->oom_fd = open("/proc/self/oom_score_adj", O_RDWR | O_CLOEXEC);
  if (runner->oom_fd >= 0 && pread(runner->oom_fd, text, sizeof text - 1, 0) > 0) runner->oom_score = atoi(text);
}

static void open_files_raise(void) {
  struct rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur >= OPEN_FILES_NEEDED) return;
  limit.rlim_cur = limit.rlim_max < OPEN_FILES_NEEDED ? limit.rlim_max : OPEN_FILES_NEEDED;
  setrlimit(RLIMIT_NOFILE, &limit);
}

static void set_up(struct runner *runner, int port) {
  close_from(3);
  runner->null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
  if (!runner->leave_on_eof && runner->null_fd >= 0) dup2(runner->null_fd, 2);
  runner->pid = getpid();
  runner->landlock = landlock_version();
  oom_open(runner);
  prctl(PR_SET_DUMPABLE, 0);
  prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  prctl(PR_SET_CHILD_SUBREAPER, 1);
  open_files_raise();
  runner->epoll = epoll_create1(EPOLL_CLOEXEC);
  signals_open(runner);
  link_open(runner);
  connections_open(runner, port);
}

static void signals_readable(struct runner *runner) {
  struct signalfd_siginfo ignored[8];
  while (read(runner->signals.fd, ignored, sizeof ignored) > 0) continue;
  children_reap(runner);
}

static void dispatch(struct runner *runner, struct watch *watch) {
  if (watch->fd < 0) return; /* closed by an event before it in this round */
  switch (watch->kind) {
    case WATCH_LINK:
      if (watch == &runner->link.in) link_readable(runner);
      return;
    case WATCH_SIGNALS: return signals_readable(runner);
    case WATCH_REPORT: return report_readable(runner, watch->action);
    case WATCH_INPUT: return input_writable(runner, watch->action);
    case WATCH_LISTENER: return connections_accept(runner);
    case WATCH_CONNECTION: return connection_ready(runner, (struct connection *)watch);
    case WATCH_OUTPUT: {
      struct action *action = watch->action;
      return output_readable(runner, action, &action->out[watch == &action->out[1].watch]);
    }
  }
}

/* Only as a plain child of a test: nothing of ours is left when the test has gone. */
static void leave(struct runner *runner) {
  for (int rounds = 0; rounds < 1000; rounds++) {
    for (struct action *action = runner->first; action; action = action->next)
      if (action->supervisor) kill(action->supervisor, SIGKILL);
    strays_sweep_soon(runner);
    deadlines_run(runner);
    if (waitpid(-1, NULL, WNOHANG) < 0) break;
    usleep(1000);
    children_reap(runner);
  }
  exit(0);
}

static _Noreturn void loop(struct runner *runner) {
  struct epoll_event events[EVENTS_A_TURN];
  for (;;) {
    int wait = deadlines_run(runner);
    connections_run(runner);
    link_flush(runner);
    wait = connections_wait(runner, wait);
    actions_trim(runner);
    int count = epoll_wait(runner->epoll, events, EVENTS_A_TURN, link_wait(runner, wait));
    for (int i = 0; i < count; i++) dispatch(runner, events[i].data.ptr);
    if (runner->leave_on_eof && runner->link.in.fd < 0) leave(runner);
  }
}

int main(int argc, char **argv) {
  static struct runner runner;
  if (argc > 1 && strcmp(argv[1], "file") == 0) return files_main(argc - 2, argv + 2);
  if (argc > 1 && strcmp(argv[1], "tree") == 0) return tree_main(argc - 2, argv + 2);
  runner.leave_on_eof = argc > 1 && strcmp(argv[1], "--leave-on-eof") == 0;
  /* A test's runner shares the machine's loopback: it listens only where it is told, on port 0 for any. */
  int port = !runner.leave_on_eof ? PROXY_PORT : argc > 2 ? atoi(argv[2]) : -1;
  set_up(&runner, port);
  loop(&runner);
}
