/*
 * The tree helper. It runs as the sandbox's user, and as root in containers where nothing of an agent's runs.
 *
 * A place is a file or folder that this user owns or may write, in a folder where it may not: outside of places
 * it can change nothing, now or later, so places are looked for once. Paths are separated by zero bytes.
 */
#define _GNU_SOURCE
#include "tree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "delta.h"
#include "errors.h"
#include "hash.h"
#include "settled.h"
#include "walk.h"

/* 2 million files take some seconds; the daemon's deadline comes first where they don't. */
#define ENTRIES_MAX 2000000
#define PLACES_MAX 1024
#define VOLATILE_MAX 1000

static int failed(const char *what) {
  int error = errno;
  fprintf(stderr, "%s %s: %s\n", error_name(error), what, strerror(error));
  return 1;
}

static int flushed(void) { return fflush(stdout) == 0 && !ferror(stdout) ? 0 : failed("output"); }

static void print_path(const char *path) {
  fputs(path, stdout);
  putchar(0);
}

/* Whose places are looked for; its group has the same number. */
static uid_t user;

static bool may_write(int folder, const char *name, const struct stat *status) {
  if (status->st_uid == user) return true;
  if (S_ISLNK(status->st_mode)) return false;
  if (user != geteuid()) return status->st_mode & (status->st_gid == user ? S_IWGRP | S_IWOTH : S_IWOTH);
  return faccessat(folder < 0 ? AT_FDCWD : folder, name, W_OK, 0) == 0;
}

/* A folder that may be passed through though not listed may hold a place that somebody knows the name of. */
static void closed_is_place(struct walk *walk, const struct stat *status) {
  (void)status;
  if (access(walk->path, X_OK) == 0) print_path(walk->path);
}

static bool place_visit(struct walk *walk, int folder, const char *name, const struct stat *status) {
  if (!may_write(folder, name, status)) return true;
  int *count = walk->context;
  if (++*count <= PLACES_MAX) print_path(walk->path);
  return false;
}

static int places(const char *of) {
  static struct walk walk;
  int count = 0;
  user = of ? (uid_t)strtoul(of, NULL, 10) : geteuid();
  walk.visit = place_visit;
  walk.closed = closed_is_place;
  walk.context = &count;
  if (!walk_start(&walk, ENTRIES_MAX) || !walk_from(&walk, "/")) return failed(walk.path);
  if (count > PLACES_MAX) {
    errno = E2BIG;
    return failed("places");
  }
  return flushed();
}

struct fingerprint {
  struct digest sum;
  struct timespec newest;
  size_t linked; /* names of files that have several */
};

/* A sum, so that the order in which a folder is listed means nothing. */
static void sum_add(struct fingerprint *fingerprint, const void *bytes, size_t length) {
  struct digest digest = hash(bytes, length);
  fingerprint->sum.low += digest.low;
  fingerprint->sum.high += digest.high;
}

static bool later(const struct timespec *a, const struct timespec *b) {
  return a->tv_sec != b->tv_sec ? a->tv_sec > b->tv_sec : a->tv_nsec > b->tv_nsec;
}

/* `portable`: what an image carries from one container to another, so no inode numbers and change times. */
static void entry_add(struct walk *walk, const struct stat *status, bool portable) {
  static uint64_t record[10 + WALK_PATH_MAX / sizeof(uint64_t)];
  struct fingerprint *fingerprint = walk->context;
  uint64_t *word = record;
  *word++ = status->st_mode;
  *word++ = status->st_uid;
  *word++ = status->st_gid;
  /* A folder's size tells of entries that were, too. */
  *word++ = S_ISDIR(status->st_mode) ? 0 : (uint64_t)status->st_size;
  *word++ = (uint64_t)status->st_mtim.tv_sec;
  *word++ = (uint64_t)status->st_mtim.tv_nsec;
  *word++ = portable ? 0 : status->st_ino;
  *word++ = portable ? 0 : (uint64_t)status->st_ctim.tv_sec;
  *word++ = portable ? 0 : (uint64_t)status->st_ctim.tv_nsec;
  memcpy(word, walk->path, walk->path_length);
  if (!S_ISDIR(status->st_mode) && status->st_nlink > 1) fingerprint->linked++;
  sum_add(fingerprint, record, (size_t)(word - record) * sizeof *word + walk->path_length);
  if (later(&status->st_ctim, &fingerprint->newest)) fingerprint->newest = status->st_ctim;
}

static bool fingerprint_visit(struct walk *walk, int folder, const char *name, const struct stat *status) {
  (void)folder, (void)name;
  entry_add(walk, status, false);
  return true;
}

static bool digest_visit(struct walk *walk, int folder, const char *name, const struct stat *status) {
  (void)folder, (void)name;
  entry_add(walk, status, true);
  return true;
}

