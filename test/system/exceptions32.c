/* Exceptions and interrupts of 32-bit kernels: error codes, saved state, stacks from the TSS, gates of 16 and 32 bits. */
#include "kernel32.h"

/* These bytes mean the same in 16-bit code. */
SNIPPET(x_de, "xor %eax, %eax\nxor %edx, %edx\nxor %ecx, %ecx\ndiv %ecx");
SNIPPET(x_de8, "push $9\npop %eax\nxor %ecx, %ecx\nidiv %cl");
SNIPPET(x_int3, "nop\nint3");
SNIPPET(x_int1, "nop\n.byte 0xf1");
SNIPPET(x_int_3_long, "nop\n.byte 0xcd, 3");
SNIPPET(x_int_13, "int $13");
SNIPPET(x_int_8, "int $8");
SNIPPET(x_int_80, "int $0x80");
SNIPPET(x_int_90, "int $0x90");
SNIPPET(x_ud2, "nop\nud2");
SNIPPET(x_into, "mov $0x7f, %al\nadd $1, %al\ninto");
SNIPPET(x_into_not, "mov $1, %al\nadd $1, %al\ninto");
SNIPPET(x_lock_nop, "lock; nop");
SNIPPET(x_lock_cmp, "lock; cmp %eax, (%ebx)");
SNIPPET(x_long_instruction, ".fill 15, 1, 0x3e\nnop");
SNIPPET(x_15_bytes, ".fill 14, 1, 0x3e\nnop");
SNIPPET(x_fld, "fld1");
SNIPPET(x_sse, "pxor %xmm0, %xmm0");
SNIPPET(x_mmx, "pxor %mm0, %mm0\nemms");
SNIPPET(x_wait, "fwait");
SNIPPET(x_tf_by_popf, "pushfl\norl $0x100, (%esp)\npopfl\nnop\nnop");
/* These are for 32-bit code. */
SNIPPET(x_bound, "mov $0x7fffffff, %eax\nsub $8, %esp\nmovl $0, (%esp)\nmovl $5, 4(%esp)\nbound %eax, (%esp)");
SNIPPET(x_bound_good, "mov $3, %eax\nsub $8, %esp\nmovl $0, (%esp)\nmovl $5, 4(%esp)\nbound %eax, (%esp)");
SNIPPET(x_mf, "fninit\nsub $8, %esp\nmovw $0x37b, (%esp)\nfldcw (%esp)\nfld1\nfldz\nfdivrp\nnop\nfwait\nnop");
SNIPPET(x_misaligned_sse, "movaps 1(%esp), %xmm0");
SNIPPET(x_ac_set, "pushfl\norl $0x40000, (%esp)\npopfl\nmov -7(%esp), %eax");
SNIPPET(x_ac_aligned, "pushfl\norl $0x40000, (%esp)\npopfl\nmov -8(%esp), %eax");
SNIPPET(x_tf_ud2, "pushfl\norl $0x100, (%esp)\npopfl\nud2");
SNIPPET(x_tf_int, "pushfl\norl $0x100, (%esp)\npopfl\nint $0x82");
SNIPPET(x_tf_ss, "pushfl\norl $0x100, (%esp)\npopfl\nmov %ss, %eax\nmov %eax, %ss\nnop\nnop");
SNIPPET(x_tf_rep, "pushfl\norl $0x100, (%esp)\nmov $4, %ecx\nlea -64(%esp), %edi\npopfl\nrep stosb");
SNIPPET(x_tf_fault, "pushfl\norl $0x100, (%esp)\nmov $0x20000000, %ebx\npopfl\nmov (%ebx), %eax");
SNIPPET(x_tf_popf_clear, "pushfl\npushfl\norl $0x100, (%esp)\npopfl\npopfl\nnop");
SNIPPET(x_pf_read, "mov $0x20000000, %ebx\nmov (%ebx), %eax");
SNIPPET(x_pf_write, "mov $0x20000010, %ebx\nmov %eax, (%ebx)");
SNIPPET(x_pf_jump, "mov $0x20000030, %ebx\njmp *%ebx");
SNIPPET(x_pf_push, "mov $0x20000040, %esp\npush %eax");
SNIPPET(x_pf_pusha, "mov $0x20000040, %esp\npusha");
SNIPPET(x_pf_call, "mov $0x20000040, %esp\ncall 1f\n1: nop");
SNIPPET(x_pf_ss, "mov $0x20000040, %ebp\nmov (%ebp), %eax");
SNIPPET(x_bad_esp, "mov $0x20001000, %esp\nud2");
SNIPPET(x_load_ds, "mov %edi, %ds\nmov %ds, %ebx");
SNIPPET(x_load_ss, "mov %edi, %ss\nmov %ss, %ebx");
SNIPPET(x_load_fs, "mov %edi, %fs\nmov %fs, %ebx");
SNIPPET(x_pop_es, "push %edi\npop %es\nmov %es, %ebx");
SNIPPET(x_lds, "push %edi\npush $0x1234\nlds (%esp), %eax\nmov %ds, %ebx");
SNIPPET(x_lss, "push %edi\npush $0x1234\nlss (%esp), %eax\nmov %ss, %ebx");
SNIPPET(x_mov_cs, ".byte 0x8e, 0xcf");

