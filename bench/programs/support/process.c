/* A program as a Linux process: `NAME COUNT`. `NAME exit` ends at once, for measuring exec. */
#include "linux.h"
#include "run.h"

__asm__(".globl _start\n"
        "_start: mov %rsp, %rdi\n"
        "and $-16, %rsp\n"
        "call process_main\n");

static void put(const char *text) {
  long size = 0;
  while (text[size]) size++;
  syscall3(SYS_write, 1, (long)text, size);
}

__attribute__((used)) _Noreturn void process_main(const long *stack) {
  const char *argument = stack[0] > 1 ? (const char *)stack[2] : "1";
  if (*argument != 'e') run_program(argument, put);
  exit_process(0);
}
