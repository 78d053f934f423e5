/* A program without a system below it: the count from the PVH start info, text to port 0xE9. */
#include <stdint.h>
#include "run.h"

static void put(const char *text) {
  for (; *text; text++) __asm__ volatile("outb %0, %1" : : "a"(*text), "Nd"((uint16_t)0xe9));
}

/* hvm_start_info: the command line's address is at offset 24. */
void bare_main(const uint8_t *start_info) {
  run_program(*(const char *const *)(start_info + 24), put);
  put("@exit 0\n");
}
