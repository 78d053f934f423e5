/* Fast Fourier transform of 1,024 complex doubles and back: radix 2, in place, factors from a table. */
#include "program.h"

#define N 1024
static double real[N], imaginary[N], cosine[N / 2], sine[N / 2];

static NOINLINE void transform(double sign) {
  for (uint32_t i = 1, j = 0; i < N; i++) {
    uint32_t bit = N >> 1;
    for (; j & bit; bit >>= 1) j ^= bit;
    j ^= bit;
    if (i >= j) continue;
    double held = real[i];
    real[i] = real[j], real[j] = held;
    held = imaginary[i];
    imaginary[i] = imaginary[j], imaginary[j] = held;
  }
  for (uint32_t half = 1; half < N; half *= 2)
    for (uint32_t k = 0; k < half; k++) {
      double wr = cosine[k * (N / 2 / half)], wi = sign * sine[k * (N / 2 / half)];
      for (uint32_t i = k; i < N; i += 2 * half) {
        double tr = real[i + half] * wr - imaginary[i + half] * wi;
        double ti = real[i + half] * wi + imaginary[i + half] * wr;
        real[i + half] = real[i] - tr;
        imaginary[i + half] = imaginary[i] - ti;
        real[i] += tr;
        imaginary[i] += ti;
      }
    }
}

uint64_t work(uint64_t count) {
  double c = 1, s = 0;
  for (int k = 0; k < N / 2; k++) {
    cosine[k] = c;
    sine[k] = s;
    double next = c * 0.99998117528260111 - s * 0.0061358846491544753; /* cos and sin of 2 pi / 1024 */
    s = c * 0.0061358846491544753 + s * 0.99998117528260111;
    c = next;
  }
  for (int i = 0; i < N; i++) real[i] = (i * 37) % 101 - 50.0, imaginary[i] = (i * 11) % 17 - 8.0;
  uint64_t check = 0;
  for (uint64_t round = 0; round < count; round++) {
    transform(1);
    check = mix(check, bits_of(real[round % N]));
    transform(-1);
    for (int i = 0; i < N; i++) real[i] *= 1.0 / N, imaginary[i] *= 1.0 / N;
  }
  return check;
}