static void simple(unsigned some) {
  case_everywhere(some, "div by zero", x_de);
  case_everywhere(some, "idiv by zero", x_de8);
  case_everywhere(some, "int3", x_int3);
  case_everywhere(some, "int1", x_int1);
  case_everywhere(some, "int 3, two bytes", x_int_3_long);
  case_everywhere(some & (USERS | REAL), "int 13", x_int_13);
  case_everywhere(some & (USERS | REAL), "int 8", x_int_8);
  case_everywhere(some, "int 0x80", x_int_80);
  case_everywhere(some, "int 0x90", x_int_90);
  case_everywhere(some, "ud2", x_ud2);
  case_everywhere(some, "into", x_into);
  case_everywhere(some, "into, no overflow", x_into_not);
  case_everywhere(some, "lock nop", x_lock_nop);
  case_everywhere(some, "lock cmp", x_lock_cmp);
  case_everywhere(some, "16-byte instruction", x_long_instruction);
  case_everywhere(some, "15-byte instruction", x_15_bytes);
  for (int bit = 1; bit <= 3; bit++) {
    u32 before = cr0();
    set_cr0((before & ~0xeu) | 1u << bit);
    put(bit == 1 ? "MP\n" : bit == 2 ? "EM\n" : "TS\n");
    case_everywhere(some, "fld1", x_fld);
    case_everywhere(some, "pxor", x_sse);
    case_everywhere(some, "pxor mmx", x_mmx);
    case_everywhere(some, "fwait", x_wait);
    set_cr0((before & ~0xeu) | 2 | 1u << bit);
    case_everywhere(some, "fwait, MP", x_wait);
    set_cr0(before);
  }
  u32 flags = cr4();
  set_cr4(flags & ~0x200u);
  case_everywhere(some, "pxor without OSFXSR", x_sse);
  set_cr4(flags);
}

static void in_32_bits(void) {
  case_everywhere(WIDE, "bound", x_bound);
  case_everywhere(WIDE, "bound in range", x_bound_good);
  case_everywhere(WIDE, "#MF at fwait", x_mf);
  __asm__ volatile("fninit");
  case_everywhere(WIDE, "movaps misaligned", x_misaligned_sse);
  case_everywhere(WIDE, "misaligned, AC, AM clear", x_ac_set);
  set_cr0(cr0() | 0x40000);
  case_everywhere(WIDE, "misaligned, AC, AM", x_ac_set);
  case_everywhere(WIDE, "aligned, AC, AM", x_ac_aligned);
  set_cr0(cr0() & ~0x40000u);
  case_everywhere(WIDE, "TF by popf", x_tf_by_popf);
  case_everywhere(WIDE, "TF and ud2", x_tf_ud2);
  case_everywhere(WIDE, "TF and int", x_tf_int);
  case_everywhere(WIDE, "TF and mov ss", x_tf_ss);
  case_everywhere(WIDE, "TF and rep stosb", x_tf_rep);
  case_everywhere(WIDE, "TF cleared by popf", x_tf_popf_clear);
  for (int c = 0; c < R16; c++) {
    prepare(c, x_int3);
    in.eflags |= 0x100;
    put(context_names[c]);
    run(" TF by iret");
  }
}

