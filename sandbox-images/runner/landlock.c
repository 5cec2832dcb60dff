/* Landlock by raw system calls: the headers of the machine that builds may be older than the kernel that runs. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "paths.h"
#include "protocol.h"
#include "supervisor.h"

#define SYS_LANDLOCK_CREATE 444
#define SYS_LANDLOCK_ADD 445
#define SYS_LANDLOCK_RESTRICT 446
#define CREATE_VERSION 1u
#define RULE_PATH_BENEATH 1

/* include/uapi/linux/landlock.h */
#define FS_EXECUTE (1ull << 0)
#define FS_WRITE_FILE (1ull << 1)
#define FS_READ_FILE (1ull << 2)
#define FS_READ_DIR (1ull << 3)
#define FS_REFER (1ull << 13)
#define FS_TRUNCATE (1ull << 14)
#define FS_IOCTL_DEV (1ull << 15)
#define FS_ON_FILES (FS_EXECUTE | FS_WRITE_FILE | FS_READ_FILE | FS_TRUNCATE | FS_IOCTL_DEV)

/* Files only. Signals and abstract sockets stay open: a command must reach what an earlier one left running. */
struct ruleset_attributes {
  uint64_t file_system;
};
struct path_beneath {
  uint64_t allowed;
  int32_t parent;
} __attribute__((packed));

int landlock_version(void) {
  long version = syscall(SYS_LANDLOCK_CREATE, NULL, 0, CREATE_VERSION);
  return version > 0 ? (int)version : 0;
}

static uint64_t rights_known(int version) {
  if (version < 2) return FS_REFER - 1;
  if (version < 3) return FS_TRUNCATE - 1;
  if (version < 5) return FS_IOCTL_DEV - 1;
  return (FS_IOCTL_DEV << 1) - 1;
}

static uint64_t rights_of(uint8_t access) {
  uint64_t rights = 0;
  if (access & RULE_READ) rights |= FS_READ_FILE | FS_READ_DIR;
  if (access & RULE_EXECUTE) rights |= FS_EXECUTE;
  if (access & RULE_WRITE) rights |= ~(FS_READ_FILE | FS_READ_DIR | FS_EXECUTE);
  return rights;
}

/* ELOOP: a command may have put a symlink in the path's place, to what the rule is not about. */
static bool no_such_place(int error) {
  return error == ENOENT || error == ENOTDIR || error == EACCES || error == ELOOP;
}

/* A path that does not exist allows nothing, so leaving it out is the narrower reading. */
static int rule_add(int ruleset, const struct rule *rule, uint64_t known) {
  struct stat status;
  bool follow = rule->access & RULE_FOLLOW;
  int parent = follow ? open(rule->path, O_PATH | O_CLOEXEC) : path_open(rule->path, O_PATH);
  if (parent < 0) return no_such_place(errno) ? 0 : errno;
  struct path_beneath beneath = {.allowed = rights_of(rule->access) & known, .parent = parent};
  if (fstat(parent, &status) == 0 && !S_ISDIR(status.st_mode)) beneath.allowed &= FS_ON_FILES;
  long added = syscall(SYS_LANDLOCK_ADD, ruleset, RULE_PATH_BENEATH, &beneath, 0);
  int error = added < 0 ? errno : 0;
  close(parent);
  return error;
}

int landlock_apply(const struct rule *rules, uint32_t count) {
  int version = landlock_version();
  if (version == 0) return ENOSYS;
  struct ruleset_attributes attributes = {.file_system = rights_known(version)};
  int ruleset = (int)syscall(SYS_LANDLOCK_CREATE, &attributes, sizeof attributes, 0);
  if (ruleset < 0) return errno;
  int error = 0;
  for (uint32_t i = 0; i < count && !error; i++) error = rule_add(ruleset, &rules[i], attributes.file_system);
  prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  if (!error && syscall(SYS_LANDLOCK_RESTRICT, ruleset, 0) < 0) error = errno;
  close(ruleset);
  return error;
}
