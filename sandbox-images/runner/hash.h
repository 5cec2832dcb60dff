/* SipHash-2-4 with 128 bits of output (Aumasson, Bernstein: "SipHash: a fast short-input PRF"), under a fixed key. */
#ifndef CAISSON_HASH_H
#define CAISSON_HASH_H

#include <stddef.h>
#include <stdint.h>

struct digest {
  uint64_t low, high;
};

struct digest hash(const void *bytes, size_t length);

#endif
