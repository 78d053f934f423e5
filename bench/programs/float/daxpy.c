/* y = a x + y over 2,048 doubles: two at a time, 32 KiB, loads and stores as well as arithmetic. */
#include "program.h"

#define N 2048
static double x[N], y[N];

static NOINLINE void daxpy(double a, const double *restrict from, double *restrict to) {
  for (int i = 0; i < N; i++) to[i] += a * from[i];
}

uint64_t work(uint64_t count) {
  for (int i = 0; i < N; i++) x[i] = i % 17 - 8.0, y[i] = i * 0.5;
  for (uint64_t round = 0; round < count; round++) daxpy(round & 1 ? -0.75 : 0.8125, x, y);
  uint64_t check = 0;
  for (int i = 0; i < N; i += 31) check = mix(check, bits_of(y[i]));
  return check;
}