static void page_faults(void) {
  case_everywhere(WIDE, "TF and fault", x_tf_fault);
  case_everywhere(WIDE, "#PF read", x_pf_read);
  case_everywhere(WIDE, "#PF write", x_pf_write);
  case_everywhere(WIDE, "#PF fetch", x_pf_jump);
  case_everywhere(1u << U32, "#PF push", x_pf_push);
  case_everywhere(1u << U32, "#PF pusha", x_pf_pusha);
  case_everywhere(1u << U32, "#PF call", x_pf_call);
  case_everywhere(WIDE, "#PF in the stack segment", x_pf_ss);
  case_in(U32, "fault with a bad stack", x_bad_esp);
}

static void load(u16 selector, unsigned mask, const char *name, const char *code) {
  for (int c = 0; c < R16; c++) {
    if (!(mask & 1u << c)) continue;
    prepare(c, code);
    in.gpr[EDI] = selector;
    put(context_names[c]);
    put(" ");
    run(name);
  }
}
static void segments(void) {
  static const struct { const char *name; u32 attributes; } kinds[] = {
    { "not present data3", 0xc073 }, { "not present data0", 0xc013 }, { "data0", 0xc093 }, { "data3", 0xc0f3 }, { "read-only3", 0xc0f1 },
    { "read-only0", 0xc091 }, { "execute-only3", 0xc0f9 }, { "execute-only0", 0xc099 }, { "readable code3", 0xc0fb }, { "readable code0", 0xc09b },
    { "conforming0", 0xc09f }, { "conforming3", 0xc0ff }, { "not accessed3", 0xc0f2 }, { "not accessed0", 0xc092 }, { "data1", 0xc0b3 }, { "tss", 0x0089 },
    { "call gate3", 0x00ec }, { "expand-down3", 0xc0f7 }, { "16-bit data3", 0x00f3 }, { "not present code3", 0xc07b }, { "long code", 0xa0fb },
  };
  static const struct { const char *name; const char *code; } ways[] = {
    { "mov ds", x_load_ds }, { "mov ss", x_load_ss }, { "mov fs", x_load_fs }, { "pop es", x_pop_es }, { "lds", x_lds }, { "lss", x_lss },
  };
  for (unsigned i = 0; i < sizeof kinds / sizeof *kinds; i++) {
    put(kinds[i].name);
    end_line();
    for (int way = 0; way < 6; way++)
      for (int rpl = 0; rpl < 4; rpl++) {
        gdt[FREE / 8] = descriptor(0, 0xfffff, kinds[i].attributes);
        put("rpl");
        field("", rpl);
        put(" ");
        load(FREE | rpl, WIDE, ways[way].name, ways[way].code);
        if (rpl == 3) {
          field("descriptor", gdt[FREE / 8]);
          end_line();
        }
      }
  }
  gdt[FREE / 8] = 0;
  static const u16 selectors[] = { 0, 1, 3, FREE, 0xf8, 0x100, 0x103, 0xfffb, 4, 0x0c, 0x0f, 0x84, KCODE, UCODE, CONFORMING };
  ldt[1] = descriptor(0, 0xfffff, 0xc0f3);
  for (unsigned i = 0; i < sizeof selectors / 2; i++) {
    put("selector");
    field("", selectors[i]);
    end_line();
    for (int way = 0; way < 6; way++) load(selectors[i], WIDE, ways[way].name, ways[way].code);
  }
  case_everywhere(PROTECTED, "mov cs", x_mov_cs);
  __asm__ volatile("lldt %0" : : "r"((u16)0));
  load(0x0f, WIDE, "null LDT", x_load_ds);
  gdt[LDT / 8] = descriptor((u32)ldt, 7, 0x0082);
  __asm__ volatile("lldt %0" : : "r"((u16)LDT));
  load(0x0f, WIDE, "beyond LDT", x_load_ds);
  reset_descriptors();
  __asm__ volatile("lldt %0" : : "r"((u16)LDT));
}

