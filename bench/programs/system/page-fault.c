/* Maps 1 MiB, touches all of its pages, unmaps it: 256 page faults. */
#include "linux.h"
#include "program.h"

uint64_t work(uint64_t count) {
  uint64_t sum = 0;
  for (uint64_t round = 0; round < count; round++) {
    long base = syscall6(SYS_mmap, 0, 1 << 20, 3, 0x22, -1, 0);
    if (base < 0) exit_process(SYS_mmap);
    for (uint32_t at = 0; at < 1 << 20; at += 4096) sum += ++*(volatile uint8_t *)(base + at);
    must(SYS_munmap, base, 1 << 20, 0);
  }
  return sum;
}