/* What lies in it may change unseen, so no fingerprint equals another. */
static void closed_is_unknown(struct walk *walk, const struct stat *status) {
  uint64_t nonce[2];
  if (status->st_uid != geteuid() && access(walk->path, X_OK) < 0) return;
  if (getrandom(nonce, sizeof nonce, 0) == sizeof nonce) sum_add(walk->context, nonce, sizeof nonce);
}

/* Times come from a clock that ticks every few milliseconds: what is changed after us must get a later one. */
static void tick_wait(const struct timespec *newest) {
  for (int rounds = 0; rounds < 20; rounds++) {
    struct timespec now, pause = {.tv_nsec = 1000000};
    clock_gettime(CLOCK_REALTIME_COARSE, &now);
    if (later(&now, newest)) return;
    nanosleep(&pause, NULL);
  }
}

static int fingerprint(int count, char **tops, bool portable) {
  static struct walk walk;
  struct fingerprint fingerprint = {0};
  walk.visit = portable ? digest_visit : fingerprint_visit;
  walk.closed = closed_is_unknown;
  walk.context = &fingerprint;
  if (!portable && settled_known()) walk.settled = settled_folder;
  if (!walk_start(&walk, ENTRIES_MAX)) return failed("/");
  for (int i = 0; i < count; i++)
    if (!walk_from(&walk, tops[i])) return failed(walk.path);
  if (!portable) tick_wait(&fingerprint.newest);
  printf("%016" PRIx64 "%016" PRIx64 " %zu\n", fingerprint.sum.high, fingerprint.sum.low, fingerprint.linked);
  return flushed();
}

/* Files that live in memory. Those a tmpfs folder holds are named, what is below a folder of it is not. */
static void names_print(const char *folder, int *left) {
  DIR *entries = opendir(folder);
  struct dirent *entry;
  while (entries && *left > 0 && (entry = readdir(entries))) {
    if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
    printf("%s/%s", folder, entry->d_name);
    putchar(0);
    (*left)--;
  }
  if (entries) closedir(entries);
}

/* System V objects, by what their table calls them: "key id ..." after a line of headings. */
static void objects_print(const char *kind, int *left) {
  char path[64], line[512];
  long key, id;
  snprintf(path, sizeof path, "/proc/sysvipc/%s", kind);
  FILE *table = fopen(path, "re");
  while (table && *left > 0 && fgets(line, sizeof line, table)) {
    if (sscanf(line, " %ld %ld", &key, &id) != 2) continue;
    printf("System V %s %ld", kind, id);
    putchar(0);
    (*left)--;
  }
  if (table) fclose(table);
}

/* Where an engine always mounts something. */
static bool mount_usual(const char *path) {
  static const char *const usual[] = {"/proc", "/sys", "/dev", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf"};
  for (size_t i = 0; i < sizeof usual / sizeof *usual; i++) {
    size_t length = strlen(usual[i]);
    if (strncmp(path, usual[i], length) == 0 && (path[length] == 0 || path[length] == '/')) return true;
  }
  return strcmp(path, "/") == 0;
}

/* Volumes that the image declares; the fifth word of a line is where it is mounted. */
static void volumes_print(int *left) {
  char line[8192], path[4096];
  FILE *table = fopen("/proc/self/mountinfo", "re");
  while (table && *left > 0 && fgets(line, sizeof line, table)) {
    if (sscanf(line, "%*s %*s %*s %*s %4095s", path) != 1 || mount_usual(path)) continue;
    printf("the volume %s", path);
    putchar(0);
    (*left)--;
  }
  if (table) fclose(table);
}

static int volatile_files(void) {
  int left = VOLATILE_MAX;
  names_print("/dev/shm", &left);
  names_print("/dev/mqueue", &left);
  objects_print("shm", &left);
  objects_print("msg", &left);
  objects_print("sem", &left);
  volumes_print(&left);
  return flushed();
}

int tree_main(int argc, char **argv) {
  bool some = argc > 1;
  if (argc >= 1 && argc <= 2 && strcmp(argv[0], "places") == 0) return places(argv[1]);
  if (argc == 1 && strcmp(argv[0], "volatile") == 0) return volatile_files();
  if (argc == 1 && strcmp(argv[0], "apply") == 0) return delta_apply();
  if (some && strcmp(argv[0], "fingerprint") == 0) return fingerprint(argc - 1, argv + 1, false);
  if (some && strcmp(argv[0], "digest") == 0) return fingerprint(argc - 1, argv + 1, true);
  if (some && strcmp(argv[0], "relink") == 0) return tree_relink(argc - 1, argv + 1);
  if (some && strcmp(argv[0], "list") == 0) return delta_list(argc - 1, argv + 1);
  if (some && strcmp(argv[0], "delta") == 0) return delta_make(argc - 1, argv + 1);
  fputs("EINVAL usage: runner tree places [UID] | volatile | apply\n"
        "  | fingerprint PLACE... | digest PLACE... | relink PLACE... | list PLACE... | delta PLACE...\n", stderr);
  return 1;
}
