#define _GNU_SOURCE
#include "settled.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/statfs.h>
#include <time.h>
#include <unistd.h>

#define OVERLAY_MAGIC 0x794c7630
/* How far the two clocks may drift apart while one is being adjusted: a part in a thousand, and some ticks. */
#define DRIFT_PART 1000
#define DRIFT_SECONDS 0.1

/* Made by the engine in a file system of its own as the container started; only root may change it. */
#define MADE_AT_START "/dev/fd"

static struct timespec started;

static double seconds(const struct timespec *time) { return (double)time->tv_sec + (double)time->tv_nsec / 1e9; }

/* Seconds since process 1 was started, by a clock that nobody sets; below 0 when unknown. */
static double age(void) {
  char text[512] = {0};
  unsigned long long ticks;
  struct timespec now;
  FILE *file = fopen("/proc/1/stat", "re");
  size_t length = file ? fread(text, 1, sizeof text - 1, file) : 0;
  if (file) fclose(file);
  char *after_name = length > 0 ? strrchr(text, ')') : NULL;
  /* The 22nd field: the third one follows the name. */
  if (!after_name || sscanf(after_name + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d "
                                            "%*d %llu", &ticks) != 1)
    return -1;
  clock_gettime(CLOCK_BOOTTIME, &now);
  return seconds(&now) - (double)ticks / (double)sysconf(_SC_CLK_TCK);
}

bool settled_known(void) {
  struct statfs system;
  struct stat root, made;
  struct timespec now;
  if (statfs("/", &system) < 0 || system.f_type != OVERLAY_MAGIC) return false;
  if (stat("/", &root) < 0 || lstat(MADE_AT_START, &made) < 0) return false;
  if (!S_ISLNK(made.st_mode) || made.st_uid != 0 || made.st_dev == root.st_dev) return false;
  started = made.st_ctim;
  clock_gettime(CLOCK_REALTIME, &now);
  double steady = age(), told = seconds(&now) - seconds(&started);
  return steady >= 0 && told >= steady - steady / DRIFT_PART - DRIFT_SECONDS;
}

bool settled_folder(const struct stat *status) {
  if (status->st_ctim.tv_sec != started.tv_sec) return status->st_ctim.tv_sec < started.tv_sec;
  return status->st_ctim.tv_nsec < started.tv_nsec;
}
