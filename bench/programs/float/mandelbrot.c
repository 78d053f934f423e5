/* The Mandelbrot set, 48 by 48 points, 100 steps at most: scalar doubles and a branch that depends on them. */
#include "program.h"

uint64_t work(uint64_t count) {
  uint64_t check = 0;
  for (uint64_t round = 0; round < count; round++) {
    uint64_t total = 0;
    for (int y = 0; y < 48; y++)
      for (int x = 0; x < 48; x++) {
        double cr = x / 16.0 - 2.25 + (double)(round & 7) / 1000, ci = y / 19.2 - 1.25, r = 0, i = 0;
        int steps = 0;
        for (; steps < 100; steps++) {
          double rr = r * r, ii = i * i;
          if (rr + ii > 4.0) break;
          i = 2 * r * i + ci;
          r = rr - ii + cr;
        }
        total += (uint64_t)steps;
      }
    check = mix(check, total);
  }
  return check;
}
