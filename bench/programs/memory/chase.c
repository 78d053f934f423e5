/* A chain of dependent loads through BYTES of memory, one element a cache line, in random order. */
#include "program.h"

#define LINES (BYTES / 64)
static struct line {
  uint32_t next;
  uint32_t padding[15];
} lines[LINES] __attribute__((aligned(64)));

uint64_t work(uint64_t count) {
  uint64_t seed = 77;
  /* One cycle through all lines (Sattolo's shuffle). */
  for (uint32_t i = 0; i < LINES; i++) lines[i].next = i;
  for (uint32_t i = LINES - 1; i > 0; i--) {
    uint32_t j = (uint32_t)(chance(&seed) % i), held = lines[i].next;
    lines[i].next = lines[j].next;
    lines[j].next = held;
  }
  uint32_t at = 0;
  for (uint64_t round = 0; round < count; round++)
    for (int i = 0; i < 1000; i++) at = lines[at].next;
  return at;
}
