/* The 32-bit test kernel: descriptor tables, page tables, starting cases and printing what became of them. */
#include "kernel32.h"

struct state in, out;
u64 gdt[32] __attribute__((aligned(4096)));
u64 ldt[16] __attribute__((aligned(16)));
u64 idt[256] __attribute__((aligned(4096)));
struct tss32 tss __attribute__((aligned(256)));
struct tss16 tss_16 __attribute__((aligned(64)));
u8 test_stack[8192] __attribute__((aligned(4096)));
u8 trap_stack[8192] __attribute__((aligned(4096)));
u8 ring_stacks[3][4096] __attribute__((aligned(4096)));
struct pointer gdtr = { sizeof gdt - 1, (u32)gdt }, idtr = { sizeof idt - 1, (u32)idt };
u32 user_base;
int is_full, is_tcg;
const char *const context_names[CONTEXTS] = { "k32", "u32", "k16", "u16", "r16", "v86" };

void put(const char *text) { while (*text) out8(0xe9, *text++); }
void put_hex(u64 value) {
  int shift = 60;
  while (shift > 0 && !(value >> shift)) shift -= 4;
  for (; shift >= 0; shift -= 4) out8(0xe9, "0123456789abcdef"[value >> shift & 15]);
}
void field(const char *name, u64 value) { put(" "); put(name); put("="); put_hex(value); }
void end_line(void) { put("\n"); }
void manual(const char *name, u32 number, u32 is, u32 must) {
  if (is_tcg) return;
  put("manual ");
  put(name);
  field("", number);
  put(":");
  field("is", is);
  field("must", must);
  end_line();
}

void *memset(void *to, int value, u32 n) { u8 *p = to; while (n--) *p++ = value; return to; }
void *memcpy(void *to, const void *from, u32 n) { u8 *p = to; const u8 *q = from; while (n--) *p++ = *q++; return to; }

u64 descriptor(u32 base, u32 limit, u32 attributes) {
  return (limit & 0xffff) | (u64)(base & 0xffffff) << 16 | (u64)(attributes & 0xf0ff) << 40 |
         (u64)(limit >> 16 & 15) << 48 | (u64)(base >> 24) << 56;
}
u64 gate(u32 target, u16 selector, u16 attributes) {
  return (target & 0xffff) | (u32)selector << 16 | (u64)attributes << 32 | (u64)(target >> 16) << 48;
}
void set_gate(int vector, u32 target, u16 selector, u16 attributes) { idt[vector] = gate(target, selector, attributes); }
static void set(u32 selector, u64 value) { gdt[selector >> 3] = value; }
void reset_descriptors(void) {
  set(KCODE, descriptor(0, 0xfffff, 0xc09b));
  set(KDATA, descriptor(0, 0xfffff, 0xc093));
  set(UCODE, descriptor(0, 0xfffff, 0xc0fb));
  set(UDATA, descriptor(0, 0xfffff, 0xc0f3));
  set(KCODE16, descriptor(0, 0xffff, 0x009b));
  set(UCODE16, descriptor(0, 0xffff, 0x00fb));
  set(REAL_CODE, descriptor(0, 0xffff, 0x009b));
  set(REAL_DATA, descriptor(0, 0xffff, 0x0093));
  set(KSTACK16, descriptor((u32)test_stack, 0xffff, 0x0093));
  set(USTACK16, descriptor((u32)test_stack + user_base, 0xffff, 0x00f3));
  set(CONFORMING, descriptor(0, 0xfffff, 0xc09f));
  set(TSS, descriptor((u32)&tss, sizeof tss - 1, 0x0089));
  set(TSS16, descriptor((u32)&tss_16, sizeof tss_16 - 1, 0x0081));
  set(LDT, descriptor((u32)ldt, sizeof ldt - 1, 0x0082));
  set(STUBS16, descriptor((u32)stubs16, 0xfffff, 0xc09b));
  set(CODE1, descriptor(0, 0xfffff, 0xc0bb));
  set(DATA1, descriptor(0, 0xfffff, 0xc0b3));
  set(CODE2, descriptor(0, 0xfffff, 0xc0db));
  set(DATA2, descriptor(0, 0xfffff, 0xc0d3));
  for (int i = 0; i < FREE_COUNT; i++) gdt[FREE / 8 + i] = 0;
  for (int i = 0; i < 16; i++) ldt[i] = 0;
  for (int v = 0; v < 256; v++) set_gate(v, (u32)stubs + v * 16, KCODE, v >= 0x80 && v < 0x88 ? 0xee00 : 0x8e00);
  tss.esp0 = TRAP_TOP;
  tss.ss0 = KDATA;
  tss.esp1 = (u32)ring_stacks[1] + 4096;
  tss.ss1 = DATA1;
  tss.esp2 = (u32)ring_stacks[2] + 4096;
  tss.ss2 = DATA2;
}

