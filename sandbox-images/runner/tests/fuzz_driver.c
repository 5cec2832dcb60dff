/* For compilers without libFuzzer: mutates well-formed streams, the same ones every time. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "frames.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint64_t state = 88172645463325252ull;
static uint32_t next(uint32_t below) {
  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  return (uint32_t)(state >> 20) % below;
}

static size_t string(uint8_t *at, const char *text) {
  size_t length = strlen(text);
  put_u32(at, (uint32_t)length);
  memcpy(at + 4, text, length + 1);
  return length + 5;
}

/* As encodeStartBody in daemon/sandbox/runner-messages.ts. */
static size_t start_body(uint8_t *body) {
  uint8_t *at = body;
  at += string(at, "id.1");
  *at++ = 1;
  put_u32(at, 1000), put_u32(at + 4, 10), put_u64(at + 8, 64), put_u64(at + 16, UINT64_MAX);
  at += 24;
  at += string(at, "/tmp");
  put_u32(at, 2), at += 4;
  at += string(at, "echo"), at += string(at, "hello");
  put_u32(at, 1), at += 4;
  at += string(at, "PATH=/bin");
  put_u32(at, 198), put_u32(at + 4, 3), memcpy(at + 8, "abc", 3), at += 11;
  put_u32(at, 199), at += 4;
  at += string(at, "/state"), at += string(at, "END");
  *at++ = 1;
  put_u32(at, 1), at += 4;
  *at++ = 7;
  at += string(at, "/usr");
  return (size_t)(at - body);
}

static size_t seed(uint8_t *bytes, int framed) {
  static uint8_t nonce[NONCE_LENGTH];
  if (!framed) return start_body(bytes);
  memcpy(bytes + FRAME_HEADER, nonce, sizeof nonce);
  size_t length = frame_seal(bytes, FRAME_HELLO, 0, 0, sizeof nonce);
  uint8_t *frame = bytes + length;
  length += frame_seal(frame, FRAME_START, 0, 1, start_body(frame + FRAME_HEADER));
  frame = bytes + length;
  return length + frame_seal(frame, FRAME_START_COMMIT, 0, 1, 0);
}

static size_t mutate(uint8_t *bytes, size_t length) {
  for (uint32_t count = next(6); count > 0; count--) {
    size_t at = next((uint32_t)length);
    switch (next(5)) {
      case 0: bytes[at] ^= (uint8_t)(1u << next(8)); break;
      case 1: bytes[at] = (uint8_t)next(256); break;
      case 2: if (at + 4 <= length) put_u32(bytes + at, next(4) ? next(70000) : UINT32_MAX - next(8)); break;
      case 3: if (at > 0) length = at; break;
      default: memmove(bytes + at / 2, bytes + at, length - at); break;
    }
  }
  return length;
}

int main(int argc, char **argv) {
  static uint8_t bytes[4 * FRAME_MAX];
  long iterations = argc > 1 ? atol(argv[1]) : 100000;
  for (long i = 0; i < iterations; i++) LLVMFuzzerTestOneInput(bytes, mutate(bytes, seed(bytes, (int)(i % 2))));
  printf("%ld inputs\n", iterations);
  return 0;
}
