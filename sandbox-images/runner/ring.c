#include "ring.h"

#include <string.h>
#include <sys/mman.h>

#define RING_FIRST 4096
#define RING_STEP 8

static bool ring_resize(struct ring *ring, size_t capacity) {
  uint8_t *data = mmap(NULL, capacity, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (data == MAP_FAILED) return false;
  madvise(data, capacity, MADV_DONTFORK);
  ring_copy(ring, 0, data, ring->used);
  if (ring->data) munmap(ring->data, ring->capacity);
  ring->data = data;
  ring->capacity = capacity;
  ring->head = 0;
  return true;
}

bool ring_grow(struct ring *ring, size_t limit) {
  if (ring->used < ring->capacity) return ring->used < limit;
  if (ring->used >= limit) return false;
  size_t wanted = ring->capacity ? ring->capacity * RING_STEP : RING_FIRST;
  return ring_resize(ring, wanted < limit ? wanted : limit);
}

static int pieces_of(const struct ring *ring, struct iovec pieces[2], size_t from, size_t length) {
  if (length == 0) return 0;
  size_t begin = (ring->head + from) % ring->capacity;
  size_t first = ring->capacity - begin < length ? ring->capacity - begin : length;
  pieces[0] = (struct iovec){ring->data + begin, first};
  pieces[1] = (struct iovec){ring->data, length - first};
  return first < length ? 2 : 1;
}

int ring_space(const struct ring *ring, struct iovec pieces[2], size_t most) {
  size_t room = ring->capacity - ring->used;
  return pieces_of(ring, pieces, ring->used, room < most ? room : most);
}

void ring_filled(struct ring *ring, size_t length) { ring->used += length; }

int ring_content(const struct ring *ring, struct iovec pieces[2], size_t most) {
  return pieces_of(ring, pieces, 0, ring->used < most ? ring->used : most);
}

void ring_copy(const struct ring *ring, size_t from, uint8_t *into, size_t length) {
  struct iovec pieces[2];
  int count = pieces_of(ring, pieces, from, length);
  for (int i = 0; i < count; i++) {
    memcpy(into, pieces[i].iov_base, pieces[i].iov_len);
    into += pieces[i].iov_len;
  }
}

bool ring_put(struct ring *ring, const uint8_t *bytes, size_t length, size_t limit) {
  if (ring->used + length > limit) return false;
  while (ring->capacity - ring->used < length) {
    size_t wanted = ring->capacity ? ring->capacity * RING_STEP : RING_FIRST;
    if (!ring_resize(ring, wanted < limit ? wanted : limit)) return false;
  }
  struct iovec pieces[2];
  int count = pieces_of(ring, pieces, ring->used, length);
  for (int i = 0; i < count; i++) {
    memcpy(pieces[i].iov_base, bytes, pieces[i].iov_len);
    bytes += pieces[i].iov_len;
  }
  ring->used += length;
  return true;
}

void ring_drop(struct ring *ring, size_t length) {
  if (length > ring->used) length = ring->used;
  ring->used -= length;
  if (ring->capacity) ring->head = (ring->head + length) % ring->capacity;
  if (ring->used == 0 && ring->data) {
    munmap(ring->data, ring->capacity);
    *ring = (struct ring){0};
  }
}

void ring_trim(struct ring *ring) {
  size_t needed = (ring->used + RING_FIRST - 1) / RING_FIRST * RING_FIRST;
  if (needed > 0 && needed < ring->capacity) ring_resize(ring, needed);
}