/* Both gates that the cases use, with the stub that fits. */
static void set_gates(u16 selector, u16 attributes) {
  int narrow = !(attributes & 0x800);
  static const u8 vectors[] = { 0x80, 6, 13 };
  for (int i = 0; i < 3; i++) {
    u32 v = vectors[i], at = narrow ? v * 16 : (u32)stubs + v * 16;
    set_gate(v, at, narrow && selector == KCODE ? STUBS16 : selector, attributes);
  }
}
static void through_gates(void) {
  static const struct { const char *name; u16 selector, attributes; } kinds[] = {
    { "interrupt gate", KCODE, 0xee00 }, { "trap gate", KCODE, 0xef00 }, { "16-bit interrupt gate", KCODE, 0xe600 }, { "16-bit trap gate", KCODE, 0xe700 },
    { "not present gate", KCODE, 0x6e00 }, { "not present trap gate", KCODE, 0x6f00 }, { "not present 16-bit gate", KCODE, 0x6600 }, { "call gate", KCODE, 0xec00 },
    { "16-bit call gate", KCODE, 0xe400 }, { "tss gate", KCODE, 0xe900 }, { "ldt gate", KCODE, 0xe200 }, { "code gate", KCODE, 0xfe00 }, { "null selector", 0, 0xee00 },
    { "null selector, rpl 3", 3, 0xee00 }, { "selector beyond GDT", 0x300, 0xee00 }, { "data selector", KDATA, 0xee00 }, { "user code", UCODE, 0xee00 }, { "tss selector", TSS, 0xee00 },
    { "not present code", FREE, 0xee00 }, { "rpl 3", KCODE | 3, 0xee00 }, { "dpl 0", KCODE, 0x8e00 }, { "LDT selector", 0x0c, 0xee00 }, { "empty LDT selector", 0x14, 0xee00 },
    { "dpl 0, not present", KCODE, 0x0e00 }, { "reserved type d", KCODE, 0xed00 },
  };
  gdt[FREE / 8] = descriptor(0, 0xfffff, 0xc01b);
  ldt[1] = descriptor(0, 0xfffff, 0xc09b);
  for (unsigned i = 0; i < sizeof kinds / sizeof *kinds; i++) {
    set_gates(kinds[i].selector, kinds[i].attributes);
    /* What reports a refusal must work. */
    if (kinds[i].attributes != 0xe600 && kinds[i].attributes != 0xe700) set_gate(13, (u32)stubs + 13 * 16, KCODE, 0x8e00);
    put(kinds[i].name);
    end_line();
    for (int c = 0; c < R16; c++) {
      prepare(c, x_int_80);
      in.eflags = 0x243202; /* IF, IOPL 3, AC, ID */
      run(context_names[c]);
    }
    /* The handler in a user's segment would run with the user's rights. */
    case_everywhere(kinds[i].selector == UCODE ? KERNELS : PROTECTED, "by ud2", x_ud2);
    if ((kinds[i].attributes & 0xff00) == 0xe600 || (kinds[i].attributes & 0xff00) == 0xe700) load(0x100, WIDE, "#GP", x_load_ds);
  }
  reset_descriptors();
}

/*
 * Handlers of privilege 1, for when the stack of privilege 0 is wrong: they mend it, and show what they got by INT 0x82.
 * EAX = error code, EBX = EIP, ECX = CS, EDX = EFLAGS, ESI = ESP, EDI = SS, EBP = vector.
 */
