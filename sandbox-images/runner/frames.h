/* Frames: checksum, encoding, and a parser that finds its way back into the stream. Pure: no system calls. */
#ifndef CAISSON_FRAMES_H
#define CAISSON_FRAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol.h"

struct frame {
  uint8_t type;
  uint8_t flags;
  uint16_t length;
  uint32_t channel;
  const uint8_t *payload;
};

/*
 * `lost` is the state after damage: a half frame of a daemon that died, or foreign bytes. Only HELLO is
 * heeded then. A damaged frame is skipped whole, by the length its header claims, and never searched for
 * frames inside: its payload is text that a model wrote, and may hold a forged frame with a right checksum.
 */
struct frame_parser {
  size_t start, end;
  bool lost;
  uint8_t buffer[2 * FRAME_MAX];
};

uint32_t crc32_of(uint32_t seed, const uint8_t *bytes, size_t length);

void parser_reset(struct frame_parser *parser);
/* Where to put the next bytes; never without room. Invalidates the frames given out. */
uint8_t *parser_space(struct frame_parser *parser, size_t *room);
void parser_filled(struct frame_parser *parser, size_t length);
/* The next whole frame; its payload is valid until the next parser_space. */
bool parser_next(struct frame_parser *parser, struct frame *frame);

/* Writes header and checksum around a payload that already stands at frame + FRAME_HEADER; returns the size. */
size_t frame_seal(uint8_t *frame, uint8_t type, uint8_t flags, uint32_t channel, size_t length);

void put_u16(uint8_t *at, uint16_t value);
void put_u32(uint8_t *at, uint32_t value);
void put_u64(uint8_t *at, uint64_t value);
uint16_t get_u16(const uint8_t *at);
uint32_t get_u32(const uint8_t *at);
uint64_t get_u64(const uint8_t *at);

#endif
