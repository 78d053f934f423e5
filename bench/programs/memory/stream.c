/* Copy, scale, add and triad over three arrays of doubles, 4 MiB each. */
#include "program.h"

#define N (1 << 19)
static double a[N], b[N], c[N];

uint64_t work(uint64_t count) {
  for (int i = 0; i < N; i++) a[i] = i % 64, b[i] = 2, c[i] = 0;
  for (uint64_t round = 0; round < count; round++) {
    for (int i = 0; i < N; i++) c[i] = a[i];
    for (int i = 0; i < N; i++) b[i] = 0.5 * c[i];
    for (int i = 0; i < N; i++) c[i] = a[i] + b[i];
    for (int i = 0; i < N; i++) a[i] = b[i] + 0.25 * c[i];
  }
  uint64_t check = 0;
  for (int i = 0; i < N; i += 4099) check = mix(check, bits_of(a[i]) ^ bits_of(c[i]));
  return check;
}
