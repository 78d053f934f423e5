/* An LZ77 compressor with a hash of four bytes, and its decompressor, on 32 KiB of words. */
#include "program.h"

#define SIZE 32768
static uint8_t plain[SIZE + 8], again[SIZE], packed[2 * SIZE];
static uint16_t head[4096];

static uint32_t four(const uint8_t *p) {
  return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

/* A literal run is its length (1 to 127) and the bytes; a match is 128 + length - 4, then a two-byte distance. */
static uint32_t compress(void) {
  uint32_t at = 0, out = 0, start = 0;
  for (uint32_t i = 0; i < COUNT(head); i++) head[i] = 0xffff;
  while (at < SIZE) {
    uint32_t hash = four(plain + at) * 2654435761u >> 20, candidate = head[hash], length = 0;
    head[hash] = (uint16_t)at;
    if (candidate != 0xffff)
      while (length < 131 && at + length < SIZE && plain[candidate + length] == plain[at + length]) length++;
    if (length < 4) at++;
    while (start < at && (length >= 4 || at == SIZE || at - start == 127)) {
      uint32_t run = at - start < 127 ? at - start : 127;
      packed[out++] = (uint8_t)run;
      while (run-- > 0) packed[out++] = plain[start++];
    }
    if (length < 4) continue;
    packed[out++] = (uint8_t)(124 + length);
    packed[out++] = (uint8_t)(at - candidate);
    packed[out++] = (uint8_t)((at - candidate) >> 8);
    start = at += length;
  }
  return out;
}

static uint32_t decompress(uint32_t size) {
  uint32_t out = 0;
  for (uint32_t at = 0; at < size;) {
    uint32_t code = packed[at++];
    if (code < 128) {
      while (code-- > 0) again[out++] = packed[at++];
    } else {
      uint32_t distance = packed[at] | (uint32_t)packed[at + 1] << 8;
      at += 2;
      for (uint32_t length = code - 124; length > 0; length--, out++) again[out] = again[out - distance];
    }
  }
  return out;
}

uint64_t work(uint64_t count) {
  static const char *const words[] = {"the ", "guest ", "of a ", "house", " asks ", "for", " bread, ", "wine\n"};
  uint64_t seed = 99, check = 0;
  for (uint64_t round = 0; round < count; round++) {
    for (uint32_t size = 0; size < SIZE;) {
      uint64_t draw = chance(&seed);
      for (const char *word = words[draw & 7]; *word && size < SIZE; word++) plain[size++] = (uint8_t)*word;
      if ((draw >> 8 & 15) == 0 && size < SIZE) plain[size++] = (uint8_t)(draw >> 16);
    }
    uint32_t size = compress();
    uint32_t length = decompress(size), same = 0;
    while (same < SIZE && plain[same] == again[same]) same++;
    check = mix(check, (uint64_t)size << 40 ^ (uint64_t)length << 20 ^ same);
  }
  return check;
}
