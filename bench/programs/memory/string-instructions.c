/* memcpy and memset by string instructions (rep movsb, movsd, stosd), 100 bytes to 64 KiB. */
#include "program.h"

static uint8_t from[65536 + 64], to[65536 + 64];

static inline void copy_bytes(void *out, const void *in, __SIZE_TYPE__ size) {
  __asm__ volatile("rep movsb" : "+D"(out), "+S"(in), "+c"(size) : : "memory");
}
static inline void copy_words(void *out, const void *in, __SIZE_TYPE__ size) {
  __asm__ volatile("rep movsl" : "+D"(out), "+S"(in), "+c"(size) : : "memory");
}
static inline void fill_words(void *out, uint32_t value, __SIZE_TYPE__ size) {
  __asm__ volatile("rep stosl" : "+D"(out), "+c"(size) : "a"(value) : "memory");
}

uint64_t work(uint64_t count) {
  uint64_t check = 0;
  for (uint32_t i = 0; i < sizeof from; i++) from[i] = (uint8_t)(i * 7);
  for (uint64_t round = 0; round < count; round++) {
    copy_bytes(to + 3, from, 65536);
    fill_words(from, (uint32_t)round * 0x01010101u, 4096);
    copy_words(from + 16384, to, 8192);
    for (uint32_t i = 0; i < 64; i++) copy_bytes(to + 128 * i, from + 131 * i, 100);
    check = mix(check, (uint64_t)to[round % 8192] << 8 | to[65000]);
  }
  return check;
}
