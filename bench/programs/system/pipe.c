/* 64 KiB at a time through a pipe to a child that reads it. */
#include "linux.h"
#include "program.h"

static uint8_t data[65536];

uint64_t work(uint64_t count) {
  int ends[2];
  must(SYS_pipe, (long)ends, 0, 0);
  long child = must(SYS_fork, 0, 0, 0);
  if (child == 0) {
    uint64_t total = 0;
    must(SYS_close, ends[1], 0, 0);
    for (long got; (got = must(SYS_read, ends[0], (long)data, sizeof data)) > 0;) total += (uint64_t)got;
    exit_process(total == count * sizeof data ? 7 : 8);
  }
  for (uint64_t round = 0; round < count; round++)
    for (long done = 0; done < (long)sizeof data;)
      done += must(SYS_write, ends[1], (long)data + done, (long)sizeof data - done);
  must(SYS_close, ends[1], 0, 0);
  return mix(count, (uint64_t)wait_for(child));
}
