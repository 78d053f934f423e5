/* A byte to and fro through two pipes: two context switches a round. */
#include "linux.h"
#include "program.h"

uint64_t work(uint64_t count) {
  int there[2], back[2];
  uint8_t byte = 1;
  must(SYS_pipe, (long)there, 0, 0);
  must(SYS_pipe, (long)back, 0, 0);
  long child = must(SYS_fork, 0, 0, 0);
  if (child == 0) {
    must(SYS_close, there[1], 0, 0);
    while (syscall3(SYS_read, there[0], (long)&byte, 1) == 1) {
      byte = (uint8_t)(byte * 5 + 1);
      must(SYS_write, back[1], (long)&byte, 1);
    }
    exit_process(0);
  }
  uint64_t sum = 0;
  for (uint64_t round = 0; round < count; round++) {
    must(SYS_write, there[1], (long)&byte, 1);
    must(SYS_read, back[0], (long)&byte, 1);
    sum += byte;
  }
  must(SYS_close, there[1], 0, 0);
  wait_for(child);
  return sum;
}
