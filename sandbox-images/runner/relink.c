/*
 * Makes hard links whole again in a container made from an image. What lies in an image's layers is copied the
 * moment it is written, and an overlay file system without an index copies one name of it only: the others would
 * keep the old content. A link made copies as well; so each further name is replaced by a link to the first one.
 * Contents, modes and times stay.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "errors.h"
#include "paths.h"
#include "tree.h"
#include "walk.h"

#define ENTRIES_MAX 2000000
#define NAMES_MAX 10000
#define BYTES_MAX (512ll << 20)

struct name {
  dev_t device;
  ino_t inode;
  off_t size;
  char *path;
};

struct links {
  struct name *names;
  size_t count, found;
};

static bool link_visit(struct walk *walk, int folder, const char *name, const struct stat *status) {
  struct links *links = walk->context;
  (void)folder, (void)name;
  if (S_ISDIR(status->st_mode) || status->st_nlink < 2 || status->st_uid != geteuid()) return true;
  if (++links->found > NAMES_MAX || walk->path_length >= PATH_MAX) return true;
  char *path = strdup(walk->path);
  if (!path) return true;
  links->names[links->count++] = (struct name){status->st_dev, status->st_ino, status->st_size, path};
  return true;
}

static void nothing(struct walk *walk, const struct stat *status) { (void)walk, (void)status; }

static int compare(const void *left, const void *right) {
  const struct name *a = left, *b = right;
  if (a->device != b->device) return a->device < b->device ? -1 : 1;
  if (a->inode != b->inode) return a->inode < b->inode ? -1 : 1;
  return strcmp(a->path, b->path);
}

/* The folder of a path, open, with its last word. */
static int folder_open(const char *path, const char **name) {
  char folder[PATH_MAX];
  const char *slash = strrchr(path, '/');
  size_t length = slash == path ? 1 : (size_t)(slash - path);
  memcpy(folder, path, length);
  folder[length] = 0;
  *name = slash + 1;
  return path_open(folder, O_RDONLY | O_DIRECTORY | O_NONBLOCK);
}

static bool replaced(int from, const char *source, int folder, const char *name) {
  char temporary[64];
  snprintf(temporary, sizeof temporary, ".caisson-link.%d", getpid());
  if (linkat(from, source, folder, temporary, 0) < 0) return false;
  bool done = renameat(folder, temporary, folder, name) == 0;
  int error = errno;
  /* A rename between two names of one file does nothing. */
  unlinkat(folder, temporary, 0);
  errno = error;
  return done;
}

/* A folder that forbids it, though its owner's, is opened for the moment; its times are set back. */
static bool in_folder(int from, const char *source, const char *path) {
  struct stat status;
  const char *name;
  int folder = folder_open(path, &name);
  if (folder < 0) return false;
  bool done = fstat(folder, &status) == 0;
  bool locked = done && (status.st_mode & 0300) != 0300 && status.st_uid == geteuid();
  if (locked) done = fchmod(folder, (status.st_mode & 07777) | 0300) == 0;
  done = done && replaced(from, source, folder, name);
  int error = errno;
  if (locked) fchmod(folder, status.st_mode & 07777);
  struct timespec times[2] = {status.st_atim, status.st_mtim};
  futimens(folder, times); /* refused in a folder of somebody else's, whose times anybody may change */
  close(folder);
  errno = error;
  return done;
}

static size_t group_relink(const struct name *names, size_t count) {
  const char *source;
  size_t done = 0;
  int from = folder_open(names[0].path, &source);
  if (from < 0) return 0;
  for (size_t i = 1; i < count; i++)
    if (in_folder(from, source, names[i].path)) done++;
  close(from);
  return done;
}

/* "relinked left": names beyond the first of each group. */
static int groups_relink(const struct links *links) {
  size_t relinked = 0, left = links->found - links->count;
  long long bytes = 0;
  for (size_t at = 0, next; at < links->count; at = next) {
    const struct name *first = &links->names[at];
    for (next = at + 1; next < links->count; next++)
      if (links->names[next].inode != first->inode || links->names[next].device != first->device) break;
    if (next - at < 2) continue;
    bool fits = bytes + first->size <= BYTES_MAX;
    size_t done = fits ? group_relink(first, next - at) : 0;
    if (fits) bytes += first->size;
    relinked += done;
    left += next - at - 1 - done;
  }
  printf("%zu %zu\n", relinked, left);
  return fflush(stdout) == 0 ? 0 : 1;
}

int tree_relink(int count, char **places) {
  static struct walk walk;
  struct links links = {.names = calloc(NAMES_MAX, sizeof *links.names)};
  walk.visit = link_visit;
  walk.closed = nothing;
  walk.context = &links;
  bool whole = links.names && walk_start(&walk, ENTRIES_MAX);
  for (int i = 0; whole && i < count; i++) whole = walk_from(&walk, places[i]);
  if (!whole) {
    fprintf(stderr, "%s %s: %s\n", error_name(errno), walk.path, strerror(errno));
    return 1;
  }
  qsort(links.names, links.count, sizeof *links.names, compare);
  return groups_relink(&links);
}
