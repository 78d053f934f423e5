/* Leaving several calls at once, as exceptions and coroutines do: returns that do not match their calls. */
#include "program.h"

static void *place[5];

static NOINLINE void dive(uint32_t depth, uint32_t limit) {
  if (depth == limit) __builtin_longjmp(place, 1);
  dive(depth + 1, limit);
  __asm__ volatile("");
}

static NOINLINE uint32_t attempt(uint32_t limit) {
  if (__builtin_setjmp(place) == 0) dive(0, limit);
  return limit * 3 + 1;
}

uint64_t work(uint64_t count) {
  uint64_t check = 0;
  for (uint64_t round = 0; round < count; round++)
    for (uint32_t limit = 1; limit < 9; limit++) check = mix(check, attempt(limit) + round);
  return check;
}
