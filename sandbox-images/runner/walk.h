/* Walking folders of one file system, nothing followed. */
#ifndef CAISSON_WALK_H
#define CAISSON_WALK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#define WALK_PATH_MAX 65536

struct walk {
  /* Of each entry, the top one too; `folder` is -1 for that one, whose `name` is its path. True: go into it. */
  bool (*visit)(struct walk *walk, int folder, const char *name, const struct stat *status);
  /* Of a folder that can't be listed. */
  void (*closed)(struct walk *walk, const struct stat *status);
  /* Optional. True of a folder among whose entries only folders need a visit. */
  bool (*settled)(const struct stat *status);
  void *context;
  /* The entry's path from the root; only until the function returns. */
  char path[WALK_PATH_MAX];
  size_t path_length;
  uint64_t entries_left; /* a bound; beyond it the walk fails with E2BIG */
  dev_t device;          /* set by walk_start */
};

/* Sets the file system to stay on: that of the root folder. */
bool walk_start(struct walk *walk, uint64_t entries);
/* False with errno when the walk is not whole. What is gone meanwhile is no failure. */
bool walk_from(struct walk *walk, const char *path);

#endif
