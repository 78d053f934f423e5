/* A hash table with open addressing: 6,000 keys of 16,384 places put in, counted, and half of them taken out. */
#include "program.h"

#define PLACES 16384
#define EMPTY 0
#define GONE 1
static struct place {
  uint64_t key;
  uint64_t value;
} places[PLACES];

static uint32_t place_of(uint64_t key) { return (uint32_t)(key * 0x9e3779b97f4a7c15u >> 50); }

static NOINLINE struct place *find(uint64_t key) {
  for (uint32_t at = place_of(key);; at = (at + 1) % PLACES) {
    if (places[at].key == key) return &places[at];
    if (places[at].key == EMPTY) return 0;
  }
}

static NOINLINE void insert(uint64_t key, uint64_t value) {
  uint32_t at = place_of(key);
  while (places[at].key > GONE) at = (at + 1) % PLACES;
  places[at].key = key;
  places[at].value = value;
}

uint64_t work(uint64_t count) {
  uint64_t seed = 0xabcdef, check = 0;
  for (uint64_t round = 0; round < count; round++) {
    for (uint32_t i = 0; i < PLACES; i++) places[i].key = EMPTY;
    for (uint32_t i = 0; i < 6000; i++) {
      uint64_t key = chance(&seed) % 5000 + 2;
      struct place *known = find(key);
      if (known) known->value += i;
      else insert(key, i);
    }
    uint64_t sum = 0;
    for (uint64_t key = 2; key < 10002; key++) {
      struct place *known = find(key);
      if (!known) continue;
      sum += known->value * key;
      if (key & 1) known->key = GONE;
    }
    for (uint64_t key = 2; key < 5002; key++) sum += find(key) != 0;
    check = mix(check, sum);
  }
  return check;
}
