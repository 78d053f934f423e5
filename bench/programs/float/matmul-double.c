/* Product of two 96 by 96 matrices of doubles; the inner loop is what the compiler makes packed instructions of. */
#include "program.h"

#define N 96
static double a[N][N], b[N][N], c[N][N];

uint64_t work(uint64_t count) {
  uint64_t check = 0;
  for (int i = 0; i < N; i++)
    for (int j = 0; j < N; j++) {
      a[i][j] = (i * 7 + j * 3) % 11 - 5.25;
      b[i][j] = (i * 5 + j) % 13 * 0.125;
    }
  for (uint64_t round = 0; round < count; round++) {
    for (int i = 0; i < N; i++) {
      for (int j = 0; j < N; j++) c[i][j] = 0;
      for (int k = 0; k < N; k++) {
        double factor = a[i][k];
        for (int j = 0; j < N; j++) c[i][j] += factor * b[k][j];
      }
    }
    a[round % N][round / N % N] += 0.5;
    check = mix(check, bits_of(c[round % N][(round * 7) % N]));
  }
  return check;
}
