/* Branches on random bits. */
#include "program.h"

uint64_t work(uint64_t count) {
  uint64_t seed = 8191, a = 0, b = 1, c = 2;
  for (uint64_t round = 0; round < count; round++)
    for (int i = 0; i < 1000; i++) {
      uint64_t draw = chance(&seed);
      /* The empty assembler text keeps the compiler from making conditional moves of these. */
      if (draw & 1) {
        __asm__ volatile("");
        a += draw;
      } else {
        __asm__ volatile("");
        b ^= a;
      }
      if (draw & 0x10000) {
        __asm__ volatile("");
        c += b >> 3;
      }
      if ((draw >> 32 & 3) == 0) {
        __asm__ volatile("");
        b -= c;
      }
    }
  return mix(mix(a, b), c);
}
