/* The process table, read from /proc. A snapshot: processes come and go while it is taken. */
#ifndef CAISSON_PROCESSES_H
#define CAISSON_PROCESSES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* More are not seen at once; killing goes on until none is left, so it takes several scans then. */
#define PROCESSES_MAX 4096

struct process {
  pid_t pid, parent, group;
  char state;
  bool marked;
};

struct process_table {
  size_t count;
  struct process list[PROCESSES_MAX];
};

/* The one table: large, touched only as far as it is used. */
struct process_table *processes_scan(void);
/* Marks every descendant of `root`, itself not. Adds to earlier marks. */
void processes_mark_below(struct process_table *table, pid_t root);
/* Marks the descendants of the processes marked already. */
void processes_mark_further(struct process_table *table);
/* How many descendants of `root` live; zombies don't count. */
uint32_t processes_below(pid_t root);
/* How often the sandbox was refused a process or thread because it had all that it may have; 0 where that isn't told. */
uint64_t processes_refused(void);

#endif
