/*
 * Holds many that try on and on to have more processes than the sandbox may: they are stopped, and a few at a time go
 * on for a moment, for as long as any of them is refused. The kernel's work for each try can't be put aside for others,
 * whatever the weights; and a quota of processor time would be the runner's too, which then answers nobody.
 */
#ifndef CAISSON_HOLDING_H
#define CAISSON_HOLDING_H

#include "processes.h"

void holding_begin(void);
/* Lets the next few go on; false when nothing is held, or the last few have not been paused. */
bool holding_turn(void);
/* Stops them again, before anything that takes time. */
void holding_pause(void);
/* Looks whether to hold what runs of the marked processes of a table that was taken after the pause, and does it. */
bool holding_goes_on(const struct process_table *table);
/* Lets all go on. */
void holding_end(void);

#endif
