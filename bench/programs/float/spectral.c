/* Power method on the matrix 1 / ((i + j) (i + j + 1) / 2 + i + 1): a division for every element. */
#include "program.h"

#define N 64
static double u[N], v[N], between[N];

static double element(int i, int j) { return 1.0 / ((i + j) * (i + j + 1) / 2 + i + 1); }

static NOINLINE void multiply(double *out, const double *in, int transposed) {
  for (int i = 0; i < N; i++) {
    double sum = 0;
    for (int j = 0; j < N; j++) sum += (transposed ? element(j, i) : element(i, j)) * in[j];
    out[i] = sum;
  }
}

uint64_t work(uint64_t count) {
  for (int i = 0; i < N; i++) u[i] = 1;
  for (uint64_t round = 0; round < count; round++) {
    multiply(between, u, 0);
    multiply(v, between, 1);
    multiply(between, v, 0);
    multiply(u, between, 1);
    double scale = 1 / u[0];
    for (int i = 0; i < N; i++) u[i] *= scale;
  }
  double uv = 0, vv = 0;
  for (int i = 0; i < N; i++) uv += u[i] * v[i], vv += v[i] * v[i];
  return bits_of(square_root(uv / vv));
}
