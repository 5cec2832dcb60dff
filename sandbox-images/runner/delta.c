/*
 * Compares the trees of two containers whose images share layers. A file of a shared layer is the same inode in
 * both, with the same change time, which nobody can set: so equal numbers mean an equal file, and no content of
 * what did not change is read.
 */
#define _GNU_SOURCE
#include "delta.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "errors.h"
#include "paths.h"
#include "walk.h"

#define ENTRIES_MAX 2000000

static int failed(const char *what) {
  int error = errno;
  fprintf(stderr, "%s %s: %s\n", error_name(error), what, strerror(error));
  return 1;
}

static void never_closed(struct walk *walk, const struct stat *status) {
  (void)status;
  *(bool *)walk->context = true;
}

static bool put(const void *bytes, size_t length) { return fwrite(bytes, 1, length, stdout) == length; }

static bool list_visit(struct walk *walk, int folder, const char *name, const struct stat *status) {
  (void)folder, (void)name;
  struct delta_listed listed = {.inode = status->st_ino, .size = (uint64_t)status->st_size,
                                .ctime = status->st_ctim.tv_sec, .ctime_ns = (uint32_t)status->st_ctim.tv_nsec,
                                .mode = status->st_mode, .uid = status->st_uid, .gid = status->st_gid,
                                .path_length = (uint32_t)walk->path_length};
  put(&listed, sizeof listed);
  put(walk->path, walk->path_length);
  return true;
}

static bool walk_places(struct walk *walk, int count, char **places) {
  bool closed = false;
  walk->context = &closed;
  walk->closed = never_closed;
  if (!walk_start(walk, ENTRIES_MAX)) return false;
  for (int i = 0; i < count; i++)
    if (!walk_from(walk, places[i])) return false;
  if (closed) errno = EACCES;
  return !closed;
}

int delta_list(int count, char **places) {
  static struct walk walk;
  walk.visit = list_visit;
  if (!walk_places(&walk, count, places)) return failed(walk.path);
  struct delta_listed end = {0};
  put(&end, sizeof end);
  return fflush(stdout) == 0 && !ferror(stdout) ? 0 : failed("output");
}

struct known {
  const char *path;
  struct delta_listed listed;
  bool seen;
};

struct changed {
  char *path;
  struct stat status;
};

static struct comparison {
  struct known *known;
  struct changed *changed;
  size_t known_count, changed_count;
  void *by_path;
  void *by_inode; /* of struct changed: the first name of each file that has several */
  bool failed;
} comparison;

static int path_compare(const void *left, const void *right) {
  return strcmp(((const struct known *)left)->path, ((const struct known *)right)->path);
}

static int inode_compare(const void *left, const void *right) {
  const struct stat *a = &((const struct changed *)left)->status, *b = &((const struct changed *)right)->status;
  if (a->st_ino != b->st_ino) return a->st_ino < b->st_ino ? -1 : 1;
  return a->st_dev < b->st_dev ? -1 : a->st_dev > b->st_dev;
}

/* Room for one more: twice as much whenever the count is a power of two. */
static void *room(void *list, size_t count, size_t size) {
  return (count & (count - 1)) == 0 ? realloc(list, (count ? 2 * count : 1) * size) : list;
}

static bool known_read(void) {
  struct delta_listed listed;
  for (;;) {
    if (fread(&listed, sizeof listed, 1, stdin) != 1) return false;
    if (listed.path_length == 0) break;
    if (listed.path_length >= WALK_PATH_MAX || comparison.known_count == ENTRIES_MAX) return false;
    char *path = malloc(listed.path_length + 1);
    if (!path || fread(path, 1, listed.path_length, stdin) != listed.path_length) return false;
    path[listed.path_length] = 0;
    comparison.known = room(comparison.known, comparison.known_count, sizeof *comparison.known);
    if (!comparison.known) return false;
    comparison.known[comparison.known_count++] = (struct known){.path = path, .listed = listed};
  }
  for (size_t i = 0; i < comparison.known_count; i++)
    if (!tsearch(&comparison.known[i], &comparison.by_path, path_compare)) return false;
  return true;
}

