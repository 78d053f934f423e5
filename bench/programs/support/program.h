/*
 * What the programs of the benchmark have in common. A program is one C file with one function, `work`: it does `count`
 * units of work and returns a check value that depends on all of them and is the same on every processor.
 * No libc: the same object file becomes a Linux process and a kernel of its own (docs/benchmarks.md).
 */
#ifndef PROGRAM_H
#define PROGRAM_H
#include <stdint.h>

uint64_t work(uint64_t count);

#define NOINLINE __attribute__((noinline))
#define COUNT(array) (sizeof(array) / sizeof *(array))

/* xorshift: three shifts, any state but zero. */
static inline uint64_t chance(uint64_t *state) {
  *state ^= *state << 13;
  *state ^= *state >> 7;
  return *state ^= *state << 17;
}

static inline uint64_t mix(uint64_t check, uint64_t value) {
  check = (check ^ value) * 0x9e3779b97f4a7c15u;
  return check ^ check >> 29;
}

static inline uint64_t bits_of(double value) {
  union {
    double number;
    uint64_t bits;
  } both = {value};
  return both.bits;
}

static inline double square_root(double value) {
  __asm__("sqrtsd %0, %0" : "+x"(value));
  return value;
}

void *memset(void *to, int value, __SIZE_TYPE__ size);
void *memcpy(void *to, const void *from, __SIZE_TYPE__ size);
#endif