void prepare(enum context context, const void *code) {
  static const u16 cs[] = { KCODE, UCODE, KCODE16, UCODE16 };
  int user = context & 1;
  u32 alias = user ? user_base : 0;
  for (int i = 0; i < 8; i++) in.gpr[i] = 0x11111111u * i;
  in.fs = in.gs = 0;
  in.eflags = 2;
  if (context >= R16) {
    memcpy((void *)LOW_CODE, code, 96);
    in.cs = LOW_CODE >> 4;
    in.eip = 0;
    in.ss = LOW_STACK >> 4;
    in.gpr[ESP] = 0x44447fc0;
    if (context == V86) in.gpr[ESP] &= 0xffff;
    in.ds = in.es = LOW_DATA >> 4;
    if (context == V86) in.eflags |= 0x20000;
    return;
  }
  in.cs = cs[context];
  in.ss = in.ds = in.es = user ? UDATA : KDATA;
  in.gpr[ESP] = STACK_TOP + alias;
  in.eip = (u32)code + alias;
  if (context >= K16) {
    set(cs[context], descriptor(in.eip, 0xffff, user ? 0x00fb : 0x009b));
    in.eip = 0;
    in.ss = user ? USTACK16 : KSTACK16;
    in.gpr[ESP] = STACK_TOP - (u32)test_stack;
  }
}
static int is_real(void) { return in.cs == LOW_CODE >> 4 && !(in.eflags & 0x20000); }
void run_quietly(void) {
  __asm__ volatile("mov %0, %%dr6" : : "r"(0xffff0ff0u));
  if (!is_real()) {
    run_state();
    return;
  }
  *(struct state *)0x7000 = in;
  real_cr3 = cr3();
  run_real();
  out = *(struct state *)0x7100;
}
static void put_stack(u32 frame) {
  if (frame > TRAP_TOP - 4096 && frame <= TRAP_TOP) {
    put(" frame=tss-");
    put_hex(TRAP_TOP - frame);
  } else if (in.gpr[ESP] - frame < 4096) {
    put(" frame=own-");
    put_hex(in.gpr[ESP] - frame);
  } else field("frame", frame);
}
void report(const char *name) {
  put(name);
  put(":");
  if (out.vector == DONE) put(" done");
  else {
    field("v", out.vector);
    if (out.error != ~0u) field("e", out.error);
  }
  put(" ip=");
  i32 delta = out.eip - in.eip;
  if (delta >= -4096 && delta < 4096) {
    put(delta < 0 ? "-" : "+");
    put_hex((u32)(delta < 0 ? -delta : delta));
  } else put_hex(out.eip);
  if (out.cs != in.cs) field("cs", out.cs);
  if (out.ss != in.ss) field("ss", out.ss);
  if (out.ds != in.ds) field("ds", out.ds);
  if (out.es != in.es) field("es", out.es);
  if (out.fs != in.fs) field("fs", out.fs);
  if (out.gs != in.gs) field("gs", out.gs);
  if (out.gpr[ESP] != in.gpr[ESP]) {
    i32 moved = in.gpr[ESP] - out.gpr[ESP];
    if (moved > 0 && moved < 4096) field("esp-", moved);
    else field("esp", out.gpr[ESP]);
  }
  field(out.frame_size == 2 ? "fl16" : "fl", out.eflags);
  field("hfl", out.handler_eflags & ~0xad5u & 0x3f7fd7);
  if (out.handler_eflags & 0x200) put(" if");
  if (out.handler_cs != KCODE) field("hcs", out.handler_cs);
  if (out.handler_ss != in.ss) field("hss", out.handler_ss);
  put_stack(out.frame);
  if (out.vector == 14) field("cr2", out.cr2);
  if (out.vector == 1) field("dr6", out.dr6);
  static const char *const names[] = { "eax", "ecx", "edx", "ebx", 0, "ebp", "esi", "edi" };
  for (int i = 0; i < 8; i++) if (names[i] && out.gpr[i] != in.gpr[i]) field(names[i], out.gpr[i]);
  end_line();
}
void run(const char *name) { run_quietly(); report(name); }

