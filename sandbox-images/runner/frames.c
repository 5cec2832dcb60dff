#include "frames.h"

#include <string.h>

/* IEEE 802.3, as zlib has it; eight tables so that eight bytes go in one step. */
static uint32_t tables[8][256];
static bool tables_ready;

static void tables_fill(void) {
  for (uint32_t i = 0; i < 256; i++) {
    uint32_t value = i;
    for (int bit = 0; bit < 8; bit++) value = (value >> 1) ^ ((value & 1) ? 0xEDB88320u : 0);
    tables[0][i] = value;
  }
  for (int t = 1; t < 8; t++)
    for (int i = 0; i < 256; i++)
      tables[t][i] = (tables[t - 1][i] >> 8) ^ tables[0][tables[t - 1][i] & 0xFF];
  tables_ready = true;
}

uint32_t crc32_of(uint32_t seed, const uint8_t *bytes, size_t length) {
  if (!tables_ready) tables_fill();
  uint32_t crc = ~seed;
  for (; length >= 8; length -= 8, bytes += 8) {
    uint32_t low = crc ^ get_u32(bytes);
    uint32_t high = get_u32(bytes + 4);
    crc = tables[7][low & 0xFF] ^ tables[6][(low >> 8) & 0xFF] ^ tables[5][(low >> 16) & 0xFF] ^
          tables[4][low >> 24] ^ tables[3][high & 0xFF] ^ tables[2][(high >> 8) & 0xFF] ^
          tables[1][(high >> 16) & 0xFF] ^ tables[0][high >> 24];
  }
  while (length--) crc = (crc >> 8) ^ tables[0][(crc ^ *bytes++) & 0xFF];
  return ~crc;
}

void put_u16(uint8_t *at, uint16_t value) {
  at[0] = (uint8_t)value;
  at[1] = (uint8_t)(value >> 8);
}
void put_u32(uint8_t *at, uint32_t value) {
  put_u16(at, (uint16_t)value);
  put_u16(at + 2, (uint16_t)(value >> 16));
}
void put_u64(uint8_t *at, uint64_t value) {
  put_u32(at, (uint32_t)value);
  put_u32(at + 4, (uint32_t)(value >> 32));
}
uint16_t get_u16(const uint8_t *at) { return (uint16_t)(at[0] | at[1] << 8); }
uint32_t get_u32(const uint8_t *at) { return (uint32_t)get_u16(at) | (uint32_t)get_u16(at + 2) << 16; }
uint64_t get_u64(const uint8_t *at) { return (uint64_t)get_u32(at) | (uint64_t)get_u32(at + 4) << 32; }

void parser_reset(struct frame_parser *parser) {
  parser->start = parser->end = 0;
  parser->lost = true;
}

uint8_t *parser_space(struct frame_parser *parser, size_t *room) {
  if (parser->start > 0) {
    memmove(parser->buffer, parser->buffer + parser->start, parser->end - parser->start);
    parser->end -= parser->start;
    parser->start = 0;
  }
  *room = sizeof parser->buffer - parser->end;
  return parser->buffer + parser->end;
}

void parser_filled(struct frame_parser *parser, size_t length) { parser->end += length; }

static uint32_t frame_checksum(const uint8_t *frame, size_t length) {
  return crc32_of(crc32_of(0, frame, 12), frame + FRAME_HEADER, length);
}

/* Moves to the next byte that may begin a frame; false when none is left. */
static bool parser_seek(struct frame_parser *parser) {
  while (parser->start < parser->end) {
    const uint8_t *at = parser->buffer + parser->start;
    size_t available = parser->end - parser->start;
    if (memcmp(at, FRAME_MAGIC, available < 4 ? available : 4) == 0) return true;
    if (*at != 0) parser->lost = true;
    parser->start++;
  }
  return false;
}

bool parser_next(struct frame_parser *parser, struct frame *frame) {
  while (parser_seek(parser)) {
    const uint8_t *at = parser->buffer + parser->start;
    size_t available = parser->end - parser->start;
    if (available < FRAME_HEADER) return false;
    size_t length = get_u16(at + 6);
    if (length > PAYLOAD_MAX) {
      parser->lost = true;
      parser->start++;
      continue;
    }
    if (available < FRAME_HEADER + length) return false;
    parser->start += FRAME_HEADER + length;
    if (frame_checksum(at, length) != get_u32(at + 12)) {
      parser->lost = true;
      continue;
    }
    if (at[4] == FRAME_HELLO) parser->lost = false;
    if (parser->lost) continue;
    *frame = (struct frame){.type = at[4], .flags = at[5], .length = (uint16_t)length,
                            .channel = get_u32(at + 8), .payload = at + FRAME_HEADER};
    return true;
  }
  return false;
}

size_t frame_seal(uint8_t *frame, uint8_t type, uint8_t flags, uint32_t channel, size_t length) {
  memcpy(frame, FRAME_MAGIC, 4);
  frame[4] = type;
  frame[5] = flags;
  put_u16(frame + 6, (uint16_t)length);
  put_u32(frame + 8, channel);
  put_u32(frame + 12, frame_checksum(frame, length));
  return FRAME_HEADER + length;
}
