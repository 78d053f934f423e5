/*
 * What the host processor makes of x87 instructions. Reads requests from standard input, writes results:
 *   request: u8 code[12]; u32 count; then count times a 108-byte state image padded to 112, and 32 bytes of memory
 *            that the instruction finds at [rax]
 *   result:  the state image afterwards (112), the memory (32), the flags register (8)
 */
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

typedef struct { uint8_t state[112], memory[32]; } operand;
typedef struct { uint8_t state[112], memory[32]; uint64_t flags; } result;

int main(void) {
  uint8_t *code = mmap(0, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (code == MAP_FAILED) { perror("mmap"); return 3; }
  /* frstor [rdi]; mov rax, rsi; mov r8d, 1; add r8d, 1 (clears ZF, PF and CF) */
  static const uint8_t head[] = {0xdd, 0x27, 0x48, 0x89, 0xf0, 0x41, 0xb8, 1, 0, 0, 0, 0x41, 0x83, 0xc0, 1};
  /* pushfq; pop r8; fnsave [rdx]; mov [rcx], r8; ret */
  static const uint8_t tail[] = {0x9c, 0x41, 0x58, 0xdd, 0x32, 0x4c, 0x89, 0x01, 0xc3};
  struct { uint8_t code[12]; uint32_t count; } request;
  while (fread(&request, sizeof request, 1, stdin) == 1) {
    int length = 12;
    while (length > 0 && request.code[length - 1] == 0x90) length--;
    memcpy(code, head, sizeof head);
    memcpy(code + sizeof head, request.code, (size_t)length);
    memcpy(code + sizeof head + length, tail, sizeof tail);
    operand *operands = malloc(sizeof(operand) * (size_t)request.count);
    result *results = calloc(request.count, sizeof(result));
    if (fread(operands, sizeof(operand), request.count, stdin) != request.count) return 1;
    for (uint32_t i = 0; i < request.count; i++) {
      memcpy(results[i].memory, operands[i].memory, 32);
      ((void (*)(void *, void *, void *, void *))code)(operands[i].state, results[i].memory, results[i].state, &results[i].flags);
    }
    fwrite(results, sizeof(result), request.count, stdout);
    free(operands); free(results);
  }
  return 0;
}
