/* The 64-bit test kernel: descriptor tables, starting cases and printing what became of them. */
#include "kernel.h"

struct state in, out;
u64 gdt[64] __attribute__((aligned(4096)));
u64 ldt[16] __attribute__((aligned(16)));
struct gate idt[256] __attribute__((aligned(4096)));
struct tss tss __attribute__((aligned(4096)));
u8 test_stack[8192] __attribute__((aligned(4096)));
u8 trap_stack[8192] __attribute__((aligned(4096)));
u8 ist_stacks[7][1024] __attribute__((aligned(64)));
struct { u16 limit; u64 base; } __attribute__((packed)) gdtr = { sizeof gdt - 1, (u64)gdt }, idtr = { sizeof idt - 1, (u64)idt };
int is_full, is_tcg;
u32 cpu_count = 1;
const char *const context_names[CONTEXTS] = { "k64", "u64", "k32", "u32", "k16", "u16" };

void put(const char *text) { while (*text) out8(0xe9, *text++); }
void put_hex(u64 value) {
  int shift = 60;
  while (shift > 0 && !(value >> shift)) shift -= 4;
  for (; shift >= 0; shift -= 4) out8(0xe9, "0123456789abcdef"[value >> shift & 15]);
}
void field(const char *name, u64 value) { put(" "); put(name); put("="); put_hex(value); }
void end_line(void) { put("\n"); }

void *memset(void *to, int value, unsigned long n) { u8 *p = to; while (n--) *p++ = value; return to; }
void *memcpy(void *to, const void *from, unsigned long n) { u8 *p = to; const u8 *q = from; while (n--) *p++ = *q++; return to; }

u64 descriptor(u32 base, u32 limit, u32 attributes) {
  return (limit & 0xffff) | (u64)(base & 0xffffff) << 16 | (u64)(attributes & 0xf0ff) << 40 |
         (u64)(limit >> 16 & 15) << 48 | (u64)(base >> 24) << 56;
}
void set_gate(int vector, u64 target, u16 selector, u16 attributes) {
  idt[vector] = (struct gate){ target, selector, attributes, target >> 16, target >> 32, 0 };
}
void reset_descriptors(void) {
  gdt[0] = 0;
  gdt[KCODE / 8] = descriptor(0, 0xfffff, 0xa09b);
  gdt[KDATA / 8] = descriptor(0, 0xfffff, 0xc093);
  gdt[UCODE32 / 8] = descriptor(0, 0xfffff, 0xc0fb);
  gdt[UDATA / 8] = descriptor(0, 0xfffff, 0xc0f3);
  gdt[UCODE / 8] = descriptor(0, 0xfffff, 0xa0fb);
  gdt[KCODE32 / 8] = descriptor(0, 0xfffff, 0xc09b);
  gdt[KCODE16 / 8] = descriptor(0, 0xffff, 0x009b);
  gdt[UCODE16 / 8] = descriptor(0, 0xffff, 0x00fb);
  gdt[CONFORMING / 8] = descriptor(0, 0xfffff, 0xa09f);
  gdt[TSS / 8] = descriptor((u32)(u64)&tss, sizeof tss - 1, 0x0089);
  gdt[TSS / 8 + 1] = 0;
  gdt[LDT / 8] = descriptor((u32)(u64)ldt, sizeof ldt - 1, 0x0082);
  gdt[LDT / 8 + 1] = 0;
  for (int i = 0; i < FREE_COUNT; i++) gdt[FREE / 8 + i] = 0;
  for (int i = 0; i < 16; i++) ldt[i] = 0;
  for (int v = 0; v < 256; v++) set_gate(v, (u64)stubs + v * 16, KCODE, v >= 0x80 && v < 0x88 ? 0xee00 : 0x8e00);
  idt[8].attributes = 0x8e01; /* #DF has a stack of its own */
}

