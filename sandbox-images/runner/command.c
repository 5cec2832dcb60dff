/*
 * From vfork to exec. This runs in the supervisor's memory: no allocation, no lock, nothing of the
 * supervisor's is changed but the failure record and the path buffer.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "supervisor.h"

#define PATH_DEFAULT "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

static void fail(struct exec_failure *failure, const char *stage) {
  failure->error = errno ? errno : EINVAL;
  failure->stage = stage;
}

/* What is allowed already is never widened. */
static bool limit_set(int resource, uint64_t value) {
  struct rlimit limit;
  if (value == UINT64_MAX) return true;
  if (getrlimit(resource, &limit) < 0) return false;
  if (value < limit.rlim_max) limit.rlim_max = value;
  limit.rlim_cur = limit.rlim_max;
  return setrlimit(resource, &limit) == 0;
}

static bool limits_apply(const struct start *start) {
  return limit_set(RLIMIT_CORE, 0) && limit_set(RLIMIT_NOFILE, start->open_files) &&
         limit_set(RLIMIT_FSIZE, start->file_size);
}

static const char *path_of(char *const *env) {
  for (; *env; env++)
    if (strncmp(*env, "PATH=", 5) == 0) return *env + 5;
  return PATH_DEFAULT;
}

/* As execvpe, without its fallback to a shell. */
static void exec_along_path(const struct start *start, char *buffer, size_t size) {
  const char *name = start->argv[0];
  if (*name == 0 || strchr(name, '/')) {
    execve(name, start->argv, start->env);
    return;
  }
  int refused = 0;
  for (const char *at = path_of(start->env); at;) {
    const char *end = strchrnul(at, ':');
    int length = snprintf(buffer, size, "%.*s/%s", end == at ? 1 : (int)(end - at), end == at ? "." : at, name);
    if (length > 0 && (size_t)length < size) execve(buffer, start->argv, start->env);
    if (errno == EACCES) refused = EACCES;
    else if (errno != ENOENT && errno != ENOTDIR && errno != ENAMETOOLONG) return;
    at = *end ? end + 1 : NULL;
  }
  errno = refused ? refused : ENOENT;
}

void command_exec(const struct start *start, int input, int state, char *path_buffer, size_t path_size,
                  struct exec_failure *failure) {
  sigset_t none;
  sigemptyset(&none);
  setsid();
  if (chdir(start->cwd) < 0) return fail(failure, "chdir");
  if (input >= 0 && dup2(input, start->input_fd) < 0) return fail(failure, "input");
  if (state >= 0 && dup2(state, start->state_fd) < 0) return fail(failure, "state");
  if (!limits_apply(start)) return fail(failure, "limits");
  if (start->landlock && (errno = landlock_apply(start->rules, start->rule_count)) != 0)
    return fail(failure, "landlock");
  setpriority(PRIO_PROCESS, 0, NICENESS_OF_COMMANDS);
  sigprocmask(SIG_SETMASK, &none, NULL);
  exec_along_path(start, path_buffer, path_size);
  fail(failure, "exec");
}
