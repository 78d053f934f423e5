/* All ways to place eight queens, by recursion over the rows. */
#include "program.h"

static NOINLINE uint32_t place(uint32_t row, uint32_t columns, uint32_t left, uint32_t right) {
  if (row == 8) return 1;
  uint32_t found = 0;
  for (uint32_t free = ~(columns | left | right) & 255; free; free &= free - 1) {
    uint32_t bit = free & -free;
    found += place(row + 1, columns | bit, (left | bit) << 1, (right | bit) >> 1);
  }
  return found;
}

uint64_t work(uint64_t count) {
  uint64_t check = 0;
  for (uint64_t round = 0; round < count; round++) check = mix(check, place(0, 0, 0, 0) + round);
  return check;
}
