/* An interpreter for a small stack machine, `switch` dispatch: an indirect jump for every instruction. */
#include "program.h"

enum op { PUSH, ADD, SUB, MUL, XOR, DUP, SWAP, LOAD, STORE, LESS, JUMP_IF, JUMP, SHIFT, HALT };

/* for (i = 0; i < 250; i++) { a = (a * 33 ^ i) + b; if (a < b) b = b - i; else b = b + (a >> 3); } */
static const uint8_t program[] = {
    PUSH, 0, STORE, 0,                                                 /*  0: i = 0 */
    LOAD, 1, PUSH, 33, MUL, LOAD, 0, XOR, LOAD, 2, ADD, STORE, 1,      /*  4: a = ... */
    LOAD, 1, LOAD, 2, LESS, JUMP_IF, 36,                               /* 17: if (a < b) */
    LOAD, 2, LOAD, 1, PUSH, 3, SHIFT, ADD, STORE, 2, JUMP, 43,         /* 24: else */
    LOAD, 2, LOAD, 0, SUB, STORE, 2,                                   /* 36: then */
    LOAD, 0, PUSH, 1, ADD, DUP, STORE, 0, PUSH, 250, LESS, JUMP_IF, 4, /* 43: i++ < 250 */
    HALT,
};

static uint64_t variables[4];

static NOINLINE uint64_t run(const uint8_t *code) {
  uint64_t stack[16], *top = stack, steps = 0;
  const uint8_t *pc = code;
  for (;; steps++) {
    switch ((enum op)*pc++) {
    case PUSH: *top++ = *pc++; break;
    case ADD: top--; top[-1] += *top; break;
    case SUB: top--; top[-1] -= *top; break;
    case MUL: top--; top[-1] *= *top; break;
    case XOR: top--; top[-1] ^= *top; break;
    case SHIFT: top--; top[-1] >>= *top & 63; break;
    case DUP: *top = top[-1]; top++; break;
    case SWAP: {
      uint64_t held = top[-1];
      top[-1] = top[-2];
      top[-2] = held;
      break;
    }
    case LOAD: *top++ = variables[*pc++]; break;
    case STORE: variables[*pc++] = *--top; break;
    case LESS: top--; top[-1] = top[-1] < *top; break;
    case JUMP_IF: if (*--top) pc = code + *pc; else pc++; break;
    case JUMP: pc = code + *pc; break;
    case HALT: return steps;
    }
  }
}

uint64_t work(uint64_t count) {
  uint64_t check = 0;
  variables[1] = 5381;
  variables[2] = 77;
  for (uint64_t round = 0; round < count; round++) check = mix(check, run(program) ^ variables[1] ^ variables[2]);
  return check;
}
