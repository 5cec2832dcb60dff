#define _GNU_SOURCE
#include "holding.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

/* Between two looks. A fork bomb is refused thousands of processes a second; what waits for room, a few. */
#define MANY_REFUSED 500
/* At a time: of more, each would have to be let in by the scheduler before it could be stopped again. */
#define TURN 16

static uint64_t refused_before;
/* In ascending order. */
static pid_t held[PROCESSES_MAX];
static size_t held_count;
/* Those of this round that had their turn, and of them those that have it now. */
static size_t had_turn, have_turn;

void holding_begin(void) { refused_before = processes_refused(); }

static void held_signal(size_t from, size_t to, int signal) {
  for (size_t i = from; i < to; i++) kill(held[i], signal);
}

void holding_end(void) {
  held_signal(0, held_count, SIGCONT);
  held_count = had_turn = have_turn = 0;
}

bool holding_turn(void) {
  if (held_count == 0 || have_turn > 0) return false;
  have_turn = held_count - had_turn < TURN ? held_count - had_turn : TURN;
  had_turn += have_turn;
  held_signal(had_turn - have_turn, had_turn, SIGCONT);
  return true;
}

static int in_order(const void *one, const void *other) {
  pid_t a = *(const pid_t *)one, b = *(const pid_t *)other;
  return a < b ? -1 : a > b;
}

static bool runs(const struct process *process) {
  return process->marked && (process->state == 'R' || process->state == 'D');
}

/* Those held before, and what runs beside them. What waits, or was stopped by somebody else, stays as it is. */
static void hold(const struct process_table *table) {
  static pid_t before[PROCESSES_MAX];
  size_t before_count = held_count;
  memcpy(before, held, held_count * sizeof *held);
  held_count = 0;
  for (size_t i = 0; i < table->count; i++) {
    const struct process *process = &table->list[i];
    bool ours = bsearch(&process->pid, before, before_count, sizeof *before, in_order);
    if (!process->marked || process->state == 'Z' || (!ours && !runs(process))) continue;
    if (!ours) kill(process->pid, SIGSTOP);
    held[held_count++] = process->pid;
  }
  /* Some have died: another round. */
  if (had_turn >= held_count) had_turn = 0;
}

/* A few that run are no burden to others, however often they are refused; nor is this command while another's are. */
static bool crowds(const struct process_table *table) {
  size_t running = held_count;
  for (size_t i = 0; i < table->count; i++) running += runs(&table->list[i]);
  return running > TURN;
}

/* Of what is held, over a whole round: those that are refused may be few among many. */
static bool is_refused(void) {
  uint64_t refused = processes_refused(), since = refused - refused_before;
  if (held_count > 0 && had_turn < held_count) return true;
  refused_before = refused;
  bool still = since >= (held_count > 0 ? 1 : MANY_REFUSED);
  had_turn = 0;
  return still;
}

void holding_pause(void) {
  held_signal(had_turn - have_turn, had_turn, SIGSTOP);
  have_turn = 0;
}

bool holding_goes_on(const struct process_table *table) {
  if (is_refused() && crowds(table)) hold(table);
  else holding_end();
  return held_count > 0;
}
