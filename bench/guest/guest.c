/* The guest's side: arguments from the PVH start info, marks and text to port 0xE9. */
#include "workloads.h"

static inline void put(char c) { __asm__ volatile("outb %0, %1" : : "a"(c), "Nd"((uint16_t)0xe9)); }

void mark(char what) { put(what); }
void put_text(const char *text) {
  while (*text) put(*text++);
}

/* The compiler may call these. */
void *memset(void *to, int value, uint64_t size) {
  for (uint8_t *p = to; size > 0; size--) *p++ = (uint8_t)value;
  return to;
}
void *memcpy(void *to, const void *from, uint64_t size) {
  const uint8_t *q = from;
  for (uint8_t *p = to; size > 0; size--) *p++ = *q++;
  return to;
}

/* hvm_start_info: the command line's address is at offset 24. */
void guest_main(const uint8_t *start_info) { run_rounds(*(const char *const *)(start_info + 24)); }
