/* Integers to floating point and back, single to double and back. */
#include "program.h"

#define N 512
static int32_t integers[N];
static float singles[N];
static double doubles[N];

uint64_t work(uint64_t count) {
  uint64_t seed = 5, check = 0;
  for (int i = 0; i < N; i++) integers[i] = (int32_t)chance(&seed) >> 8;
  for (uint64_t round = 0; round < count; round++) {
    for (int i = 0; i < N; i++) doubles[i] = integers[i] * 0.999;
    for (int i = 0; i < N; i++) singles[i] = (float)doubles[i] * 1.25f;
    int64_t sum = 0;
    for (int i = 0; i < N; i++) sum += (int32_t)singles[i] + (int32_t)((double)singles[i] * 0.5);
    for (int i = 0; i < N; i++) integers[i] = (int32_t)(singles[i] * 0.8f) ^ (int32_t)(round & 15);
    check = mix(check, (uint64_t)sum);
  }
  return check;
}
