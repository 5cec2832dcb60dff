/*
 * The file helper. Policy judges the resolved path, so that very path is opened: without following any
 * symlink, whatever was swapped meanwhile. Exit code 1 says why on standard error, errno name first.
 */
#define _GNU_SOURCE
#include "files.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "errors.h"
#include "paths.h"

#define COPY_BYTES (128 * 1024)

static int failed(const char *what) {
  int error = errno;
  fprintf(stderr, "%s %s: %s\n", error_name(error), what, strerror(error));
  return 1;
}

static int usage(void) {
  fputs("EINVAL usage: runner file resolve PATH | read PATH [OFFSET LENGTH] | write PATH [MODE] | stat PATH\n", stderr);
  return 1;
}

static bool number(const char *text, uint64_t *value, int base) {
  char *end;
  errno = 0;
  *value = strtoull(text, &end, base);
  return errno == 0 && *text >= '0' && *text <= '9' && *end == 0;
}

static bool write_all(int fd, const char *bytes, size_t length) {
  while (length > 0) {
    ssize_t written = write(fd, bytes, length);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return false;
    bytes += written;
    length -= (size_t)written;
  }
  return true;
}

static bool copy(int from, int to, uint64_t most) {
  static char bytes[COPY_BYTES];
  while (most > 0) {
    ssize_t length = read(from, bytes, most < sizeof bytes ? (size_t)most : sizeof bytes);
    if (length < 0 && errno == EINTR) continue;
    if (length <= 0) return length == 0;
    if (!write_all(to, bytes, (size_t)length)) return false;
    most -= (uint64_t)length;
  }
  return true;
}

static int resolve(const char *path) {
  char resolved[PATH_MAX];
  if (!path_resolve(path, resolved)) return failed(path);
  size_t length = strlen(resolved);
  resolved[length] = '\n';
  return write_all(1, resolved, length + 1) ? 0 : failed("output");
}

/* O_NONBLOCK, so that a FIFO put in the file's place can't hang us. */
static int file_read(const char *path, uint64_t offset, uint64_t length) {
  struct stat status;
  int fd = path_open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
  if (fd < 0) return failed(path);
  if (fstat(fd, &status) < 0) return failed(path);
  if (!S_ISREG(status.st_mode)) {
    errno = S_ISDIR(status.st_mode) ? EISDIR : EINVAL;
    return failed(path);
  }
  if (offset > INT64_MAX || (offset && lseek(fd, (off_t)offset, SEEK_SET) < 0)) return failed(path);
  return copy(fd, 1, length) ? 0 : failed(path);
}

/* Opens the folder a path is in, making what is missing; *name points to the last word. */
static int parent_open(const char *path, const char **name) {
  char folder[PATH_MAX];
  const char *slash = strrchr(path, '/');
  if (path[0] != '/' || !slash[1] || (size_t)(slash - path) >= sizeof folder) {
    errno = EINVAL;
    return -1;
  }
  memcpy(folder, path, (size_t)(slash - path));
  folder[slash - path] = 0;
  *name = slash + 1;
  if (strcmp(*name, ".") == 0 || strcmp(*name, "..") == 0) {
    errno = EINVAL;
    return -1;
  }
  return folders_make(folder);
}

/* A file that exists keeps its mode; a symlink, a folder or a device is not replaced. */
static bool mode_for(int folder, const char *name, mode_t *mode) {
  struct stat status;
  if (fstatat(folder, name, &status, AT_SYMLINK_NOFOLLOW) < 0) return errno == ENOENT;
  if (S_ISREG(status.st_mode)) {
    *mode = status.st_mode & 07777;
    return true;
  }
  errno = S_ISLNK(status.st_mode) ? ELOOP : S_ISDIR(status.st_mode) ? EISDIR : EINVAL;
  return false;
}

static bool replace(int folder, const char *name, mode_t mode) {
  char temporary[64];
  snprintf(temporary, sizeof temporary, ".caisson-write.%d", getpid());
  int fd = openat(folder, temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
  if (fd < 0) return false;
  bool done = copy(0, fd, UINT64_MAX) && fchmod(fd, mode) == 0 && close(fd) == 0 &&
              renameat(folder, temporary, folder, name) == 0;
  int error = errno;
  if (!done) unlinkat(folder, temporary, 0);
  errno = error;
  return done;
}

static int file_write(const char *path, mode_t mode) {
  const char *name;
  int folder = parent_open(path, &name);
  if (folder < 0 || !mode_for(folder, name, &mode) || !replace(folder, name, mode)) return failed(path);
  return 0;
}

static const char *type_name(mode_t mode) {
  switch (mode & S_IFMT) {
    case S_IFREG: return "file";
    case S_IFDIR: return "folder";
    case S_IFLNK: return "symlink";
    default: return "other";
  }
}

/* "type size mode mtime", the mode octal, the time in seconds. The last word of the path is not followed either. */
static int file_stat(const char *path) {
  struct stat status;
  int fd = path_open(path, O_PATH | O_NOFOLLOW);
  if (fd < 0 || fstat(fd, &status) < 0) return failed(path);
  printf("%s %lld %o %lld.%09ld\n", type_name(status.st_mode), (long long)status.st_size,
         status.st_mode & 07777, (long long)status.st_mtim.tv_sec, status.st_mtim.tv_nsec);
  return fflush(stdout) == 0 ? 0 : failed("output");
}

int files_main(int argc, char **argv) {
  uint64_t first = 0, second = UINT64_MAX;
  if (argc < 2) return usage();
  if (argc == 2 && strcmp(argv[0], "resolve") == 0) return resolve(argv[1]);
  if (argc == 2 && strcmp(argv[0], "stat") == 0) return file_stat(argv[1]);
  if (strcmp(argv[0], "read") == 0) {
    bool part = argc == 4 && number(argv[2], &first, 10) && number(argv[3], &second, 10);
    return argc == 2 || part ? file_read(argv[1], first, second) : usage();
  }
  if (strcmp(argv[0], "write") == 0 && argc <= 3) {
    first = 0644;
    bool fits = argc == 2 || (number(argv[2], &first, 8) && first <= 0777);
    return fits ? file_write(argv[1], (mode_t)first) : usage();
  }
  return usage();
}
