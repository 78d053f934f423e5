/* Recursion 400 calls deep, deeper than any return predictor. */
#include "program.h"

static NOINLINE uint64_t descend(uint32_t depth, uint64_t value) {
  if (depth == 0) return value;
  uint64_t result = descend(depth - 1, value * 3 + depth);
  __asm__ volatile("" : "+r"(result));
  return result ^ depth;
}

uint64_t work(uint64_t count) {
  uint64_t check = 0;
  for (uint64_t round = 0; round < count; round++) check = mix(check, descend(400, round));
  return check;
}
