/* Primes below 65,536 by the sieve of Eratosthenes, over bytes. */
#include "program.h"

#define LIMIT 65536
static uint8_t composite[LIMIT];

uint64_t work(uint64_t count) {
  uint64_t check = 0;
  for (uint64_t round = 0; round < count; round++) {
    for (uint32_t i = 0; i < LIMIT; i++) composite[i] = 0;
    uint32_t primes = 0, last = 0;
    for (uint32_t i = 2; i < LIMIT; i++) {
      if (composite[i]) continue;
      primes++;
      last = i;
      for (uint32_t j = 2 * i; j < LIMIT; j += i) composite[j] = 1;
    }
    check = mix(check, (uint64_t)primes << 32 | last);
  }
  return check;
}
