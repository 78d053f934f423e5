/* Polynomials and square roots in 80-bit arithmetic (long double, x87). */
#include "program.h"

uint64_t work(uint64_t count) {
  long double sum = 0;
  for (uint64_t round = 0; round < count; round++) {
    long double x = (long double)(int32_t)(round % 4096) / 4096, value = 0.0078125L;
    for (int i = 7; i > 0; i--) value = value * x + 1.0L / i;
    __asm__("fsqrt" : "+t"(value));
    sum += value;
    if (sum > 1e9L) sum *= 0.5L;
  }
  union {
    long double number;
    uint64_t mantissa;
  } both = {sum};
  return both.mantissa;
}
