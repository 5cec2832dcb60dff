/* What supervisors report, and what is done when one is killed before it could. */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "errors.h"
#include "runner.h"
#include "supervisor.h"

static void outcome_set(struct runner *runner, struct action *action, int wait_status) {
  struct outcome *outcome = &action->outcome;
  outcome->kind = WIFSIGNALED(wait_status) ? OUTCOME_SIGNAL : OUTCOME_EXIT;
  outcome->code = WIFSIGNALED(wait_status) ? WTERMSIG(wait_status) : WEXITSTATUS(wait_status);
  if (action->timed_out) outcome->flags |= OUTCOME_TIMED_OUT;
  action->leader = 0;
  action->deadline = 0;
  input_end(runner, action);
  outputs_drain(runner, action);
}

static void ended(struct runner *runner, struct action *action, const struct report *report) {
  struct outcome *outcome = &action->outcome;
  if (action->state != ACTION_RUNNING) return;
  outcome->duration_us = report->duration_us;
  outcome->cpu_us = report->cpu_us;
  outcome->max_rss = report->max_rss;
  outcome->left_running = report->left_running;
  if (report->state_saved) outcome->flags |= OUTCOME_STATE_SAVED;
  outcome_set(runner, action, report->wait_status);
  if (!report->start_errno) return;
  outcome->kind = OUTCOME_START_ERROR;
  outcome->code = report->start_errno;
  snprintf(outcome->text, sizeof outcome->text, "%s %.15s", error_name(report->start_errno), report->start_stage);
}

static void started(struct runner *runner, struct action *action, pid_t leader) {
  action->leader = action->group = leader;
  for (int signal = 1; signal < 32; signal++)
    if (action->signals_waiting & 1u << signal) action_signal(runner, action, signal, SCOPE_GROUP);
  action->signals_waiting = 0;
}

void report_readable(struct runner *runner, struct action *action) {
  struct report report;
  while (action->report.fd >= 0) {
    ssize_t length = read(action->report.fd, &report, sizeof report);
    if (length < 0 && errno == EINTR) continue;
    if (length < 0 && errno == EAGAIN) return;
    if (length != sizeof report) {
      watch_close(runner, &action->report);
      return;
    }
    if (report.kind == REPORT_STARTED) started(runner, action, report.leader);
    else ended(runner, action, &report);
  }
}

void report_lost(struct runner *runner, struct action *action, int wait_status) {
  action->outcome.flags |= OUTCOME_SUPERVISION_LOST;
  action->outcome.duration_us = (now_ms() - action->started_at) * 1000;
  outcome_set(runner, action, wait_status);
}

static void supervisor_ended(struct runner *runner, struct action *action, int wait_status) {
  report_readable(runner, action);
  watch_close(runner, &action->report);
  action->supervisor = 0;
  action->kill_at = 0;
  runner->untidy = true;
  for (int i = 0; i < 2; i++) output_readable(runner, action, &action->out[i]);
  /* What it left has become ours, and nobody can tell any more whose it was. */
  if (action->state == ACTION_RUNNING) action->lost = true;
  /* By itself it ends only when nothing is left below it, and looking through /proc takes its time. */
  if (wait_status != 0) strays_sweep_soon(runner);
}

static struct action *supervised_by(struct runner *runner, pid_t pid) {
  for (struct action *action = runner->first; action; action = action->next)
    if (action->supervisor == pid) return action;
  return NULL;
}

static struct action *lost_with_leader(struct runner *runner, pid_t pid) {
  for (struct action *action = runner->first; action; action = action->next)
    if (action->lost && action->leader == pid) return action;
  return NULL;
}

void children_reap(struct runner *runner) {
  int status;
  struct rusage usage;
  pid_t pid;
  while ((pid = wait4(-1, &status, WNOHANG | WUNTRACED, &usage)) > 0) {
    struct action *action = supervised_by(runner, pid);
    if (WIFSTOPPED(status)) {
      /* A stopped supervisor can't report: as good as killed, so kill it and take its tree. */
      if (action) kill(pid, SIGKILL);
      continue;
    }
    if (action) supervisor_ended(runner, action, status);
    else if ((action = lost_with_leader(runner, pid)) != NULL) report_lost(runner, action, status);
  }
}
