/*
 * What runs for long gives way to what only wants a moment: it has longer slices of processor time, so the scheduler
 * lets others in at once. Measured beside eight endless loops on two cores: a bash of 3 ms takes 3 ms when the loops
 * have slices of 4 ms and a small weight; with one of the two alone all or some take 6 ms.
 * What is refused processes on and on is held as well, see holding.h.
 */
#define _GNU_SOURCE
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#include "holding.h"
#include "processes.h"
#include "supervisor.h"

/* Above the 2.8 ms that Linux gives on machines with many cores. Before 6.12 it gives everybody the same. */
#define SLICE_NS 4000000
#define MOMENT_MS 250
/* Then again and again: what is forked by what gave way gives way, but some may have been forked in between. */
#define AGAIN_MS 2000
/* Of what is held, how long none goes on and how long a few do. */
#define HELD_MS 230
#define LET_MS 20

/* As Linux has it in sched/types.h, up to what this needs. */
struct scheduling {
  uint32_t size, policy;
  uint64_t flags;
  int32_t nice;
  uint32_t priority;
  uint64_t slice_ns, deadline, period;
};

static volatile sig_atomic_t due;

static void on_alarm(int signal) {
  (void)signal;
  due = 1;
}

/* Again after as long: one that comes just before a wait is lost. */
static void look_in(long ms) {
  struct timeval time = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};
  struct itimerval timer = {.it_value = time, .it_interval = time};
  setitimer(ITIMER_REAL, &timer, NULL);
}

void giving_way_begin(void) {
  struct sigaction alarm = {.sa_handler = on_alarm};
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGALRM);
  sigaction(SIGALRM, &alarm, NULL);
  sigprocmask(SIG_UNBLOCK, &set, NULL);
  holding_begin();
  look_in(MOMENT_MS);
}

void giving_way_end(void) {
  look_in(0);
  holding_end();
}

/* The slice alone is changed: niceness and policy are as the process has them. */
static void slice_lengthen(pid_t pid) {
  struct scheduling own;
  if (syscall(SYS_sched_getattr, pid, &own, sizeof own, 0) < 0 || own.slice_ns == SLICE_NS) return;
  own.slice_ns = SLICE_NS;
  syscall(SYS_sched_setattr, pid, &own, 0);
}

void giving_way_look(void) {
  if (!due) return;
  due = 0;
  if (holding_turn()) return look_in(LET_MS);
  holding_pause();
  struct process_table *table = processes_scan();
  processes_mark_below(table, getpid());
  for (size_t i = 0; i < table->count; i++)
    if (table->list[i].marked) slice_lengthen(table->list[i].pid);
  look_in(holding_goes_on(table) ? HELD_MS : AGAIN_MS);
}
