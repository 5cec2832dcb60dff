/* Signals, deadlines, and killing a whole tree. The runner does it, for a command can kill its supervisor. */
#define _GNU_SOURCE
#include <signal.h>
#include <sys/types.h>

#include "processes.h"
#include "runner.h"

#define FREEZE_SCANS 3
#define RETRY_MAX_MS 100

static void marked_signal(const struct process_table *table, int signal, pid_t group) {
  for (size_t i = 0; i < table->count; i++) {
    const struct process *process = &table->list[i];
    if (process->marked && process->state != 'Z' && (group == 0 || process->group == group))
      kill(process->pid, signal);
  }
}

/* A leader that ended may have left its number to a stranger: then only its own descendants are asked. */
void action_signal(struct runner *runner, struct action *action, int signal, enum signal_scope scope) {
  (void)runner;
  if (!action->supervisor) return;
  if (scope == SCOPE_TREE && signal == SIGKILL) {
    action_kill_tree(action);
    return;
  }
  if (scope == SCOPE_GROUP && !action->group) {
    if (signal < 32) action->signals_waiting |= 1u << signal;
    return;
  }
  if (scope == SCOPE_GROUP && action->leader) {
    kill(-action->group, signal);
    return;
  }
  struct process_table *table = processes_scan();
  processes_mark_below(table, action->supervisor);
  marked_signal(table, signal, scope == SCOPE_GROUP ? action->group : 0);
}

void action_kill_tree(struct action *action) {
  action->kill_at = now_ms();
  action->kill_round = 0;
}

uint32_t action_alive(const struct action *action) {
  return action->supervisor ? processes_below(action->supervisor) : 0;
}

static bool supervises(const struct runner *runner, pid_t pid) {
  for (const struct action *action = runner->first; action; action = action->next)
    if (action->supervisor == pid) return true;
  return false;
}

/* Our children that are no supervisors: orphans of a supervisor that was killed. */
static void mark_strays(const struct runner *runner, struct process_table *table) {
  for (size_t i = 0; i < table->count; i++) {
    struct process *process = &table->list[i];
    if (process->parent == runner->pid && process->state != 'Z' && !supervises(runner, process->pid))
      process->marked = true;
  }
  processes_mark_further(table);
}

/* Stops everything first, so that nothing can fork away from us, then kills. Returns how many there were. */
static size_t kill_marked(const struct runner *runner, pid_t root) {
  size_t seen = 0, running = 1;
  for (int scan = 0; scan < FREEZE_SCANS && running > 0; scan++) {
    struct process_table *table = processes_scan();
    if (root) processes_mark_below(table, root);
    else mark_strays(runner, table);
    seen = running = 0;
    for (size_t i = 0; i < table->count; i++) {
      const struct process *process = &table->list[i];
      if (!process->marked || process->state == 'Z') continue;
      seen++;
      if (process->state != 'T' && kill(process->pid, SIGSTOP) == 0) running++;
    }
    if (running == 0 || scan == FREEZE_SCANS - 1) marked_signal(table, SIGKILL, 0);
  }
  return seen;
}

static uint64_t retry_ms(uint32_t round) { return round < 6 ? 1u << round : RETRY_MAX_MS; }

/* Goes on until the supervisor is gone, which ends only when nothing is left below it. */
static void kill_step(struct runner *runner, struct action *action) {
  kill_marked(runner, action->supervisor);
  action->kill_at = now_ms() + retry_ms(action->kill_round++);
}

static void deadline_passed(struct runner *runner, struct action *action) {
  action->deadline = 0;
  action->timed_out = true;
  action_signal(runner, action, SIGTERM, SCOPE_TREE);
  action_signal(runner, action, SIGCONT, SCOPE_TREE);
  action_kill_tree(action);
  action->kill_at += action->grace_ms;
}

void strays_sweep_soon(struct runner *runner) {
  if (!runner->stray_sweep_at) runner->stray_sweep_at = now_ms();
}

/* The leaders of lost actions that are nowhere to be seen were reaped before we could: killed, for all we know. */
static void strays_sweep(struct runner *runner) {
  runner->stray_sweep_at = 0;
  if (kill_marked(runner, 0) > 0) {
    runner->stray_sweep_at = now_ms() + 1;
    return;
  }
  for (struct action *action = runner->first; action; action = action->next)
    if (action->lost && action->state == ACTION_RUNNING && !action->supervisor)
      report_lost(runner, action, SIGKILL);
}

int wait_until(uint64_t due, uint64_t now, int wait) {
  if (!due) return wait;
  int left = due <= now ? 0 : due - now > 60000 ? 60000 : (int)(due - now);
  return wait < 0 || left < wait ? left : wait;
}

int deadlines_run(struct runner *runner) {
  uint64_t now = now_ms();
  int wait = -1;
  for (struct action *action = runner->first; action; action = action->next) {
    for (int i = 0; i < 2; i++) {
      output_rested(runner, &action->out[i], now);
      wait = wait_until(action->out[i].rest_until, now, wait);
    }
    if (!action->supervisor) continue;
    if (action->deadline && action->deadline <= now) deadline_passed(runner, action);
    if (action->kill_at && action->kill_at <= now) kill_step(runner, action);
    wait = wait_until(action->kill_at, now, wait_until(action->deadline, now, wait));
  }
  if (runner->stray_sweep_at && runner->stray_sweep_at <= now) strays_sweep(runner);
  return wait_until(runner->stray_sweep_at, now, wait);
}
