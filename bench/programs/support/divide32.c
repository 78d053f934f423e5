/* 64-bit division for 32-bit code, under the names that gcc asks for. */
#include <stdint.h>

static uint64_t divide(uint64_t value, uint64_t by, uint64_t *rest) {
  if (by >> 32 == 0) {
    uint32_t divisor = (uint32_t)by, high = (uint32_t)(value >> 32), low = (uint32_t)value, left = high % divisor;
    high /= divisor;
    __asm__("divl %4" : "=a"(low), "=d"(left) : "0"(low), "1"(left), "rm"(divisor));
    *rest = left;
    return (uint64_t)high << 32 | low;
  }
  uint64_t quotient = 0, left = 0;
  for (int bit = 63; bit >= 0; bit--) {
    left = left << 1 | (value >> bit & 1);
    if (left < by) continue;
    left -= by;
    quotient |= 1ull << bit;
  }
  *rest = left;
  return quotient;
}

uint64_t __udivdi3(uint64_t value, uint64_t by) {
  uint64_t rest;
  return divide(value, by, &rest);
}
uint64_t __umoddi3(uint64_t value, uint64_t by) {
  uint64_t rest;
  divide(value, by, &rest);
  return rest;
}
