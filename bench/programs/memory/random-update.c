/* Exclusive or into random places of 8 MiB. */
#include "program.h"

#define PLACES (1 << 20)
static uint64_t places[PLACES];

uint64_t work(uint64_t count) {
  uint64_t seed = 1, check = 0;
  for (uint64_t round = 0; round < count; round++)
    for (int i = 0; i < 1000; i++) {
      uint64_t draw = chance(&seed);
      places[draw >> 44] ^= draw;
    }
  for (uint32_t i = 0; i < PLACES; i += 101) check = mix(check, places[i]);
  return check;
}