__asm__(".pushsection .text\n.globl ring1\n"
        ".macro ring1_stub n, code\n.align 16\n.if !\\code\npush $-1\n.endif\npush $\\n\njmp ring1_common\n.endm\n.align 16\n"
        "ring1: ring1_stub 8, 1\nring1_stub 10, 1\nring1_stub 11, 1\nring1_stub 12, 1\nring1_stub 13, 1\nring1_stub 14, 1\nring1_stub 128, 0\n"
        "ring1_common:\nmov $0x89, %eax\nmov %eax, %ds\nmovl $0x10, tss + 8\nmov ring0_stack, %eax\nmov %eax, tss + 4\n"
        "pop %ebp\npop %eax\npop %ebx\npop %ecx\npop %edx\nand $~0x10000, %edx\npop %esi\npop %edi\nint $0x82\n.popsection");
extern char ring1[];
u32 ring0_stack;
static const u8 ring1_vectors[] = { 8, 10, 11, 12, 13, 14, 0x80 };
static void ring1_handlers(int on) {
  for (int i = 0; i < 6; i++) {
    u32 v = ring1_vectors[i];
    set_gate(v, on ? (u32)ring1 + i * 16 : (u32)stubs + v * 16, on ? CODE1 : KCODE, 0x8e00);
  }
}
static void again(int c, const char *name, const char *code) {
  prepare(c, code);
  put(context_names[c]);
  put(" ");
  run(name);
  tss.ss0 = KDATA;
  tss.esp0 = TRAP_TOP;
}

