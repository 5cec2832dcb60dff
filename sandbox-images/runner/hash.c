#include "hash.h"

#include <string.h>

#define ROTATE(x, bits) (((x) << (bits)) | ((x) >> (64 - (bits))))

struct state {
  uint64_t v0, v1, v2, v3;
};

static inline void rounds(struct state *s, int count) {
  for (int i = 0; i < count; i++) {
    s->v0 += s->v1;
    s->v1 = ROTATE(s->v1, 13) ^ s->v0;
    s->v0 = ROTATE(s->v0, 32);
    s->v2 += s->v3;
    s->v3 = ROTATE(s->v3, 16) ^ s->v2;
    s->v0 += s->v3;
    s->v3 = ROTATE(s->v3, 21) ^ s->v0;
    s->v2 += s->v1;
    s->v1 = ROTATE(s->v1, 17) ^ s->v2;
    s->v2 = ROTATE(s->v2, 32);
  }
}

static inline void word(struct state *s, uint64_t value) {
  s->v3 ^= value;
  rounds(s, 2);
  s->v0 ^= value;
}

/* The key is the one of the published test vectors: what is hashed is no secret, and no table hangs on it. */
struct digest hash(const void *bytes, size_t length) {
  const uint8_t *at = bytes;
  const uint64_t key[2] = {0x0706050403020100, 0x0f0e0d0c0b0a0908};
  struct state s = {0x736f6d6570736575 ^ key[0], 0x646f72616e646f6d ^ key[1] ^ 0xee,
                    0x6c7967656e657261 ^ key[0], 0x7465646279746573 ^ key[1]};
  uint64_t value, last = (uint64_t)length << 56;
  size_t left = length;
  for (; left >= sizeof value; left -= sizeof value, at += sizeof value) {
    memcpy(&value, at, sizeof value);
    word(&s, value);
  }
  for (size_t i = 0; i < left; i++) last |= (uint64_t)at[i] << (8 * i);
  word(&s, last);
  s.v2 ^= 0xee;
  rounds(&s, 4);
  struct digest digest = {.low = s.v0 ^ s.v1 ^ s.v2 ^ s.v3};
  s.v1 ^= 0xdd;
  rounds(&s, 4);
  digest.high = s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
  return digest;
}
