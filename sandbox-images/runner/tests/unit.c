/* Unit tests of the pure parts, under sanitizers. A test is a function; check() names what failed. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "frames.h"
#include "hash.h"
#include "ring.h"
#include "start.h"

static int failures;
#define check(condition) \
  do { if (!(condition)) { failures++; printf("%s:%d: %s\n", __func__, __LINE__, #condition); } } while (0)

static struct frame_parser parser;

static void feed(const uint8_t *bytes, size_t length) {
  size_t room;
  uint8_t *space = parser_space(&parser, &room);
  if (length > room) abort();
  memcpy(space, bytes, length);
  parser_filled(&parser, length);
}

static size_t make(uint8_t *frame, uint8_t type, const void *payload, size_t length) {
  if (length) memcpy(frame + FRAME_HEADER, payload, length);
  return frame_seal(frame, type, 3, 42, length);
}

static void greet(void) {
  uint8_t hello[FRAME_HEADER + NONCE_LENGTH];
  uint8_t nonce[NONCE_LENGTH] = {1};
  struct frame frame;
  parser_reset(&parser);
  feed(hello, make(hello, FRAME_HELLO, nonce, sizeof nonce));
  check(parser_next(&parser, &frame) && frame.type == FRAME_HELLO);
}

static void checksum_is_that_of_zlib(void) {
  check(crc32_of(0, (const uint8_t *)"123456789", 9) == 0xCBF43926u);
  check(crc32_of(crc32_of(0, (const uint8_t *)"1234", 4), (const uint8_t *)"56789", 5) == 0xCBF43926u);
}

/* From the reference implementation's vectors_sip128: inputs 0, 1, 2, ... of length 0 and 1. */
static void hash_is_siphash(void) {
  struct digest none = hash("", 0), one = hash("", 1);
  check(none.low == 0xe6a825ba047f81a3 && none.high == 0x930255c71472f66d);
  check(one.low == 0x44af996bd8c187da && one.high == 0x45fc229b11597634);
}

static void frames_survive_any_split(void) {
  static uint8_t bytes[3 * FRAME_MAX], payload[PAYLOAD_MAX];
  memset(payload, 0xC5, sizeof payload);
  for (size_t step = 1; step < 40; step++) {
    struct frame frame;
    size_t length = make(bytes, FRAME_STDIN, payload, step), seen = 0;
    length += make(bytes + length, FRAME_STDIN, payload, 700);
    greet();
    for (size_t at = 0; at < length; at += step) {
      feed(bytes + at, at + step > length ? length - at : step);
      while (parser_next(&parser, &frame)) {
        check(frame.flags == 3 && frame.channel == 42 && frame.length == (seen == 0 ? step : 700));
        seen++;
      }
    }
    check(seen == 2);
  }
}

static void nothing_is_heeded_before_a_hello(void) {
  uint8_t bytes[FRAME_HEADER];
  struct frame frame;
  parser_reset(&parser);
  feed(bytes, make(bytes, FRAME_LIST, NULL, 0));
  check(!parser_next(&parser, &frame));
}

static void flipped_bits_give_no_frame(void) {
  uint8_t bytes[FRAME_HEADER + 20], payload[20] = "some payload";
  size_t length = make(bytes, FRAME_STDIN, payload, sizeof payload);
  for (size_t bit = 0; bit < 8 * length; bit++) {
    struct frame frame;
    greet();
    bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
    feed(bytes, length);
    check(!parser_next(&parser, &frame));
    bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
  }
}

/* The payload holds a whole forged HELLO and START; the frame is cut off and filled up with padding. */
static void forged_frames_in_a_cut_payload_stay_payload(void) {
  static uint8_t payload[1000], bytes[FRAME_MAX], padding[FRAME_MAX], hello[FRAME_HEADER + NONCE_LENGTH];
  uint8_t nonce[NONCE_LENGTH] = {9};
  /* No zeros at the end: what padding fills up to the very same frame is that frame. */
  memset(payload, 'x', sizeof payload);
  size_t forged = make(payload + 100, FRAME_HELLO, nonce, sizeof nonce);
  make(payload + 100 + forged, FRAME_START_COMMIT, NULL, 0);
  size_t length = make(bytes, FRAME_START, payload, sizeof payload);
  nonce[0] = 1;
  size_t true_hello = make(hello, FRAME_HELLO, nonce, sizeof nonce);
  for (size_t cut = 1; cut < length; cut++) {
    struct frame frame;
    greet();
    feed(bytes, cut);
    check(!parser_next(&parser, &frame));
    feed(padding, sizeof padding);
    check(!parser_next(&parser, &frame));
    feed(hello, true_hello);
    check(parser_next(&parser, &frame) && frame.type == FRAME_HELLO && frame.payload[0] == 1);
    check(!parser_next(&parser, &frame));
  }
}

static void ring_keeps_order_and_bounds(void) {
  struct ring ring = {0};
  uint8_t next_in = 0, next_out = 0, bytes[5000];
  srand(1);
  for (int i = 0; i < 20000; i++) {
    size_t length = (size_t)rand() % 3000;
    for (size_t k = 0; k < length; k++) bytes[k] = (uint8_t)(next_in + k);
    if (ring_put(&ring, bytes, length, 65536)) next_in = (uint8_t)(next_in + length);
    check(ring.used <= 65536 && ring.capacity <= 65536);
    size_t out = (size_t)rand() % 3000;
    if (out > ring.used) out = ring.used;
    ring_copy(&ring, 0, bytes, out);
    for (size_t k = 0; k < out; k++) check(bytes[k] == (uint8_t)(next_out + k));
    next_out = (uint8_t)(next_out + out);
    ring_drop(&ring, out);
    if (i % 100 == 0) ring_trim(&ring);
  }
  ring_drop(&ring, ring.used);
  check(ring.data == NULL);
}

static void ids_are_checked(void) {
  check(id_valid("a.B_9:-", 7));
  check(!id_valid("", 0) && !id_valid("a/b", 3) && !id_valid("a\0b", 3));
  check(!id_valid("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", 65));
}

/* Every prefix of any body is refused without reading past it: the sanitizer watches. */
static void short_starts_are_refused(void) {
  uint8_t whole[64];
  memset(whole, 0, sizeof whole);
  for (size_t length = 0; length <= sizeof whole; length++) {
    struct start start;
    uint8_t *body = malloc(length + 1);
    memcpy(body, whole, length);
    check(start_decode(&start, body, length) != NULL);
    start_free(&start);
    free(body);
  }
}

int main(void) {
  checksum_is_that_of_zlib();
  hash_is_siphash();
  frames_survive_any_split();
  nothing_is_heeded_before_a_hello();
  flipped_bits_give_no_frame();
  forged_frames_in_a_cut_payload_stay_payload();
  ring_keeps_order_and_bounds();
  ids_are_checked();
  short_starts_are_refused();
  if (failures == 0) puts("ok");
  return failures != 0;
}
