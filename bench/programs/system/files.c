/* Creates a file in /tmp, writes 1 KiB, closes it, opens it again, reads it and removes it. */
#include "linux.h"
#include "program.h"

uint64_t work(uint64_t count) {
  enum { O_RDONLY = 0, O_WRONLY = 1, O_CREAT = 0100, O_TRUNC = 01000 };
  static uint8_t data[1024];
  uint64_t sum = 0;
  for (uint64_t round = 0; round < count; round++) {
    char name[] = "/tmp/bench-file-0";
    name[16] = (char)('0' + round % 10);
    long file = must(SYS_open, (long)name, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    data[round % sizeof data]++;
    must(SYS_write, file, (long)data, sizeof data);
    must(SYS_close, file, 0, 0);
    file = must(SYS_open, (long)name, O_RDONLY, 0);
    sum += (uint64_t)must(SYS_read, file, (long)data, sizeof data) + data[round % sizeof data];
    must(SYS_close, file, 0, 0);
    must(SYS_unlink, (long)name, 0, 0);
  }
  return sum;
}