static bool same(const struct delta_listed *listed, const struct stat *status) {
  return listed->inode == status->st_ino && listed->size == (uint64_t)status->st_size &&
         listed->ctime == status->st_ctim.tv_sec && listed->ctime_ns == (uint32_t)status->st_ctim.tv_nsec &&
         listed->mode == status->st_mode && listed->uid == status->st_uid && listed->gid == status->st_gid;
}

static bool compare_visit(struct walk *walk, int folder, const char *name, const struct stat *status) {
  (void)folder, (void)name;
  struct known key = {.path = walk->path};
  struct known **found = tfind(&key, &comparison.by_path, path_compare);
  if (found) (*found)->seen = true;
  if ((found && same(&(*found)->listed, status)) || S_ISSOCK(status->st_mode)) return true;
  char *path = strdup(walk->path);
  comparison.changed = room(comparison.changed, comparison.changed_count, sizeof *comparison.changed);
  if (!path || !comparison.changed) comparison.failed = true;
  else comparison.changed[comparison.changed_count++] = (struct changed){path, *status};
  return !comparison.failed;
}

static bool record_put(enum delta_kind kind, const char *path, const struct stat *status, uint64_t size) {
  struct delta_record record = {.kind = kind, .path_length = (uint32_t)strlen(path), .size = size};
  if (status) {
    record.mode = status->st_mode & 07777;
    record.uid = status->st_uid;
    record.gid = status->st_gid;
    record.mtime = status->st_mtim.tv_sec;
    record.mtime_ns = (uint32_t)status->st_mtim.tv_nsec;
  }
  return put(&record, sizeof record) && put(path, record.path_length);
}

static bool content_put(int fd, off_t size) {
  static char bytes[128 * 1024];
  while (size > 0) {
    ssize_t length = read(fd, bytes, size < (off_t)sizeof bytes ? (size_t)size : sizeof bytes);
    if (length < 0 && errno == EINTR) continue;
    if (length == 0) errno = EIO; /* shorter than it was: nothing may run here */
    if (length <= 0 || !put(bytes, (size_t)length)) return false;
    size -= length;
  }
  return true;
}

static bool file_put(const struct changed *file) {
  int fd = path_open(file->path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
  if (fd < 0) return false;
  bool done = record_put(DELTA_FILE, file->path, &file->status, (uint64_t)file->status.st_size) &&
              content_put(fd, file->status.st_size);
  int error = errno;
  close(fd);
  errno = error;
  return done;
}

static bool symlink_put(const struct changed *link) {
  char target[PATH_MAX];
  ssize_t length = readlink(link->path, target, sizeof target);
  if (length < 0) return false;
  return record_put(DELTA_SYMLINK, link->path, &link->status, (uint64_t)length) && put(target, (size_t)length);
}

static bool changed_put(const struct changed *entry) {
  if (S_ISDIR(entry->status.st_mode)) return record_put(DELTA_FOLDER, entry->path, &entry->status, 0);
  if (entry->status.st_nlink > 1) {
    struct changed **first = tsearch(entry, &comparison.by_inode, inode_compare);
    if (!first) return false;
    if (*first != entry) {
      size_t length = strlen((*first)->path);
      return record_put(DELTA_LINK, entry->path, NULL, length) && put((*first)->path, length);
    }
  }
  if (S_ISREG(entry->status.st_mode)) return file_put(entry);
  if (S_ISLNK(entry->status.st_mode)) return symlink_put(entry);
  if (S_ISFIFO(entry->status.st_mode)) return record_put(DELTA_FIFO, entry->path, &entry->status, 0);
  errno = EINVAL; /* a device: no sandbox can make one */
  return false;
}

int delta_make(int count, char **places) {
  static struct walk walk;
  walk.visit = compare_visit;
  errno = EINVAL;
  if (!known_read()) return failed("list");
  if (!walk_places(&walk, count, places)) return failed(walk.path);
  if (comparison.failed) return failed("memory");
  for (size_t i = comparison.known_count; i-- > 0;)
    if (!comparison.known[i].seen && !record_put(DELTA_GONE, comparison.known[i].path, NULL, 0))
      return failed("output");
  for (size_t i = 0; i < comparison.changed_count; i++)
    if (!changed_put(&comparison.changed[i])) return failed(comparison.changed[i].path);
  if (!record_put(DELTA_END, "", NULL, 0) || fflush(stdout) != 0) return failed("output");
  return 0;
}
