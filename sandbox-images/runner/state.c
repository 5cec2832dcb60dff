/* The two memory files of an action: its input, and the state it may leave. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include "supervisor.h"

#define STATE_MAX (1 << 20)

int input_memfd(const struct start *start) {
  int fd = memfd_create("input", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (fd < 0) return -1;
  for (size_t done = 0; done < start->input_length;) {
    ssize_t written = pwrite(fd, start->input + done, start->input_length - done, (off_t)done);
    if (written < 0) {
      close(fd);
      return -1;
    }
    done += (size_t)written;
  }
  fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL);
  return fd;
}

static bool ends_as_it_should(int fd, off_t size, const char *ending) {
  char tail[256];
  size_t length = strlen(ending);
  if (length > sizeof tail || (off_t)length > size) return false;
  return pread(fd, tail, length, size - (off_t)length) == (ssize_t)length && memcmp(tail, ending, length) == 0;
}

static bool content_copy(int from, int to, off_t size) {
  for (off_t offset = 0; offset < size;)
    if (sendfile(to, from, &offset, (size_t)(size - offset)) <= 0) return false;
  return true;
}

/* Most commands leave the shell as it was: then the file is left too, which costs a tenth of making it anew. */
static bool stands_already(int fd, off_t size, const char *path) {
  static char new[8192], old[sizeof new];
  struct stat status;
  if (size > (off_t)sizeof new) return false;
  int before = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
  if (before < 0) return false;
  bool same = fstat(before, &status) == 0 && S_ISREG(status.st_mode) && status.st_size == size &&
              pread(before, old, sizeof old, 0) == size && pread(fd, new, sizeof new, 0) == size &&
              memcmp(old, new, (size_t)size) == 0;
  close(before);
  return same;
}

bool state_save(int fd, const struct start *start) {
  struct stat status;
  char temporary[PATH_MAX];
  if (fstat(fd, &status) < 0 || status.st_size > STATE_MAX) return false;
  if (!ends_as_it_should(fd, status.st_size, start->state_ending)) return false;
  if (stands_already(fd, status.st_size, start->state_path)) return true;
  int length = snprintf(temporary, sizeof temporary, "%s.%s", start->state_path, start->id);
  if (length < 0 || (size_t)length >= sizeof temporary) return false;
  unlink(temporary);
  int to = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
  if (to < 0) return false;
  bool saved = content_copy(fd, to, status.st_size);
  close(to);
  if (saved && rename(temporary, start->state_path) == 0) return true;
  unlink(temporary);
  return false;
}