/* The stack that an inner privilege gets, wrong in every way. */
static void stacks(void) {
  static const struct { const char *name; u16 ss; u32 attributes; } kinds[] = {
    { "good", FREE, 0xc093 }, { "not accessed", FREE, 0xc092 }, { "null", 0, 0 }, { "null, rpl 3", 3, 0 }, { "beyond GDT", 0x100, 0 }, { "rpl 1", FREE | 1, 0xc093 }, { "dpl 3", FREE, 0xc0f3 },
    { "dpl 1", FREE, 0xc0b3 }, { "read-only", FREE, 0xc091 }, { "code", FREE, 0xc09b }, { "system", FREE, 0x0089 }, { "not present", FREE, 0xc013 }, { "16-bit", FREE, 0x8093 },
    { "LDT", 0x0c, 0xc093 }, { "empty LDT", 0x14, 0xc093 }, { "dpl 3, not present", FREE, 0xc073 },
  };
  for (unsigned i = 0; i < sizeof kinds / sizeof *kinds; i++) {
    put(kinds[i].name);
    end_line();
    for (int c = 1; c < R16; c += 2)
      for (int way = 0; way < 3; way++) {
        u32 base = kinds[i].attributes == 0x8093 ? (u32)trap_stack & 0xffff0000 : 0;
        gdt[FREE / 8] = ldt[1] = descriptor(base, 0xfffff, kinds[i].attributes);
        tss.ss0 = kinds[i].ss;
        ring1_handlers(1);
        /* A contributory exception first: then it is a double fault. */
        if (way == 2) set_gate(13, (u32)stubs + 13 * 16, KCODE, 0x8e00);
        again(c, way == 0 ? "int" : way == 1 ? "by ud2" : "second by #GP", way == 0 ? x_int_80 : way == 1 ? x_ud2 : x_int_13);
        ring1_handlers(0);
      }
  }
  /* Limits of stacks: QEMU does not look at them. */
  static const struct { u32 limit, attributes, pointer, is_good; } limits[] = {
    { 0xfff, 0x4093, 0x1000, 1 }, { 0xfff, 0x4093, 0x1001, 0 }, { 0xfff, 0x4093, 0x2000, 0 }, { 0xfff, 0x4093, 80, 1 }, { 0xfff, 0x4093, 16, 0 }, { 0x1000, 0x4097, 0x1800, 1 },
    { 0x1000, 0x4097, 0x1060, 1 }, { 0x1000, 0x4097, 0x1014, 0 }, { 0x1000, 0x4097, 0x800, 0 },
  };
  for (unsigned i = 0; i < sizeof limits / sizeof *limits && !is_tcg; i++)
    for (int way = 0; way < 2; way++) {
      gdt[FREE / 8] = descriptor((u32)trap_stack, limits[i].limit, limits[i].attributes);
      tss.ss0 = FREE;
      tss.esp0 = limits[i].pointer;
      ring1_handlers(1);
      prepare(U32, way ? x_ud2 : x_int_80);
      run_quietly();
      u32 is = out.vector == 0x82 ? out.gpr[EBP] << 16 | out.gpr[EAX] : out.vector;
      manual("limit of the inner stack", i, is, limits[i].is_good ? (way ? 6 : 0x80) : (12 << 16 | FREE | way));
      tss.ss0 = KDATA;
      tss.esp0 = TRAP_TOP;
      ring1_handlers(0);
    }
  /* A limit of the stack that stays. */
  static const u32 tops[] = { 0x1000, 24, 12, 11, 8, 4 };
  for (int i = 0; i < 6 && !is_tcg; i++) {
    gdt[FREE / 8] = descriptor((u32)ring_stacks[1], 0xfff, 0x40b3);
    prepare(K32, x_int_80);
    in.cs = CODE1;
    in.ss = FREE | 1;
    in.ds = in.es = DATA1;
    in.gpr[ESP] = tops[i];
    set_gate(0x80, (u32)ring1 + 6 * 16, CODE1, 0xee00);
    run_quietly();
    if (tops[i] < 12) manual("limit of the same stack", tops[i], out.vector << 16 | out.error, 12 << 16);
    reset_descriptors();
  }
  /* The task state ends in front of the stack of privilege 1. QEMU wants two bytes more. */
  for (u32 limit = 15; limit <= 20; limit++) {
    gdt[TSS / 8] = descriptor((u32)&tss, limit, 0x0089);
    __asm__ volatile("ltr %0" : : "r"((u16)TSS));
    set_gate(0x80, (u32)ring1 + 6 * 16, CODE1, 0xee00);
    set_gate(6, (u32)ring1 + 6 * 16, CODE1, 0x8e00);
    for (int way = 0; way < 2; way++) {
      prepare(U32, way ? x_ud2 : x_int_80);
      run_quietly();
      manual("TSS limit", limit, out.vector << 16 | (out.vector == 10 ? out.error : 0), limit < 17 ? 10 << 16 | TSS | way : 0x82 << 16);
    }
    reset_descriptors();
  }
  __asm__ volatile("ltr %0" : : "r"((u16)TSS));
  /* Offsets of gates against the limit of the code segment. */
  gdt[FREE / 8] = descriptor(0, 0xfff, 0xc09b);
  if (!is_tcg) {
    set_gate(0x80, 0x1000000, FREE, 0xee00);
    prepare(K32, x_int_80);
    run_quietly();
    manual("handler beyond its segment", 0, out.vector << 16 | out.error, 13 << 16);
    manual("handler beyond its segment, eip", 0, out.eip, in.eip);
  }
  reset_descriptors();
  /* The 16-bit task state. */
  tss_16.ss0 = FREE;
  tss_16.sp0 = 0x1f00;
  gdt[FREE / 8] = descriptor((u32)trap_stack, 0xffff, 0x0093);
  __asm__ volatile("ltr %0" : : "r"((u16)TSS16));
  case_in(U32, "16-bit TSS, int", x_int_80);
  case_in(U32, "16-bit TSS, ud2", x_ud2);
  case_in(U16, "16-bit TSS, int", x_int_80);
  reset_descriptors();
  __asm__ volatile("ltr %0" : : "r"((u16)TSS));
}

