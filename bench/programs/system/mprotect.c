/* Takes the right to write from 16 pages and gives it back, touching one each time: TLB entries must go. */
#include "linux.h"
#include "program.h"

static uint8_t pages[16 * 4096] __attribute__((aligned(4096)));

uint64_t work(uint64_t count) {
  enum { PROT_READ = 1, PROT_WRITE = 2 };
  uint64_t sum = 0;
  for (uint64_t round = 0; round < count; round++) {
    must(SYS_mprotect, (long)pages, sizeof pages, PROT_READ);
    sum += ((volatile uint8_t *)pages)[round % 16 * 4096];
    must(SYS_mprotect, (long)pages, sizeof pages, PROT_READ | PROT_WRITE);
    ((volatile uint8_t *)pages)[round % 16 * 4096]++;
  }
  return sum;
}
