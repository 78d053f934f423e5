/* A program without a system below it. Text goes to the I/O port PORT. */
#include <stdint.h>
#include "run.h"

static void put(const char *text) {
  for (; *text; text++) __asm__ volatile("outb %0, %1" : : "a"(*text), "d"((uint16_t)PORT));
}

#ifdef __x86_64__
/* hvm_start_info: the command line's address is at offset 24. */
void bare_main(const uint8_t *start_info) {
  run_program(*(const char *const *)(start_info + 24), put);
  put("@exit 0\n");
}
#else
/* The command line as Multiboot gives it: the kernel's name may come first, the count is last. */
void bare_main(const char *line) {
  for (const char *at = line; *at; at++)
    if (*at == ' ' && at[1] >= '0' && at[1] <= '9') line = at + 1;
  run_program(line, put);
  put("@exit 0\n");
}
#endif
