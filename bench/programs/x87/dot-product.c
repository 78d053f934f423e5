/* Products of doubles added up in 80 bits, as old compilers and careful libraries do. */
#include "program.h"

#define N 512
static double a[N], b[N];

uint64_t work(uint64_t count) {
  for (int i = 0; i < N; i++) a[i] = i * 0.37 - 90, b[i] = 1.0 / (i + 1);
  uint64_t check = 0;
  for (uint64_t round = 0; round < count; round++) {
    long double sum = (long double)(int32_t)(round & 255);
    for (int i = 0; i < N; i++) sum += (long double)a[i] * b[i];
    check = mix(check, bits_of((double)sum));
  }
  return check;
}
