/* Squares a 2,048-bit number again and again, folding the upper half into the lower: 64 by 64 gives 128 bits. */
#include "program.h"

#define LIMBS 32
typedef unsigned __int128 wide;

static NOINLINE void multiply(uint64_t *out, const uint64_t *a, const uint64_t *b) {
  for (int i = 0; i < 2 * LIMBS; i++) out[i] = 0;
  for (int i = 0; i < LIMBS; i++) {
    uint64_t carry = 0;
    for (int j = 0; j < LIMBS; j++) {
      wide sum = (wide)a[i] * b[j] + out[i + j] + carry;
      out[i + j] = (uint64_t)sum;
      carry = (uint64_t)(sum >> 64);
    }
    out[i + LIMBS] = carry;
  }
}

uint64_t work(uint64_t count) {
  uint64_t number[LIMBS], square[2 * LIMBS], seed = 4711;
  for (int i = 0; i < LIMBS; i++) number[i] = chance(&seed);
  for (uint64_t round = 0; round < count; round++) {
    multiply(square, number, number);
    uint64_t carry = 0;
    for (int i = 0; i < LIMBS; i++) {
      wide sum = (wide)square[i] + square[i + LIMBS] + carry;
      number[i] = (uint64_t)sum;
      carry = (uint64_t)(sum >> 64);
    }
    number[0] |= carry;
  }
  uint64_t check = 0;
  for (int i = 0; i < LIMBS; i++) check = mix(check, number[i]);
  return check;
}
