#define _GNU_SOURCE
#include "paths.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* openat2(2), by number: the building machine's headers may not know it. */
#define SYS_OPENAT2 437
#define RESOLVE_NO_MAGICLINKS 0x02
#define RESOLVE_NO_SYMLINKS 0x04
struct open_how_v0 {
  uint64_t flags, mode, resolve;
};

/* The words after the existing part: none may be "..", "." and empty ones vanish. */
static bool rest_append(char *resolved, const char *rest) {
  while (*rest) {
    size_t length = strcspn(rest, "/");
    bool here = length == 0 || (length == 1 && rest[0] == '.');
    if (length == 2 && memcmp(rest, "..", 2) == 0) {
      errno = ENOENT;
      return false;
    }
    size_t used = strlen(resolved);
    if (!here && used + length + 2 >= PATH_MAX) {
      errno = ENAMETOOLONG;
      return false;
    }
    if (!here) {
      if (used > 1) resolved[used++] = '/';
      memcpy(resolved + used, rest, length);
      resolved[used + length] = 0;
    }
    rest += length;
    rest += strspn(rest, "/");
  }
  return true;
}

/* Whether something stands at the path that is not there when followed: a symlink to nowhere. */
static bool dangles(const char *path) {
  struct stat status;
  return lstat(path, &status) == 0;
}

bool path_resolve(const char *path, char resolved[PATH_MAX]) {
  char head[PATH_MAX];
  size_t length = strlen(path);
  if (path[0] != '/' || length >= sizeof head) {
    errno = path[0] != '/' ? EINVAL : ENAMETOOLONG;
    return false;
  }
  memcpy(head, path, length + 1);
  for (;;) {
    if (realpath(*head ? head : "/", resolved)) break;
    if (errno != ENOENT) return false;
    if (dangles(head)) {
      errno = ELOOP;
      return false;
    }
    /* One word less, and the slashes before it. */
    while (length > 0 && head[length - 1] == '/') length--;
    while (length > 0 && head[length - 1] != '/') length--;
    while (length > 0 && head[length - 1] == '/') length--;
    head[length] = 0;
  }
  const char *rest = path + length;
  struct stat status;
  if (rest[strspn(rest, "/")] && (stat(resolved, &status) < 0 || !S_ISDIR(status.st_mode))) {
    errno = ENOTDIR;
    return false;
  }
  return rest_append(resolved, rest + strspn(rest, "/"));
}

/* One part after another, for kernels without openat2. */
static int open_by_parts(const char *path, int flags) {
  char part[NAME_MAX + 1];
  int at = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
  for (path += strspn(path, "/"); at >= 0;) {
    size_t length = strcspn(path, "/");
    const char *rest = path + length + strspn(path + length, "/");
    if (length == 0 || length > NAME_MAX || (length == 2 && memcmp(path, "..", 2) == 0)) {
      close(at);
      errno = length > NAME_MAX ? ENAMETOOLONG : EINVAL;
      return -1;
    }
    memcpy(part, path, length);
    part[length] = 0;
    int how = *rest ? O_PATH | O_DIRECTORY : flags;
    int next = openat(at, part, how | O_NOFOLLOW | O_CLOEXEC);
    int error = errno;
    close(at);
    errno = error;
    if (next < 0 || !*rest) return next;
    at = next;
    path = rest;
  }
  return at;
}

int path_open(const char *path, int flags) {
  if (path[0] != '/') {
    errno = EINVAL;
    return -1;
  }
  struct open_how_v0 how = {.flags = (uint64_t)(flags | O_CLOEXEC), .resolve = RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS};
  int fd = (int)syscall(SYS_OPENAT2, AT_FDCWD, path, &how, sizeof how);
  if (fd >= 0 || (errno != ENOSYS && errno != EPERM)) return fd;
  if (strspn(path, "/") == strlen(path)) return open(path, flags | O_CLOEXEC);
  return open_by_parts(path, flags);
}

int folders_make(const char *path) {
  if (!*path) return open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
  int at = path_open(path, O_PATH | O_DIRECTORY);
  if (at >= 0 || errno != ENOENT) return at;
  char parent[PATH_MAX];
  const char *slash = strrchr(path, '/');
  size_t length = (size_t)(slash - path);
  if (length >= sizeof parent) {
    errno = ENAMETOOLONG;
    return -1;
  }
  memcpy(parent, path, length);
  parent[length] = 0;
  int folder = folders_make(parent);
  if (folder < 0) return -1;
  if (slash[1] && mkdirat(folder, slash + 1, 0755) < 0 && errno != EEXIST) {
    close(folder);
    return -1;
  }
  at = slash[1] ? openat(folder, slash + 1, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC) : folder;
  if (at != folder) close(folder);
  return at;
}