static u64 initial_gpr(int i) { return 0x1111111111111111ull * i; }
void prepare(enum context context, const void *code) {
  static const u16 cs[] = { KCODE, UCODE, KCODE32, UCODE32, KCODE16, UCODE16 };
  int user = context & 1;
  u64 address = (u64)code + (user ? USER : 0);
  for (int i = 0; i < 16; i++) in.gpr[i] = initial_gpr(i);
  in.gpr[RSP] = STACK_TOP + (user ? USER : 0);
  in.cs = cs[context];
  in.ss = in.ds = in.es = user ? UDATA : KDATA;
  in.rflags = 2;
  in.rip = address;
  if (context >= K16) {
    gdt[(context == K16 ? KCODE16 : UCODE16) / 8] = descriptor(address, 0xffff, user ? 0x00fb : 0x009b);
    in.rip = 0;
  }
}
void run_quietly(void) {
  __asm__ volatile("mov %0, %%dr6" : : "r"(0xffff0ff0ull));
  run_state();
}
static void put_stack(u64 frame) {
  if (frame >= (u64)trap_stack && frame <= (u64)trap_stack + sizeof trap_stack) {
    put(" frame=tss-");
    put_hex((u64)trap_stack + sizeof trap_stack - frame);
  } else if (frame >= (u64)ist_stacks && frame <= (u64)ist_stacks + sizeof ist_stacks) {
    put(" frame=ist");
    put_hex((frame - (u64)ist_stacks + 1023) / 1024);
  } else if (frame > STACK_TOP - 4096 && frame <= STACK_TOP) {
    put(" frame=own-");
    put_hex(STACK_TOP - frame);
  } else field("frame", frame);
}
void report(const char *name) {
  put(name);
  put(":");
  if (out.vector == DONE) put(" done");
  else {
    field("v", out.vector);
    if (out.error != ~0ull) field("e", out.error);
  }
  put(" ip=");
  i64 delta = out.rip - in.rip;
  if (delta >= -4096 && delta < 4096) {
    put(delta < 0 ? "-" : "+");
    put_hex(delta < 0 ? -delta : delta);
  } else put_hex(out.rip);
  if (out.cs != in.cs) field("cs", out.cs);
  if (out.ss != in.ss) field("ss", out.ss);
  if (out.ds != in.ds) field("ds", out.ds);
  if (out.es != in.es) field("es", out.es);
  if (out.gpr[RSP] != in.gpr[RSP]) {
    i64 moved = in.gpr[RSP] - out.gpr[RSP];
    if (moved > 0 && moved < 4096) field("rsp-", moved);
    else field("rsp", out.gpr[RSP]);
  }
  field("fl", out.rflags);
  field("hfl", out.handler_rflags & ~0xad5ull & 0x3f7fd7);
  if (out.handler_rflags & 0x200) put(" if");
  if (out.handler_cs != KCODE) field("hcs", out.handler_cs);
  if (out.handler_ss != in.ss) field("hss", out.handler_ss);
  put_stack(out.frame);
  if (out.vector == 14) field("cr2", out.cr2);
  if (out.vector == 1) field("dr6", out.dr6);
  static const char *const names[] = { "rax", "rcx", "rdx", "rbx", 0, "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15" };
  for (int i = 0; i < 16; i++) if (names[i] && out.gpr[i] != in.gpr[i]) field(names[i], out.gpr[i]);
  end_line();
}
void run(const char *name) { run_quietly(); report(name); }

static char label[96];
static const char *join(const char *a, const char *b) {
  char *p = label;
  while (*a) *p++ = *a++;
  *p++ = ' ';
  while (*b) *p++ = *b++;
  *p = 0;
  return label;
}
void case_in(enum context context, const char *name, const void *code) {
  prepare(context, code);
  run(join(context_names[context], name));
}
void case_everywhere(unsigned mask, const char *name, const void *code) {
  for (int c = 0; c < CONTEXTS; c++) if (mask & 1u << c) case_in(c, name, code);
}

extern char part[];
void main(void) {
  reset_descriptors();
  tss.rsp[0] = (u64)trap_stack + sizeof trap_stack;
  for (int i = 0; i < 7; i++) tss.ist[i] = (u64)ist_stacks[i + 1];
  tss.bitmap_at = 104;
  for (unsigned i = 0; i < sizeof tss.bitmap; i++) tss.bitmap[i] = 0xff;
  __asm__ volatile("ltr %0" : : "r"((u16)TSS));
  __asm__ volatile("lldt %0" : : "r"((u16)LDT));
  u32 a, b, c, d;
  __asm__ volatile("cpuid" : "=a"(a), "=b"(b), "=c"(c), "=d"(d) : "a"(0x40000000), "c"(0));
  is_tcg = b == 0x54474354; /* "TCGT" */
  put("begin\n");
  CASES;
  put("end\n");
}
