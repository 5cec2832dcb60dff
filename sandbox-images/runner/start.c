#include "start.h"

#include <stdlib.h>
#include <string.h>

#include "frames.h"

#define WORDS_MAX 65536
#define RULES_MAX 4096
/* Standard input, or clear of 1 to 9, which shells and the supervisor use. */
#define FD_MIN 10
#define FD_MAX 255

struct reader {
  uint8_t *at;
  size_t left;
  bool failed;
};

static uint8_t *take(struct reader *reader, size_t length) {
  if (reader->failed || reader->left < length) {
    reader->failed = true;
    return NULL;
  }
  uint8_t *taken = reader->at;
  reader->at += length;
  reader->left -= length;
  return taken;
}

static uint8_t take_u8(struct reader *reader) {
  uint8_t *at = take(reader, 1);
  return at ? *at : 0;
}
static uint32_t take_u32(struct reader *reader) {
  uint8_t *at = take(reader, 4);
  return at ? get_u32(at) : 0;
}
static uint64_t take_u64(struct reader *reader) {
  uint8_t *at = take(reader, 8);
  return at ? get_u64(at) : 0;
}

/* u32 length, bytes, one zero byte: so strings can be used where they stand. */
static const char *take_string(struct reader *reader) {
  size_t length = take_u32(reader);
  uint8_t *at = take(reader, length);
  uint8_t *end = take(reader, 1);
  if (!at || !end || *end != 0 || memchr(at, 0, length)) {
    reader->failed = true;
    return "";
  }
  return (const char *)at;
}

static char **take_words(struct reader *reader) {
  uint32_t count = take_u32(reader);
  /* Each word takes at least five bytes, so a false count can't make us allocate. */
  if (count > WORDS_MAX || count > reader->left / 5) reader->failed = true;
  if (reader->failed) return NULL;
  char **words = calloc(count + 1, sizeof *words);
  if (!words) reader->failed = true;
  for (uint32_t i = 0; i < count && !reader->failed; i++) words[i] = (char *)take_string(reader);
  return words;
}

static void take_rules(struct reader *reader, struct start *start) {
  start->rule_count = take_u32(reader);
  if (start->rule_count > RULES_MAX || start->rule_count > reader->left / 6) reader->failed = true;
  if (reader->failed || start->rule_count == 0) return;
  start->rules = calloc(start->rule_count, sizeof *start->rules);
  if (!start->rules) reader->failed = true;
  for (uint32_t i = 0; i < start->rule_count && !reader->failed; i++) {
    start->rules[i].access = take_u8(reader);
    start->rules[i].path = take_string(reader);
  }
}

bool id_valid(const char *id, size_t length) {
  if (length < 1 || length > ID_MAX) return false;
  for (size_t i = 0; i < length; i++) {
    char c = id[i];
    bool alphanumeric = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
    if (!alphanumeric && c != '.' && c != '_' && c != ':' && c != '-') return false;
  }
  return true;
}

static bool fd_valid(int32_t fd) { return fd == -1 || fd == 0 || (fd >= FD_MIN && fd <= FD_MAX); }

const char *start_decode(struct start *start, uint8_t *body, size_t length) {
  struct reader reader = {.at = body, .left = length};
  memset(start, 0, sizeof *start);
  start->id = take_string(&reader);
  start->stdin_pipe = take_u8(&reader) == 1;
  start->deadline_ms = take_u32(&reader);
  start->grace_ms = take_u32(&reader);
  start->open_files = take_u64(&reader);
  start->file_size = take_u64(&reader);
  start->cwd = take_string(&reader);
  start->argv = take_words(&reader);
  start->env = take_words(&reader);
  start->input_fd = (int32_t)take_u32(&reader);
  start->input_length = take_u32(&reader);
  start->input = take(&reader, start->input_length);
  start->state_fd = (int32_t)take_u32(&reader);
  start->state_path = take_string(&reader);
  start->state_ending = take_string(&reader);
  start->landlock = take_u8(&reader) == 1;
  take_rules(&reader, start);
  if (reader.failed || reader.left != 0) return "EINVAL malformed start";
  if (!id_valid(start->id, strlen(start->id))) return "EINVAL id";
  if (!start->argv[0]) return "EINVAL empty argv";
  if (start->cwd[0] != '/') return "EINVAL cwd is not absolute";
  if (!fd_valid(start->input_fd) || !fd_valid(start->state_fd)) return "EINVAL a descriptor is 0 or from 10 to 255";
  if (start->input_fd >= 0 && start->input_fd == start->state_fd) return "EINVAL descriptors are the same";
  return NULL;
}

void start_free(struct start *start) {
  free(start->argv);
  free(start->env);
  free(start->rules);
}
