/* A ring of bytes that grows in steps and gives its pages back. Not copied into forked processes. */
#ifndef CAISSON_RING_H
#define CAISSON_RING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct ring {
  uint8_t *data;
  size_t capacity, head, used;
};

/* Makes room for at least one byte more, up to `limit` bytes in all; false when full or out of memory. */
bool ring_grow(struct ring *ring, size_t limit);
/* The free space, at most `most` bytes, as one or two pieces; returns how many. */
int ring_space(const struct ring *ring, struct iovec pieces[2], size_t most);
void ring_filled(struct ring *ring, size_t length);
/* The content from the front, at most `most` bytes. */
int ring_content(const struct ring *ring, struct iovec pieces[2], size_t most);
void ring_copy(const struct ring *ring, size_t from, uint8_t *into, size_t length);
/* Appends; the caller has seen to the room with ring_put's return value: false when it does not fit `limit`. */
bool ring_put(struct ring *ring, const uint8_t *bytes, size_t length, size_t limit);
/* Gives back what an idle ring does not need. */
void ring_trim(struct ring *ring);
/* Drops from the front; an empty ring holds no memory. */
void ring_drop(struct ring *ring, size_t length);

#endif
