/*
 * What a just-in-time compiler does: routines are emitted into a page, run, patched in place and run again, and count in the
 * same page. Forty-eight slots are used in turn, so that old code is overwritten by other code.
 */
#include "linux.h"
#include "program.h"

enum { SLOTS = 48, SLOT_BYTES = 64, DATA = 3584, CALLS = 200 };
static uint8_t page[4096] __attribute__((aligned(4096)));

typedef uint32_t (*routine)(uint32_t *);

static void put32(uint8_t *at, uint32_t value) {
  for (int i = 0; i < 4; i++) at[i] = (uint8_t)(value >> 8 * i);
}

/* mov eax, number; then add or xor eax, [rdi]; add [rdi], eax; ret */
static routine emit(uint8_t *at, uint32_t number) {
  *at++ = 0xb8;
  put32(at, number);
  at += 4;
  const uint8_t rest[] = {number & 1 ? 0x03 : 0x33, 0x07, 0x01, 0x07, 0xc3};
  for (unsigned i = 0; i < sizeof rest; i++) *at++ = rest[i];
  return (routine)(uintptr_t)(at - 10);
}

static uint32_t call(routine code, uint32_t *data) {
  uint32_t sum = 0;
  for (int i = 0; i < CALLS; i++) {
    sum += code(data);
    __asm__ volatile("" : : : "memory");
  }
  return sum;
}

uint64_t work(uint64_t count) {
  enum { READ_WRITE_EXECUTE = 7 };
  must(SYS_mprotect, (long)page, sizeof page, READ_WRITE_EXECUTE);
  uint32_t *data = (uint32_t *)(uintptr_t)(page + DATA);
  uint64_t check = 0;
  for (uint64_t round = 0; round < count; round++) {
    uint8_t *slot = page + round * 5 % SLOTS * SLOT_BYTES;
    routine code = emit(slot, (uint32_t)round * 2654435761u);
    __asm__ volatile("" : : : "memory");
    check = mix(check, call(code, data));
    put32(slot + 1, (uint32_t)check);
    __asm__ volatile("" : : : "memory");
    check = mix(check, call(code, data));
  }
  return check;
}
