#define _GNU_SOURCE
#include "walk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "paths.h"

/* Each level holds a descriptor. A path of PATH_MAX has at most as many. */
#define DEPTH_MAX 2048

struct directory_entry {
  uint64_t inode, offset;
  unsigned short size;
  unsigned char type;
  char name[];
};

/* Names, each with its zero byte, one after the other. */
struct names {
  char *bytes;
  size_t length, capacity;
};

static bool names_add(struct names *names, const char *name) {
  size_t size = strlen(name) + 1;
  if (names->length + size > names->capacity) {
    size_t capacity = names->capacity * 2 + size + 256;
    char *bytes = realloc(names->bytes, capacity);
    if (!bytes) return false;
    names->bytes = bytes;
    names->capacity = capacity;
  }
  memcpy(names->bytes + names->length, name, size);
  names->length += size;
  return true;
}

static bool path_extend(struct walk *walk, size_t length, const char *name) {
  size_t size = strlen(name);
  if (length + size + 2 > sizeof walk->path) {
    errno = ENAMETOOLONG;
    return false;
  }
  if (length == 0 || walk->path[length - 1] != '/') walk->path[length++] = '/';
  memcpy(walk->path + length, name, size + 1);
  walk->path_length = length + size;
  return true;
}

static bool vanished(int error) { return error == ENOENT || error == ENOTDIR || error == ELOOP; }

/* Plain folders have a link for each folder in them; where several are merged it is 1. */
static bool holds_no_folder(const struct stat *status) { return status->st_nlink == 2; }

static bool settled(const struct walk *walk, const struct stat *status) {
  return walk->settled && walk->settled(status);
}

/* One entry; folders to go into are noted in `below`. */
static bool entry_visit(struct walk *walk, int folder, size_t length, const char *name, struct names *below) {
  struct stat status;
  if (fstatat(folder, name, &status, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT) < 0) return vanished(errno);
  /* Of folders only: where layers lie on several file systems, files tell of theirs. */
  if (S_ISDIR(status.st_mode) && status.st_dev != walk->device) return true;
  if (walk->entries_left == 0) {
    errno = E2BIG;
    return false;
  }
  walk->entries_left--;
  if (!path_extend(walk, length, name)) return false;
  if (!walk->visit(walk, folder, name, &status) || !S_ISDIR(status.st_mode)) return true;
  return (settled(walk, &status) && holds_no_folder(&status)) || names_add(below, name);
}

static bool entries_visit(struct walk *walk, int folder, size_t length, bool folders, struct names *below) {
  /* Shared by all levels: a folder is read to its end before the next one is begun. */
  static _Alignas(8) char entries[65536];
  long read;
  while ((read = syscall(SYS_getdents64, folder, entries, sizeof entries)) > 0) {
    for (long at = 0; at < read;) {
      const struct directory_entry *entry = (const void *)(entries + at);
      at += entry->size;
      if (strcmp(entry->name, ".") == 0 || strcmp(entry->name, "..") == 0) continue;
      if (folders && entry->type != DT_DIR && entry->type != DT_UNKNOWN) continue;
      if (!entry_visit(walk, folder, length, entry->name, below)) return false;
    }
  }
  return read == 0 || vanished(errno);
}

static bool folder_walk(struct walk *walk, int folder, const struct stat *status, size_t length, int depth);

static bool below_walk(struct walk *walk, int folder, size_t length, const char *name, int depth) {
  struct stat status;
  if (!path_extend(walk, length, name)) return false;
  size_t own = walk->path_length;
  int fd = openat(folder, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
  if (fd < 0 && errno == EACCES && fstatat(folder, name, &status, AT_SYMLINK_NOFOLLOW) == 0) {
    walk->closed(walk, &status);
    return true;
  }
  if (fd < 0) return vanished(errno);
  bool same = fstat(fd, &status) == 0 && status.st_dev == walk->device;
  bool whole = !same || folder_walk(walk, fd, &status, own, depth);
  int error = errno;
  close(fd);
  errno = error;
  return whole;
}

static bool folder_walk(struct walk *walk, int folder, const struct stat *status, size_t length, int depth) {
  struct names below = {0};
  if (depth == DEPTH_MAX) {
    errno = ENAMETOOLONG;
    return false;
  }
  bool whole = entries_visit(walk, folder, length, settled(walk, status), &below);
  for (size_t at = 0; whole && at < below.length; at += strlen(below.bytes + at) + 1)
    whole = below_walk(walk, folder, length, below.bytes + at, depth + 1);
  int error = errno;
  free(below.bytes);
  errno = error;
  return whole;
}

bool walk_start(struct walk *walk, uint64_t entries) {
  struct stat status;
  if (stat("/", &status) < 0) return false;
  walk->device = status.st_dev;
  walk->entries_left = entries;
  return true;
}

bool walk_from(struct walk *walk, const char *path) {
  struct stat status;
  size_t length = strlen(path);
  if (path[0] != '/' || length + 1 > sizeof walk->path) {
    errno = EINVAL;
    return false;
  }
  memcpy(walk->path, path, length + 1);
  walk->path_length = length;
  int handle = path_open(path, O_PATH | O_NOFOLLOW);
  if (handle < 0) return vanished(errno);
  bool found = fstat(handle, &status) == 0;
  close(handle);
  if (!found || (S_ISDIR(status.st_mode) && status.st_dev != walk->device)) return found;
  if (!walk->visit(walk, -1, path, &status) || !S_ISDIR(status.st_mode)) return true;
  int folder = path_open(path, O_RDONLY | O_DIRECTORY | O_NONBLOCK);
  if (folder < 0 && errno == EACCES) walk->closed(walk, &status);
  if (folder < 0) return errno == EACCES || vanished(errno);
  bool whole = folder_walk(walk, folder, &status, length == 1 ? 0 : length, 0);
  int error = errno;
  close(folder);
  errno = error;
  return whole;
}
