/* Product of two 128 by 128 matrices of single-precision numbers, four at a time. */
#include "program.h"

#define N 128
static float a[N][N], b[N][N], c[N][N];

uint64_t work(uint64_t count) {
  uint64_t check = 0;
  for (int i = 0; i < N; i++)
    for (int j = 0; j < N; j++) {
      a[i][j] = (i * 7 + j * 3) % 11 - 5.25f;
      b[i][j] = (i * 5 + j) % 13 * 0.125f;
    }
  for (uint64_t round = 0; round < count; round++) {
    for (int i = 0; i < N; i++) {
      for (int j = 0; j < N; j++) c[i][j] = 0;
      for (int k = 0; k < N; k++) {
        float factor = a[i][k];
        for (int j = 0; j < N; j++) c[i][j] += factor * b[k][j];
      }
    }
    a[round % N][round / N % N] += 0.5f;
    check = mix(check, bits_of(c[round % N][(round * 7) % N]));
  }
  return check;
}
