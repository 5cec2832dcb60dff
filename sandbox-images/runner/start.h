/* The body of a START: what to run and how. Decoding is pure; every length is checked against the body. */
#ifndef CAISSON_START_H
#define CAISSON_START_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct rule {
  uint8_t access;
  const char *path;
};

/* Strings and bytes point into the body, which must outlive it. */
struct start {
  const char *id;
  bool stdin_pipe;
  bool landlock;
  uint32_t deadline_ms, grace_ms; /* deadline 0: none */
  uint64_t open_files, file_size; /* UINT64_MAX: not limited here */
  const char *cwd;
  char **argv, **env;
  int32_t input_fd; /* -1: none */
  uint32_t input_length;
  const uint8_t *input;
  int32_t state_fd; /* -1: none */
  const char *state_path, *state_ending;
  uint32_t rule_count;
  struct rule *rules;
};

/* Returns NULL, or why the body is refused. start_free is needed in either case. */
const char *start_decode(struct start *start, uint8_t *body, size_t length);
void start_free(struct start *start);
bool id_valid(const char *id, size_t length);

#endif
