/* Code that changes under the processor, and more than one processor. */
#include "kernel.h"

SNIPPET(c_next, "movb $0x5a, 1f+1(%rip)\n1: mov $0x11, %al\nmovb $0x11, 1b+1(%rip)");
SNIPPET(c_same, "1: mov $0x11, %al\nincb 1b+1(%rip)\ncmpb $0x20, 1b+1(%rip)\njb 1b\nmovb $0x11, 1b+1(%rip)");
SNIPPET(c_opcode, "movw $0xc3ff, 1f(%rip)\nxor %ebx, %ebx\n1: nop\nnop\nmovw $0x9090, 1b(%rip)");
SNIPPET(c_word, "movl $0x90905ab3, 1f(%rip)\n1: .byte 0xb3, 0x11, 0x90, 0x90\nmovl $0x909011b3, 1b(%rip)");
SNIPPET(c_ahead, "lea 1f(%rip), %rdi\nmov $0x40, %al\nmov $3, %ecx\nrep stosb\n1: .fill 3, 1, 0x90\n.byte 0x90\nlea 1b(%rip), %rdi\nmov $0x90, %al\nmov $3, %ecx\nrep stosb");
SNIPPET(c_lock, "lock; incb 1f+1(%rip)\n1: mov $0x11, %al\nmovb $0x11, 1b+1(%rip)");
SNIPPET(c_alias, "movb $0x77, (%rdi)\n1: mov $0x11, %al\nnop");
SNIPPET(c_call, "call *%rsi\nmov %eax, %ebx\nmovb $0x66, (%rdi)\ncall *%rsi");

static u8 code[3 * 4096] __attribute__((aligned(4096)));
typedef u32 (*function)(void);

static void changes(void) {
  case_in(K64, "next instruction", c_next);
  case_in(K64, "own loop", c_same);
  case_in(K64, "opcode of the next", c_opcode);
  case_in(K64, "four bytes", c_word);
  case_in(K64, "rep stosb ahead", c_ahead);
  case_in(K64, "locked", c_lock);
  prepare(K64, c_alias);
  in.gpr[RDI] = (u64)c_alias + 3 + 1 + USER;
  run("through another mapping");
  *(u8 *)(c_alias + 4) = 0x11;
  /* An instruction across two pages, changed in its second one. */
  u8 *at = code + 4096 - 2;
  static const u8 body[] = { 0xb8, 1, 2, 3, 4, 0xc3 };
  for (int i = 0; i < 6; i++) at[i] = body[i];
  field("across", ((function)at)());
  at[3] = 0x99;
  field("changed", ((function)at)());
  at[1] = 0x88;
  field("changed", ((function)at)());
  *(volatile u8 *)(at + 4 + USER) = 0x77;
  field("by alias", ((function)at)());
  end_line();
  prepare(K64, c_call);
  in.gpr[RSI] = (u64)at;
  in.gpr[RDI] = (u64)at + 3;
  run("called, changed, called");
  /* Many changes of one byte, and of a neighbour that is data. */
  u32 sum = 0;
  for (u32 i = 0; i < 300; i++) {
    at[1] = i;
    code[2048] = i;
    sum = sum * 3 + ((function)at)();
  }
  field("three hundred changes", sum);
  end_line();
}

extern char trampoline[], trampoline_end[];
volatile u32 next_stack, arrived, go, finished, counter, plain[4], ipis;
u8 processor_stacks[4][4096] __attribute__((aligned(16)));
volatile u64 exchanged;
static volatile u32 *const apic = (u32 *)0xfee00000;

static void work(void) {
  for (int i = 0; i < 2000; i++) {
    __asm__ volatile("lock; incl %0" : "+m"(counter));
    u64 before;
    do before = exchanged;
    while (!__sync_bool_compare_and_swap(&exchanged, before, before + 3));
  }
  __asm__ volatile("lock; incl %0" : "+m"(finished));
}
void processor_main(u32 number) {
  plain[number & 3] = apic[0x20 / 4] >> 24;
  __asm__ volatile("lock; incl %0" : "+m"(arrived));
  while (!go) __asm__ volatile("pause");
  work();
  for (;;) __asm__ volatile("cli; hlt");
}

static void start_others(void) {
  apic[0xf0 / 4] = 0x1ff;
  u8 *to = (u8 *)0x8000;
  for (char *from = trampoline; from < trampoline_end; from++) *to++ = *from;
  apic[0x300 / 4] = 0xc4500;
  for (volatile int i = 0; i < 200000; i++) {}
  apic[0x300 / 4] = 0xc4608;
  while (arrived < 3) __asm__ volatile("pause");
  /* Which numbers their APICs have is the platform's choice. */
  u32 ids = 0, different = 0;
  for (int i = 1; i < 4; i++) ids |= 1u << (plain[i] & 31);
  for (; ids; ids &= ids - 1) different++;
  field("arrived", arrived);
  field("different", different);
  end_line();
  go = 1;
  work();
  while (finished < 4) __asm__ volatile("pause");
  field("counter", counter);
  field("exchanged", exchanged);
  end_line();
}

void processors(void) {
  changes();
  start_others();
}