/* Privileges 1 and 2 as what is interrupted and as what handles. */
static void rings(void) {
  for (int ring = 1; ring < 3; ring++)
    for (int way = 0; way < 2; way++) {
      prepare(K32, way ? x_ud2 : x_int_80);
      in.cs = ring == 1 ? CODE1 : CODE2;
      in.ss = in.ds = in.es = ring == 1 ? DATA1 : DATA2;
      field("from privilege", ring);
      run(way ? " ud2" : " int");
    }
  for (int c = 0; c < R16; c++) {
    set_gate(0x80, (u32)ring1 + 6 * 16, CODE1, 0xee00);
    put("to privilege 1 ");
    case_in(c, "int", x_int_80);
    gdt[CODE1 / 8] = descriptor(0, 0xfffff, 0xc0bf);
    put("to conforming 1 ");
    if (!(c & 1)) case_in(c, "int", x_int_80);
    else end_line();
    reset_descriptors();
  }
}

static void table_limit(void) {
  static const u16 limits[] = { 0x81 * 8 + 7, 0x90 * 8 - 1, 0x90 * 8, 0x90 * 8 + 6, 0x90 * 8 + 7 };
  for (unsigned i = 0; i < 5; i++) {
    struct pointer p = { limits[i], (u32)idt };
    __asm__ volatile("lidt %0" : : "m"(p));
    put("IDT limit");
    field("", limits[i]);
    end_line();
    case_in(K32, "int 0x90", x_int_90);
    case_in(U32, "int 0x90", x_int_90);
  }
  __asm__ volatile("lidt %0" : : "m"(idtr));
}

/* Every pair of a first and a second exception. */
static void pairs(void) {
  static const struct { const char *name; int vector; const char *code; } firsts[] = {
    { "#DE", 0, x_de }, { "#UD", 6, x_ud2 }, { "#GP", 13, x_lock_cmp }, { "#GP", 13, x_load_ds }, { "#PF", 14, x_pf_read }, { "#BP", 3, x_int3 },
  };
  static const char *const seconds[] = { "#NP", "#GP", "#PF" };
  for (unsigned f = 0; f < 6; f++)
    for (int s = 0; s < 3; s++)
      for (int c = 0; c < U32 + 1; c++) {
        if (s == 2 && c == 0) continue;
        if (firsts[f].vector == 14 && !(cr0() & CR0_PG)) continue;
        put(firsts[f].name);
        put(" then ");
        put(seconds[s]);
        put("\n");
        u64 before = idt[firsts[f].vector];
        if (s == 0) idt[firsts[f].vector] &= ~(1ull << 47);
        if (s == 1) idt[firsts[f].vector] = gate((u32)stubs, KDATA, 0x8e00);
        if (firsts[f].vector == 3) idt[3] |= 3ull << 45;
        if (s == 2) {
          if (!(cr0() & CR0_PG)) { idt[firsts[f].vector] = before; continue; }
          tss.esp0 = 0x20000000;
          ring1_handlers(1);
          /* The first goes to the stack that is not there. */
          idt[firsts[f].vector] = before;
          if (firsts[f].vector == 14) { ring1_handlers(0); set_gate(8, (u32)ring1, CODE1, 0x8e00); }
        }
        prepare(c, firsts[f].code);
        in.gpr[EDI] = 0x100;
        put(context_names[c]);
        run(firsts[f].vector == 3 ? " second by trap" : " second");
        tss.esp0 = TRAP_TOP;
        ring1_handlers(0);
        idt[firsts[f].vector] = before;
        reset_descriptors();
      }
}

void exceptions32(void) {
  ring0_stack = TRAP_TOP;
  for (int on = 0; on < 2; on++) {
    put(on ? "with paging\n" : "without paging\n");
    set_paging(on ? PAGING_NARROW : PAGING_OFF);
    simple(PROTECTED);
    in_32_bits();
    if (on) page_faults();
    if (!on || is_full) segments();
    through_gates();
    stacks();
    rings();
    table_limit();
    pairs();
  }
  set_paging(PAGING_OFF);
  put("real mode\n");
  simple(REAL);
  for (int on = 0; on < 2; on++) {
    put(on ? "virtual-8086 mode with paging\n" : "virtual-8086 mode\n");
    set_paging(on ? PAGING_NARROW : PAGING_OFF);
    simple(1u << V86);
  }
  set_paging(PAGING_OFF);
}
