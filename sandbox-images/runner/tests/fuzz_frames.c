/* Whatever bytes come: no reading or writing out of bounds, no frame beyond its bounds, no valid start that is not. */
#include <stdlib.h>
#include <string.h>

#include "frames.h"
#include "start.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void decode(const uint8_t *bytes, size_t length) {
  struct start start;
  uint8_t *body = malloc(length + 1); /* exactly sized, so that the sanitizer sees every step too far */
  memcpy(body, bytes, length);
  if (!start_decode(&start, body, length) && (!start.argv[0] || !id_valid(start.id, strlen(start.id)))) abort();
  start_free(&start);
  free(body);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static struct frame_parser parser;
  struct frame frame;
  size_t at = 0, step = size ? 1 + data[0] % 97u : 1;
  parser_reset(&parser);
  while (at < size) {
    size_t room;
    uint8_t *space = parser_space(&parser, &room);
    size_t length = size - at < step ? size - at : step;
    if (room == 0) abort();
    if (length > room) length = room;
    memcpy(space, data + at, length);
    parser_filled(&parser, length);
    at += length;
    while (parser_next(&parser, &frame)) {
      if (frame.length > PAYLOAD_MAX) abort();
      decode(frame.payload, frame.length);
    }
  }
  decode(data, size);
  return 0;
}