void case_in(enum context context, const char *name, const void *code) {
  prepare(context, code);
  put(context_names[context]);
  put(" ");
  run(name);
}
void case_everywhere(unsigned mask, const char *name, const void *code) {
  for (int c = 0; c < CONTEXTS; c++) if (mask & 1u << c) case_in(c, name, code);
}

/*
 * 64 MiB as they are, and again at ALIAS for users. The first MiB is for users where it is, too: virtual-8086 mode runs
 * there.
 */
u32 narrow_directory[1024] __attribute__((aligned(4096)));
static u32 narrow_tables[17][1024] __attribute__((aligned(4096)));
u64 pae_pointers[4] __attribute__((aligned(32)));
static u64 pae_low[512] __attribute__((aligned(4096))), pae_alias[512] __attribute__((aligned(4096)));
static void fill_page_tables(void) {
  for (u32 i = 0; i < 16 * 1024; i++) narrow_tables[i >> 10][i & 1023] = i << 12 | 7;
  for (u32 i = 0; i < 1024; i++) narrow_tables[16][i] = i << 12 | (i < 256 ? 7 : 3);
  for (u32 i = 0; i < 16; i++) {
    narrow_directory[i] = (u32)narrow_tables[i] | 3;
    narrow_directory[(ALIAS >> 22) + i] = (u32)narrow_tables[i] | 7;
  }
  narrow_directory[0] = (u32)narrow_tables[16] | 7;
  for (u32 i = 0; i < 32; i++) {
    pae_low[i] = i << 21 | 0x83;
    pae_alias[i] = i << 21 | 0x87;
  }
  pae_pointers[0] = (u32)pae_low | 1;
  pae_pointers[1] = (u32)pae_alias | 1;
}
void set_paging(enum paging paging) {
  set_cr0(cr0() & ~CR0_PG);
  set_cr4(paging == PAGING_PAE ? cr4() | CR4_PAE : cr4() & ~CR4_PAE);
  user_base = paging == PAGING_OFF ? 0 : ALIAS;
  if (paging != PAGING_OFF) {
    set_cr3(paging == PAGING_PAE ? (u32)pae_pointers : (u32)narrow_directory);
    set_cr0(cr0() | CR0_PG);
  }
  reset_descriptors();
}

void main(void) {
  reset_descriptors();
  fill_page_tables();
  memcpy((void *)0x8000, low_part, low_part_end - low_part);
  for (u32 v = 0; v < 256; v++) ((u32 *)0)[v] = 0x8000 + (real_stubs - low_part) + v * 8;
  tss.bitmap_at = sizeof tss;
  __asm__ volatile("lgdt %0" : : "m"(gdtr));
  __asm__ volatile("lidt %0" : : "m"(idtr));
  __asm__ volatile("ltr %0" : : "r"((u16)TSS));
  __asm__ volatile("lldt %0" : : "r"((u16)LDT));
  u32 a, b, c, d;
  __asm__ volatile("cpuid" : "=a"(a), "=b"(b), "=c"(c), "=d"(d) : "a"(0x40000000), "c"(0));
  is_tcg = b == 0x54474354; /* "TCGT" */
  put("begin\n");
  CASES;
  put("end\n");
}
