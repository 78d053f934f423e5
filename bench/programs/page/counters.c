/*
 * A small routine that counts, in a page of its own or (SHARED) in the page that its counters are in too. Processors do
 * not mind much as long as no instruction is overwritten; a translator that watches whole pages throws its code away at each store.
 */
#include "linux.h"
#include "program.h"

#define OFFSET_COUNTERS (SHARED ? 2048 : 4096)
static uint8_t pages[8192] __attribute__((aligned(4096)));

/* rdi = counters, rsi = rounds: eight counters, each stepped by the one before. Position-independent. */
extern const uint8_t routine[], routine_end[];
__asm__(".globl routine, routine_end\n"
        "routine: xor %eax, %eax\n"
        "1: addq $1, (%rdi)\n"
        "mov (%rdi), %rcx\n"
        "and $7, %ecx\n"
        "add %rcx, 64(%rdi)\n"
        "mov 64(%rdi), %rdx\n"
        "xor %rdx, 128(%rdi)\n"
        "add 128(%rdi), %rax\n"
        "rol $3, %rax\n"
        "mov %rax, 192(%rdi)\n"
        "dec %rsi\n"
        "jnz 1b\n"
        "ret\n"
        "routine_end:\n");

uint64_t work(uint64_t count) {
  enum { READ_WRITE_EXECUTE = 7 };
  must(SYS_mprotect, (long)pages, sizeof pages, READ_WRITE_EXECUTE);
  for (const uint8_t *from = routine; from < routine_end; from++) pages[from - routine] = *from;
  uint64_t (*call)(void *, uint64_t) = (uint64_t (*)(void *, uint64_t))(uintptr_t)pages;
  uint64_t check = 0;
  for (uint64_t round = 0; round < count; round++) check = mix(check, call(pages + OFFSET_COUNTERS, 1000));
  return check;
}
