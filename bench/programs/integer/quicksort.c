/* Quicksort of 8,192 random numbers, with insertion sort for short ranges. */
#include "program.h"

#define SIZE 8192
static uint32_t numbers[SIZE];

static void sort(int32_t from, int32_t to) {
  while (to - from > 12) {
    uint32_t pivot = numbers[from + (to - from) / 2];
    int32_t i = from, j = to;
    while (i <= j) {
      while (numbers[i] < pivot) i++;
      while (numbers[j] > pivot) j--;
      if (i > j) break;
      uint32_t held = numbers[i];
      numbers[i++] = numbers[j];
      numbers[j--] = held;
    }
    if (j - from < to - i) {
      sort(from, j);
      from = i;
    } else {
      sort(i, to);
      to = j;
    }
  }
  for (int32_t i = from + 1; i <= to; i++) {
    uint32_t held = numbers[i];
    int32_t j = i - 1;
    for (; j >= from && numbers[j] > held; j--) numbers[j + 1] = numbers[j];
    numbers[j + 1] = held;
  }
}

uint64_t work(uint64_t count) {
  uint64_t seed = 0x1234567, check = 0;
  for (uint64_t round = 0; round < count; round++) {
    for (int i = 0; i < SIZE; i++) numbers[i] = (uint32_t)chance(&seed);
    sort(0, SIZE - 1);
    for (int i = 0; i < SIZE; i += 61) check = mix(check, numbers[i]);
  }
  return check;
}
