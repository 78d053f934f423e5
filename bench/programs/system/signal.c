/* A signal to oneself, its handler, and the return from it. */
#include "linux.h"
#include "program.h"

static volatile uint64_t caught;
static void handler(int number) { caught += (uint64_t)number; }
void restorer(void);
__asm__("restorer: mov $15, %eax\n"
        "syscall\n");

uint64_t work(uint64_t count) {
  enum { SIGUSR1 = 10, SA_RESTORER = 0x04000000 };
  /* struct sigaction of the kernel. */
  const struct {
    void (*handler)(int);
    uint64_t flags;
    void (*restorer)(void);
    uint64_t mask;
  } action = {handler, SA_RESTORER, restorer, 0};
  if (syscall6(SYS_rt_sigaction, SIGUSR1, (long)&action, 0, 8, 0, 0) < 0) exit_process(SYS_rt_sigaction);
  long self = must(SYS_getpid, 0, 0, 0);
  for (uint64_t round = 0; round < count; round++) must(SYS_kill, self, SIGUSR1, 0);
  return caught;
}
