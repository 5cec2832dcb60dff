/*
 * What tells one tree from another, as a stream: deletions, children first; then what is new or changed, parents
 * first; then an end. Written and read by the same program, so numbers are as the machine has them.
 */
#ifndef CAISSON_DELTA_H
#define CAISSON_DELTA_H

#include <stdint.h>

enum delta_kind { DELTA_END = 'e', DELTA_GONE = '-', DELTA_FOLDER = 'd', DELTA_FILE = 'f', DELTA_SYMLINK = 'l',
                  DELTA_LINK = 'h', DELTA_FIFO = 'p' };

/* Followed by the path, and by `size` bytes: a file's content, a symlink's target, the path a link leads to. */
struct delta_record {
  uint32_t kind, path_length, mode, uid, gid, mtime_ns;
  int64_t mtime;
  uint64_t size;
};

/* One entry of the tree to compare with; followed by the path. */
struct delta_listed {
  uint64_t inode, size;
  int64_t ctime;
  uint32_t ctime_ns, mode, uid, gid, path_length, reserved;
};

/* Lists the tree below the places. */
int delta_list(int count, char **places);
/* Reads such a list of another tree and writes what has to be done to that one to make it this one. */
int delta_make(int count, char **places);
/* Does it. */
int delta_apply(void);

#endif
