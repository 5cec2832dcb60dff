/*
 * Makes a tree what a delta says. Nothing else may run meanwhile. A folder whose entries change keeps its times:
 * where they are to be others, its own record comes before its entries.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "delta.h"
#include "errors.h"
#include "paths.h"
#include "walk.h"

/* The folder whose entries are being changed. */
static struct parent {
  char path[PATH_MAX];
  int fd;
  struct timespec times[2];
} parent = {.fd = -1};

static bool parent_leave(void) {
  if (parent.fd < 0) return true;
  bool done = futimens(parent.fd, parent.times) == 0;
  close(parent.fd);
  parent.fd = -1;
  return done;
}

/* Gives the last word of the path. */
static const char *parent_enter(const char *path) {
  struct stat status;
  const char *slash = strrchr(path, '/');
  size_t length = slash == path ? 1 : (size_t)(slash - path);
  if (path[0] != '/' || !slash[1] || length >= sizeof parent.path) {
    errno = EINVAL;
    return NULL;
  }
  if (parent.fd >= 0 && strlen(parent.path) == length && memcmp(parent.path, path, length) == 0) return slash + 1;
  if (!parent_leave()) return NULL;
  memcpy(parent.path, path, length);
  parent.path[length] = 0;
  parent.fd = path_open(parent.path, O_RDONLY | O_DIRECTORY | O_NONBLOCK);
  if (parent.fd < 0 || fstat(parent.fd, &status) < 0) return NULL;
  parent.times[0] = status.st_atim;
  parent.times[1] = status.st_mtim;
  return slash + 1;
}

/* What was deleted with its folder's replacement is gone already. */
static bool removed(const char *name) {
  if (unlinkat(parent.fd, name, 0) == 0 || errno == ENOENT) return true;
  return errno == EISDIR && unlinkat(parent.fd, name, AT_REMOVEDIR) == 0;
}

static bool dressed(int fd, const struct delta_record *record) {
  struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = record->mtime, .tv_nsec = record->mtime_ns}};
  /* The owner first: changing it takes set-user-id bits away. */
  return fchown(fd, record->uid, record->gid) == 0 && fchmod(fd, record->mode) == 0 && futimens(fd, times) == 0;
}

static bool folder_apply(const char *name, const struct delta_record *record) {
  struct stat status;
  bool there = fstatat(parent.fd, name, &status, AT_SYMLINK_NOFOLLOW) == 0;
  if (there && !S_ISDIR(status.st_mode) && !removed(name)) return false;
  if ((!there || !S_ISDIR(status.st_mode)) && mkdirat(parent.fd, name, 0700) < 0) return false;
  int fd = openat(parent.fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0) return false;
  bool done = dressed(fd, record);
  close(fd);
  return done;
}

static bool content_take(int fd, uint64_t size) {
  static char bytes[128 * 1024];
  while (size > 0) {
    size_t length = fread(bytes, 1, size < sizeof bytes ? (size_t)size : sizeof bytes, stdin);
    if (length == 0) {
      errno = EIO;
      return false;
    }
    for (size_t done = 0; done < length;) {
      ssize_t written = write(fd, bytes + done, length - done);
      if (written < 0 && errno == EINTR) continue;
      if (written < 0) return false;
      done += (size_t)written;
    }
    size -= length;
  }
  return true;
}

static bool file_apply(const char *name, const struct delta_record *record) {
  if (!removed(name)) return false;
  int fd = openat(parent.fd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
  if (fd < 0) return false;
  bool done = content_take(fd, record->size) && dressed(fd, record);
  int error = errno;
  close(fd);
  errno = error;
  return done;
}

/* A symlink's target, or the path a link leads to. */
static char *text_take(const struct delta_record *record) {
  static char text[PATH_MAX];
  errno = EINVAL;
  if (record->size == 0 || record->size >= sizeof text) return NULL;
  if (fread(text, 1, (size_t)record->size, stdin) != record->size) return NULL;
  text[record->size] = 0;
  return text;
}

static bool named_apply(const char *name, const struct delta_record *record) {
  struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = record->mtime, .tv_nsec = record->mtime_ns}};
  const char *target = record->kind == DELTA_SYMLINK ? text_take(record) : "";
  if (!target || !removed(name)) return false;
  int made = record->kind == DELTA_SYMLINK ? symlinkat(target, parent.fd, name)
                                           : mknodat(parent.fd, name, S_IFIFO | 0600, 0);
  return made == 0 && fchownat(parent.fd, name, record->uid, record->gid, AT_SYMLINK_NOFOLLOW) == 0 &&
         (record->kind == DELTA_SYMLINK || fchmodat(parent.fd, name, record->mode, 0) == 0) &&
         utimensat(parent.fd, name, times, AT_SYMLINK_NOFOLLOW) == 0;
}

static bool link_apply(const char *name, const struct delta_record *record) {
  char folder[PATH_MAX];
  const char *source = text_take(record);
  const char *slash = source ? strrchr(source, '/') : NULL;
  if (!slash || !removed(name)) return false;
  size_t length = slash == source ? 1 : (size_t)(slash - source);
  memcpy(folder, source, length);
  folder[length] = 0;
  int from = path_open(folder, O_PATH | O_DIRECTORY);
  if (from < 0) return false;
  bool done = linkat(from, slash + 1, parent.fd, name, 0) == 0;
  int error = errno;
  close(from);
  errno = error;
  return done;
}

static bool record_apply(const char *name, const struct delta_record *record) {
  switch (record->kind) {
    case DELTA_GONE: return removed(name);
    case DELTA_FOLDER: return folder_apply(name, record);
    case DELTA_FILE: return file_apply(name, record);
    case DELTA_SYMLINK:
    case DELTA_FIFO: return named_apply(name, record);
    case DELTA_LINK: return link_apply(name, record);
    default: errno = EINVAL; return false;
  }
}

static int failed(const char *what) {
  int error = errno;
  fprintf(stderr, "%s %s: %s\n", error_name(error), what, strerror(error));
  return 1;
}

int delta_apply(void) {
  static char path[WALK_PATH_MAX];
  struct delta_record record;
  for (;;) {
    errno = EIO;
    if (fread(&record, sizeof record, 1, stdin) != 1) return failed("delta");
    if (record.kind == DELTA_END) break;
    errno = EINVAL;
    if (record.path_length == 0 || record.path_length >= sizeof path) return failed("delta");
    if (fread(path, 1, record.path_length, stdin) != record.path_length) return failed("delta");
    path[record.path_length] = 0;
    const char *name = parent_enter(path);
    if (!name || !record_apply(name, &record)) return failed(path);
  }
  return parent_leave() ? 0 : failed(parent.path);
}
