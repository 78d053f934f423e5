/* Fibonacci numbers by double recursion: calls and returns, nothing else. */
#include "program.h"

static NOINLINE uint32_t fibonacci(uint32_t n) {
  __asm__ volatile("" : "+r"(n));
  if (n < 2) return n;
  uint32_t first = fibonacci(n - 1);
  __asm__ volatile("" : "+r"(first));
  return first + fibonacci(n - 2);
}

uint64_t work(uint64_t count) {
  uint64_t check = 0;
  for (uint64_t round = 0; round < count; round++) check = mix(check, fibonacci(16 + (round & 3)));
  return check;
}
