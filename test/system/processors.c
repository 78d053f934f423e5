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
/* Interrupts between processors: each counts what it gets, and in which order. */
enum { IPI_FIRST = 0xa0, IPI_COUNT = 32 };
static volatile u32 counts[4][IPI_COUNT], ready, stop;
static volatile u8 order[64];
static volatile u32 ordered;
struct interrupt_frame;
static u32 self(void) {
  u32 id = apic[0x20 / 4] >> 24, i = 0;
  while (i < 3 && plain[i] != id) i++;
  return i;
}
static void received(u32 vector) {
  u32 me = self();
  if (me == 0) order[ordered++ & 63] = vector;
  counts[me][vector - IPI_FIRST]++;
  apic[0xb0 / 4] = 0;
}
#define HANDLER(n) __attribute__((interrupt)) static void handler_##n(struct interrupt_frame *f) { received(0x##n); }
HANDLER(a0) HANDLER(a1) HANDLER(a2) HANDLER(b0) HANDLER(b1)
static void answer(u32 number) {
  struct { u16 limit; u64 base; } __attribute__((packed)) table = { 4095, (u64)idt };
  __asm__ volatile("lidt %0" : : "m"(table));
  apic[0xf0 / 4] = 0x1ff;
  apic[0x80 / 4] = 0;
  /* Flat logical destinations: a bit for each. */
  apic[0xe0 / 4] = 0xffffffff;
  apic[0xd0 / 4] = 1u << (24 + number);
  __asm__ volatile("lock; incl %0" : "+m"(ready));
  __asm__ volatile("sti");
}

void processor_main(u32 number) {
  plain[number & 3] = apic[0x20 / 4] >> 24;
  __asm__ volatile("lock; incl %0" : "+m"(arrived));
  while (!go) __asm__ volatile("pause");
  work();
  answer(number & 3);
  while (!stop) __asm__ volatile("pause");
  for (;;) __asm__ volatile("cli; hlt");
}

static u32 sum_of(u32 vector) {
  u32 sum = 0;
  for (int i = 0; i < 4; i++) sum += counts[i][vector - IPI_FIRST];
  return sum;
}
static u64 tsc(void) { u32 a, d; __asm__ volatile("rdtsc" : "=a"(a), "=d"(d)); return a | (u64)d << 32; }
static void wait(u64 cycles) { for (u64 end = tsc() + cycles; tsc() < end;) __asm__ volatile("pause"); }
static void send(u32 high, u32 low) {
  while (apic[0x300 / 4] & 0x1000) {}
  apic[0x310 / 4] = high << 24;
  apic[0x300 / 4] = low;
}
/*
 * Send, and print how many each got; the numbers of processors are those of `plain`. `must` has a bit for each that gets it:
 * how long to wait. What comes besides is in the next line's numbers at the latest.
 */
static void ipi(const char *name, u32 high, u32 low, u32 must) {
  u32 before[4], vector = low & 0xff;
  for (int i = 0; i < 4; i++) before[i] = counts[i][vector - IPI_FIRST];
  send(high, low);
  u64 end = tsc() + 20000000000ull;
  for (u32 missing = 1; missing && tsc() < end;) {
    missing = 0;
    for (int i = 0; i < 4; i++) {
      if (must >> i & 1 && counts[i][vector - IPI_FIRST] == before[i]) missing = 1;
    }
    __asm__ volatile("pause");
  }
  wait(200000);
  put(name);
  put(":");
  for (int i = 0; i < 4; i++) field("", counts[i][vector - IPI_FIRST] - before[i]);
  end_line();
}
static void between(void) {
  static void *const handlers[] = { handler_a0, handler_a1, handler_a2, handler_b0, handler_b1 };
  static const u8 vectors[] = { 0xa0, 0xa1, 0xa2, 0xb0, 0xb1 };
  for (int i = 0; i < 5; i++) set_gate(vectors[i], (u64)handlers[i], KCODE, 0x8e00);
  plain[0] = apic[0x20 / 4] >> 24;
  answer(0);
  while (ready < 4) __asm__ volatile("pause");
  for (int i = 0; i < 4; i++) {
    put("to ");
    put_hex(i);
    ipi(" fixed, physical", plain[i], 0x40a0, 1 << i);
    put("to ");
    put_hex(i);
    ipi(" fixed, logical", 1 << i, 0x48a1, 1 << i);
  }
  ipi("to itself", 0, 0x440a0, 1);
  ipi("to all", 0, 0x840a0, 15);
  ipi("to all others", 0, 0xc40a1, 14);
  ipi("to all, physical", 0xff, 0x40a2, 15);
  ipi("to all, logical", 0xff, 0x48a2, 15);
  for (u32 mask = 0; mask < 16; mask++) {
    put("mask ");
    put_hex(mask);
    ipi(" logical", mask, 0x48b0, mask);
  }
  ipi("to nobody", 0xee, 0x40a0, 0);
  /* NMIs between processors are not here: Domus does not deliver them. */
  /* One of several gets it. */
  for (u32 mask = 1; mask < 16; mask++) {
    u32 before = sum_of(0xb1), each[4];
    for (int i = 0; i < 4; i++) each[i] = counts[i][0xb1 - IPI_FIRST];
    send(mask, 0x49b1);
    for (u64 end = tsc() + 20000000000ull; sum_of(0xb1) == before && tsc() < end;) __asm__ volatile("pause");
    wait(200000);
    field("lowest priority of", mask);
    field("got", sum_of(0xb1) - before);
    u32 others = 0;
    for (int i = 0; i < 4; i++) others += mask >> i & 1 ? 0 : counts[i][0xb1 - IPI_FIRST] - each[i];
    field("others", others);
    end_line();
  }
  /* The highest first; what is sent twice comes once; the task priority holds back its class and those below. */
  __asm__ volatile("cli");
  ordered = 0;
  for (int i = 0; i < 3; i++) {
    send(0, 0x440a1);
    send(0, 0x440b0);
    send(0, 0x440a2);
  }
  __asm__ volatile("sti; nop; nop");
  wait(200000);
  put("order");
  for (u32 i = 0; i < ordered; i++) field("", order[i]);
  end_line();
  for (u32 priority = 0x90; priority <= 0xc0; priority += 8) {
    apic[0x80 / 4] = priority;
    ordered = 0;
    __asm__ volatile("cli");
    send(0, 0x440a1);
    send(0, 0x440b0);
    __asm__ volatile("sti; nop; nop");
    wait(200000);
    field("task priority", priority);
    field("processor priority", apic[0xa0 / 4]);
    put(" came");
    for (u32 i = 0; i < ordered; i++) field("", order[i]);
    u32 early = ordered;
    apic[0x80 / 4] = 0;
    wait(200000);
    put(" later");
    for (u32 i = early; i < ordered; i++) field("", order[i]);
    end_line();
  }
  __asm__ volatile("cli");
  stop = 1;
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
  between();
}
