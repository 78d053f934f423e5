/* Divisions, square roots and comparisons: cube roots by Newton's method, scalar doubles. */
#include "program.h"

uint64_t work(uint64_t count) {
  double sum = 0;
  for (uint64_t round = 0; round < count; round++) {
    double value = (double)(round % 1000 + 2), root = square_root(value), last = 0;
    for (int steps = 0; steps < 40 && root != last; steps++) {
      last = root;
      root = (2 * root + value / (root * root)) / 3;
    }
    sum += root;
    if (sum > 1e6) sum = square_root(sum);
  }
  return bits_of(sum);
}
