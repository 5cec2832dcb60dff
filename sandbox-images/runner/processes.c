#define _GNU_SOURCE
#include "processes.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static struct process_table table;

/* Layout of getdents64(2). */
struct directory_entry {
  uint64_t inode, offset;
  unsigned short size;
  unsigned char type;
  char name[];
};

/* "pid (name) state parent group ...": the name may hold anything, so look for its last bracket. */
static bool process_read(int proc, const char *pid, struct process *process) {
  char path[32], text[512];
  snprintf(path, sizeof path, "%.20s/stat", pid);
  int fd = openat(proc, path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return false;
  ssize_t length = read(fd, text, sizeof text - 1);
  close(fd);
  if (length <= 0) return false;
  text[length] = 0;
  char *after_name = strrchr(text, ')');
  process->pid = atoi(pid);
  process->marked = false;
  return after_name &&
         sscanf(after_name + 1, " %c %d %d", &process->state, &process->parent, &process->group) == 3;
}

static void entries_read(int proc, const char *entries, long length) {
  for (long at = 0; at < length && table.count < PROCESSES_MAX;) {
    const struct directory_entry *entry = (const void *)(entries + at);
    at += entry->size;
    if (entry->name[0] < '1' || entry->name[0] > '9') continue;
    if (process_read(proc, entry->name, &table.list[table.count])) table.count++;
  }
}

struct process_table *processes_scan(void) {
  static _Alignas(8) char entries[8192];
  long length;
  table.count = 0;
  int proc = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (proc < 0) return &table;
  while ((length = syscall(SYS_getdents64, proc, entries, sizeof entries)) > 0)
    entries_read(proc, entries, length);
  close(proc);
  return &table;
}

/* /proc lists pids in ascending order. */
static struct process *find(struct process_table *processes, pid_t pid) {
  size_t low = 0, high = processes->count;
  while (low < high) {
    size_t middle = (low + high) / 2;
    if (processes->list[middle].pid < pid) low = middle + 1;
    else high = middle;
  }
  return low < processes->count && processes->list[low].pid == pid ? &processes->list[low] : NULL;
}

void processes_mark_further(struct process_table *processes) {
  for (bool changed = true; changed;) {
    changed = false;
    for (size_t i = 0; i < processes->count; i++) {
      struct process *process = &processes->list[i];
      if (process->marked) continue;
      struct process *parent = find(processes, process->parent);
      if (parent && parent->marked) process->marked = changed = true;
    }
  }
}

void processes_mark_below(struct process_table *processes, pid_t root) {
  for (size_t i = 0; i < processes->count; i++)
    if (processes->list[i].parent == root) processes->list[i].marked = true;
  processes_mark_further(processes);
}

uint32_t processes_below(pid_t root) {
  uint32_t alive = 0;
  struct process_table *processes = processes_scan();
  processes_mark_below(processes, root);
  for (size_t i = 0; i < processes->count; i++)
    if (processes->list[i].marked && processes->list[i].state != 'Z') alive++;
  return alive;
}

/* Where the control group that a container sees as its own tells it, by the second version's layout and the first's. */
static const char *const EVENTS[] = {"/sys/fs/cgroup/pids.events", "/sys/fs/cgroup/pids/pids.events"};

uint64_t processes_refused(void) {
  char text[128];
  unsigned long long refused;
  for (size_t i = 0; i < sizeof EVENTS / sizeof *EVENTS; i++) {
    int fd = open(EVENTS[i], O_RDONLY | O_CLOEXEC);
    if (fd < 0) continue;
    ssize_t length = read(fd, text, sizeof text - 1);
    close(fd);
    if (length <= 0) continue;
    text[length] = 0;
    if (sscanf(text, "max %llu", &refused) == 1) return refused;
  }
  return 0;
}
