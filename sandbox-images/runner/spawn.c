/* Starting an action: pipes, and a supervisor by fork. The runner is small, so the fork is cheap. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "runner.h"
#include "start.h"
#include "supervisor.h"

#define OOM_SCORE_OF_COMMANDS 500

struct pipes {
  int in[2], out[2], error[2], report[2]; /* [0] to read from, [1] to write to */
};

static void pipes_close(struct pipes *pipes) {
  int *all[] = {pipes->in, pipes->out, pipes->error, pipes->report};
  for (int i = 0; i < 4; i++)
    for (int end = 0; end < 2; end++)
      if (all[i][end] >= 0) close(all[i][end]);
}

static bool pipes_open(struct pipes *pipes, bool with_input) {
  *pipes = (struct pipes){{-1, -1}, {-1, -1}, {-1, -1}, {-1, -1}};
  if (with_input && pipe2(pipes->in, O_CLOEXEC) < 0) return false;
  return pipe2(pipes->out, O_CLOEXEC) == 0 && pipe2(pipes->error, O_CLOEXEC) == 0 &&
         pipe2(pipes->report, O_CLOEXEC) == 0;
}

/* Keeps our end, which must not block; the other end is the child's and stays as commands expect it. */
static void keep(struct runner *runner, struct watch *watch, int *ours, uint32_t events) {
  fcntl(*ours, F_SETFL, O_NONBLOCK);
  watch->fd = *ours;
  *ours = -1;
  watch_set(runner, watch, events);
}

static void oom_score_set(const struct runner *runner, int score) {
  char text[16];
  int length = snprintf(text, sizeof text, "%d", score);
  if (runner->oom_fd >= 0 && pwrite(runner->oom_fd, text, (size_t)length, 0) < 0) return;
}

/* When memory runs out, the kernel shall take a command and not us: children inherit the score. */
static pid_t fork_with_oom_score(const struct runner *runner) {
  bool raise = runner->oom_score < OOM_SCORE_OF_COMMANDS;
  if (raise) oom_score_set(runner, OOM_SCORE_OF_COMMANDS);
  pid_t pid = fork();
  if (pid != 0 && raise) oom_score_set(runner, runner->oom_score);
  return pid;
}

static unsigned live_count(const struct runner *runner) {
  unsigned live = 0;
  for (const struct action *action = runner->first; action; action = action->next)
    if (action_live(action)) live++;
  return live;
}

static void action_fill(struct runner *runner, struct action *action, const struct start *start,
                        struct pipes *pipes) {
  action->started_at = now_ms();
  action->deadline = start->deadline_ms ? action->started_at + start->deadline_ms : 0;
  action->grace_ms = start->grace_ms;
  keep(runner, &action->report, &pipes->report[0], EPOLLIN);
  keep(runner, &action->out[0].watch, &pipes->out[0], EPOLLIN);
  keep(runner, &action->out[1].watch, &pipes->error[0], EPOLLIN);
  if (!start->stdin_pipe) return;
  action->in.granted = INPUT_WINDOW;
  keep(runner, &action->in.watch, &pipes->in[1], 0);
}

static const char *failed(const char *what) {
  static char text[64];
  snprintf(text, sizeof text, "%s %s", errno == EAGAIN ? "EAGAIN" : errno == EMFILE ? "EMFILE" : "ENOMEM", what);
  return text;
}

const char *action_spawn(struct runner *runner, const struct start *start, struct action **made) {
  struct pipes pipes;
  if (live_count(runner) >= LIVE_MAX) return "EAGAIN too many live processes";
  if (!pipes_open(&pipes, start->stdin_pipe)) {
    const char *why = failed("pipe");
    pipes_close(&pipes);
    return why;
  }
  pid_t pid = fork_with_oom_score(runner);
  if (pid == 0) {
    supervise(start, &(struct supervisor_fds){start->stdin_pipe ? pipes.in[0] : runner->null_fd,
                                              pipes.out[1], pipes.error[1], pipes.report[1]});
  }
  struct action *action = pid > 0 ? action_new(runner, start->id) : NULL;
  if (!action) {
    const char *why = failed("fork");
    pipes_close(&pipes);
    return why;
  }
  action->supervisor = pid;
  action_fill(runner, action, start, &pipes);
  pipes_close(&pipes);
  *made = action;
  return NULL;
}
