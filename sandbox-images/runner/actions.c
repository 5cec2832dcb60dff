/* The memory of actions: bounded, the oldest ended ones go first. */
#include <stdlib.h>
#include <string.h>

#include "runner.h"

bool action_live(const struct action *action) {
  return action->supervisor != 0 || action->state != ACTION_ENDED;
}

bool action_hidden(const struct action *action) {
  return action->forgotten && (!action->supervisor || action->outcome.left_running == 0);
}

/* Forgotten, and only kept until the events of this round are handled. */
static bool gone(const struct action *action) { return action->forgotten && !action_live(action); }

struct action *action_find(struct runner *runner, const char *id) {
  for (struct action *action = runner->first; action; action = action->next)
    if (strcmp(action->id, id) == 0 && !action_hidden(action)) return action;
  return NULL;
}

struct action *action_by_channel(struct runner *runner, uint32_t channel) {
  for (struct action *action = runner->first; action && channel; action = action->next)
    if (action->channel == channel) return action;
  return NULL;
}

static struct watch closed(enum watch_kind kind, struct action *action) {
  return (struct watch){.kind = kind, .fd = -1, .action = action};
}

struct action *action_new(struct runner *runner, const char *id) {
  struct action *action = calloc(1, sizeof *action);
  if (!action) return NULL;
  strncpy(action->id, id, ID_MAX);
  action->report = closed(WATCH_REPORT, action);
  action->in.watch = closed(WATCH_INPUT, action);
  for (int i = 0; i < 2; i++) {
    action->out[i].watch = closed(WATCH_OUTPUT, action);
    action->out[i].stop = UINT64_MAX;
  }
  if (runner->last) runner->last->next = action;
  else runner->first = action;
  runner->last = action;
  return action;
}

void action_finish(struct runner *runner, struct action *action) {
  action->state = ACTION_ENDED;
  action->ended_order = ++runner->ended_count;
  runner->untidy = true;
}

void action_forget(struct runner *runner, struct action *action) {
  if (action->state != ACTION_ENDED) return;
  outputs_forget(runner, action);
  action->forgotten = true;
  action->channel = 0;
  runner->untidy = true;
}

static void action_free(struct runner *runner, struct action *action) {
  outputs_forget(runner, action);
  for (int i = 0; i < 2; i++) watch_close(runner, &action->out[i].watch);
  watch_close(runner, &action->in.watch);
  watch_close(runner, &action->report);
  ring_drop(&action->in.waiting, action->in.waiting.used);
  if (runner->link.turn == action) runner->link.turn = NULL;
  free(action);
}

static void gone_remove(struct runner *runner) {
  struct action **at = &runner->first, *previous = NULL;
  while (*at) {
    struct action *action = *at;
    if (gone(action)) {
      *at = action->next;
      action_free(runner, action);
    } else {
      previous = action;
      at = &action->next;
    }
  }
  runner->last = previous;
}

static size_t held(const struct action *action) {
  return action->out[0].kept.capacity + action->out[1].kept.capacity;
}

/* The action that ended first, among those with output kept or among those nothing of which lives. */
static struct action *oldest_ended(struct runner *runner, bool with_output) {
  struct action *oldest = NULL;
  for (struct action *action = runner->first; action; action = action->next) {
    if (action->state != ACTION_ENDED || gone(action) || (with_output ? held(action) == 0 : action_live(action))) continue;
    if (!oldest || action->ended_order < oldest->ended_order) oldest = action;
  }
  return oldest;
}

static void trim_outputs(struct runner *runner) {
  size_t retained = 0;
  for (struct action *action = runner->first; action; action = action->next)
    if (action->state == ACTION_ENDED) retained += held(action);
  while (retained > RETAINED_MAX) {
    struct action *oldest = oldest_ended(runner, true);
    retained -= held(oldest);
    outputs_forget(runner, oldest);
  }
}

void actions_trim(struct runner *runner) {
  if (!runner->untidy) return;
  runner->untidy = false;
  gone_remove(runner);
  trim_outputs(runner);
  unsigned ended = 0;
  for (struct action *action = runner->first; action; action = action->next)
    if (!action_live(action)) ended++;
  if (ended <= ENDED_MAX) return;
  for (; ended > ENDED_MAX; ended--) {
    struct action *oldest = oldest_ended(runner, false);
    oldest->forgotten = true;
    oldest->channel = 0;
  }
  gone_remove(runner);
}
