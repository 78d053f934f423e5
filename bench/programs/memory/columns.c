/* Adds up a 1,024 by 1,024 matrix of integers by columns: every access in another page. */
#include "program.h"

#define N 1024
static uint32_t matrix[N][N];

uint64_t work(uint64_t count) {
  uint64_t check = 0;
  for (uint32_t i = 0; i < N; i++)
    for (uint32_t j = 0; j < N; j++) matrix[i][j] = i * 3 + j;
  for (uint64_t round = 0; round < count; round++) {
    for (uint32_t j = 0; j < N; j += 8) {
      uint32_t sum = (uint32_t)round;
      for (uint32_t i = 0; i < N; i++) sum += matrix[i][j]++;
      check = mix(check, sum);
    }
  }
  return check;
}
