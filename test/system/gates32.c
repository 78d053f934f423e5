/* Far transfers of 32-bit kernels: JMP, CALL and RET, call gates of 16 and 32 bits with parameters, IRET. */
#include "kernel32.h"

SNIPPET(g_jump, "ljmp *(%edi)");
SNIPPET(g_call, "lcall *(%edi)");
SNIPPET(g_jump16, "ljmpw *(%edi)");
SNIPPET(g_call16, "lcallw *(%edi)");
SNIPPET(g_jump_immediate, "ljmp $0x80, $0x1234");
SNIPPET(g_call_immediate, "lcall $0xa3, $0x1234");
/* Registers as an SS:ESP, an EFLAGS and a CS:EIP. */
SNIPPET(g_ret, "push %ecx\npush %eax\npush %esi\npush %edi\nlret $8");
SNIPPET(g_ret_outer, "push %ecx\npush %eax\npush %edx\npush %edx\npush %esi\npush %edi\nlret $8");
SNIPPET(g_retw_outer, "pushw %cx\npushw %ax\npushw %dx\npushw %dx\npushw %si\npushw %di\nlretw $4");
SNIPPET(g_iret, "push %ecx\npush %eax\npush %edx\npush %esi\npush %edi\niret");
SNIPPET(g_iretw, "pushw %cx\npushw %ax\npushw %dx\npushw %si\npushw %di\niretw");
/* What a transfer leads to; the same bytes for 16-bit code. */
SNIPPET(g_target, "mov %cs, %eax\nmov %ss, %ecx\nmov %esp, %edx\nmov %ds, %ebx");
SNIPPET(g_back, "mov %ss, %ecx\nmov %cs, %ebx\nlret");
SNIPPET(g_back12, "mov %ss, %ecx\nmov %cs, %ebx\nlret $12");
SNIPPET(g_backw, "mov %ss, %ecx\nmov %cs, %ebx\nlretw");
SNIPPET(g_backw6, "mov %ss, %ecx\nmov %cs, %ebx\nlretw $6");

/* Segments that begin 0x100 in front of the code they are for, so that 16-bit gates reach it. */
enum { CODE_0 = FREE + 8, CODE_1 = FREE + 16, CODE_3 = FREE + 24, CONFORMING_0 = FREE + 32, CONFORMING_3 = FREE + 40, NARROW_0 = FREE + 48, ABSENT_0 = FREE + 56, LONG_0 = FREE + 64, STACK = FREE + 72 };
static void set_targets(const char *code) {
  static const u16 attributes[] = { 0xc09b, 0xc0bb, 0xc0fb, 0xc09f, 0xc0ff, 0x809b, 0xc01b, 0xa09b };
  for (int i = 0; i < 8; i++) gdt[CODE_0 / 8 + i] = descriptor((u32)code - 0x100, 0xfffff, attributes[i]);
}
static u8 pointer[8] __attribute__((aligned(8)));
static void set_pointer(u32 target, u16 selector, int size) {
  for (int i = 0; i < size; i++) pointer[i] = target >> (8 * i);
  pointer[size] = selector;
  pointer[size + 1] = selector >> 8;
}

/* A privilege and a width: where a case starts. */
static const struct { const char *name; enum context context; int ring; } starts[] = {
  { "k32", K32, 0 }, { "u32", U32, 3 }, { "p1", K32, 1 }, { "p2", K32, 2 },
};
enum { STARTS = 4 };
static void start(int s, const char *code) {
  prepare(starts[s].context, code);
  if (starts[s].ring == 1) in.cs = CODE1, in.ss = in.ds = in.es = DATA1;
  if (starts[s].ring == 2) in.cs = CODE2, in.ss = in.ds = in.es = DATA2;
  in.gpr[ESP] -= 512;
  for (u32 i = 0; i < 128; i++) ((u32 *)in.gpr[ESP])[i] = 0xabcd0000 + i * 0x10001;
  in.gpr[EDI] = (u32)pointer;
}
static void put_start(int s) {
  put(starts[s].name);
  put(" ");
}
/* What lies on the stack where the target found itself: EDX is its stack pointer. */
static void put_found(void) {
  u32 at = out.gpr[EDX];
  if (out.vector != DONE || at < 0x100000 || at > 0x4000000) return;
  put("  stack");
  u32 end = at > (u32)ring_stacks && at <= (u32)ring_stacks + sizeof ring_stacks ? (at | 0xfff) + 1 : at > (u32)trap_stack && at < TRAP_TOP ? TRAP_TOP : at + 16;
  field("size", end - at);
  u32 sum = 0;
  for (int i = 0; at < end; at += 2, i++) {
    if (i < 24) field("", *(u16 *)at);
    sum = sum * 31 + *(u16 *)at;
  }
  field("sum", sum);
  end_line();
}
static void far(unsigned mask, const char *name, const char *code, u32 target, u16 selector, int size) {
  for (int s = 0; s < STARTS; s++) {
    if (!(mask & 1u << s)) continue;
    start(s, code);
    set_pointer(target, selector, size);
    put_start(s);
    run(name);
  }
}

static void direct(void) {
  static const u16 selectors[] = {
    0, 3, KCODE, KCODE | 3, UCODE, UCODE & ~3, CODE1, CODE1 & ~3, CODE2, CODE_0, CODE_0 | 3, CODE_1 | 1, CODE_3 | 3, CODE_3, CONFORMING_0, CONFORMING_0 | 3, CONFORMING_3, CONFORMING_3 | 3, NARROW_0,
    ABSENT_0, LONG_0, KDATA, LDT, 0xf8, 0x100, 4, 0x0c,
  };
  set_targets(g_target);
  ldt[1] = gdt[CODE_0 / 8];
  for (unsigned i = 0; i < sizeof selectors / 2; i++) {
    put("to");
    field("", selectors[i]);
    end_line();
    int based = selectors[i] >= CODE_0 || selectors[i] == 0x0c;
    u32 to = based ? 0x100 : (u32)g_target;
    far(0xf, "jmp", g_jump, to, selectors[i], 4);
    far(0xf, "call", g_call, to, selectors[i], 4);
    if (!based) continue;
    far(0x3, "jmp 16", g_jump16, to, selectors[i], 2);
    far(0x3, "call 16", g_call16, to, selectors[i], 2);
  }
  case_everywhere(PROTECTED, "jmp immediate", g_jump_immediate);
  case_everywhere(PROTECTED, "call immediate", g_call_immediate);
  ldt[1] = 0;
}

static void through_gates(void) {
  static const struct { const char *name; u16 selector, attributes; } kinds[] = {
    { "to 0", CODE_0, 0xec00 }, { "to 0, rpl 3", CODE_0 | 3, 0xec00 }, { "to 1", CODE_1, 0xec00 }, { "to 3", CODE_3, 0xec00 }, { "to conforming 0", CONFORMING_0, 0xec00 }, { "to conforming 3", CONFORMING_3, 0xec00 },
    { "to 16-bit code", NARROW_0, 0xec00 }, { "to absent", ABSENT_0, 0xec00 }, { "to long", LONG_0, 0xec00 }, { "to data", KDATA, 0xec00 }, { "to null", 0, 0xec00 }, { "to null, rpl 3", 3, 0xec00 },
    { "beyond GDT", 0x108, 0xec00 }, { "to a gate", FREE, 0xec00 }, { "dpl 0", CODE_0, 0x8c00 }, { "dpl 1", CODE_0, 0xac00 }, { "dpl 2", CODE_1, 0xcc00 }, { "absent gate", CODE_0, 0x6c00 },
    { "absent, dpl 0", CODE_0, 0x0c00 }, { "LDT", 0x0c, 0xec00 },
  };
  for (int narrow = 0; narrow < 2; narrow++)
    for (unsigned i = 0; i < sizeof kinds / sizeof *kinds; i++) {
      put(narrow ? "16-bit gate " : "32-bit gate ");
      put(kinds[i].name);
      put("\n");
      for (int rpl = 0; rpl < 4; rpl += 3)
        for (int way = 0; way < 2; way++)
          for (int s = 0; s < STARTS; s++) {
            reset_descriptors();
            set_targets(g_target);
            ldt[1] = gdt[CODE_0 / 8];
            gdt[FREE / 8] = gate(0x100, kinds[i].selector, kinds[i].attributes & ~(narrow ? 0x800 : 0)) & (narrow ? 0x0000ffffffffffffull : ~0ull);
            start(s, way ? g_call : g_jump);
            set_pointer(0x87654321, FREE | rpl, 4);
            put_start(s);
            field("rpl", rpl);
            run(way ? " call" : " jmp");
            put_found();
          }
    }
}

static void parameters(void) {
  static const u8 counts[] = { 0, 1, 2, 3, 4, 7, 16, 31 };
  for (int narrow = 0; narrow < 2; narrow++)
    for (int inner = 0; inner < 2; inner++)
      for (unsigned i = 0; i < sizeof counts; i++)
        for (int s = 1; s < STARTS; s++) {
          reset_descriptors();
          set_targets(g_target);
          gdt[FREE / 8] = gate(0x100, inner ? CODE_1 : CODE_0, (narrow ? 0xe400 : 0xec00) | counts[i]);
          start(s, g_call);
          set_pointer(0x1234, FREE | 3, 4);
          put_start(s);
          field(narrow ? "16-bit parameters" : "parameters", counts[i]);
          run(inner ? " to 1" : " to 0");
          put_found();
        }
  /* There and back. */
  static const struct { const char *name; const char *code; int narrow, count; } backs[] = {
    { "lret", g_back, 0, 0 }, { "lret 12", g_back12, 0, 3 }, { "lret of parameters that stay", g_back, 0, 2 }, { "lretw", g_backw, 1, 0 }, { "lretw 6", g_backw6, 1, 3 },
  };
  for (unsigned i = 0; i < 5; i++)
    for (int inner = 0; inner < 2; inner++)
      for (int c = 1; c < R16; c += 2)
        for (int with_data = 0; with_data < 2; with_data++) {
          /* 16 bits of the return address do not lead back to 32-bit code here. */
          if (backs[i].narrow && c == U32) continue;
          reset_descriptors();
          set_targets(backs[i].code);
          gdt[FREE / 8] = gate(0x100, inner ? CODE_1 : CODE_0, (backs[i].narrow ? 0xe400 : 0xec00) | backs[i].count);
          /* In 16-bit code the same bytes address by BX, in 32-bit code by EDI. */
          static const u8 call16[] = { 0x9a, 0x34, 0x12, FREE | 3, 0, 0xcd, 0x81 }, call32[] = { 0x9a, 0x34, 0x12, 0, 0, FREE | 3, 0, 0xcd, 0x81 };
          static u8 code[16];
          for (int k = 0; k < 9; k++) code[k] = c == U16 ? (k < 7 ? call16[k] : 0x90) : call32[k];
          prepare(c, code);
          in.gpr[ESP] -= 256;
          /* A segment for all privileges stays, the null ones and those of users do. */
          in.fs = CONFORMING;
          in.gs = with_data ? UDATA : 0;
          in.eflags = 0x3246;
          put(context_names[c]);
          field("inner", inner);
          put(" ");
          run(backs[i].name);
        }
  /* A caller's limit, and that of the stack inside: QEMU does not look. */
  if (is_tcg) return;
  static const struct { u32 outer, inner, count, must; } limits[] = {
    { 0x1000, 0x1000, 0, DONE << 16 }, { 0x1000, 0x1000, 1, 12 << 16 }, { 0x100, 0x1000, 4, DONE << 16 }, { 0x0ff0, 0x1000, 5, 12 << 16 }, { 0x0ff0, 0x1000, 4, DONE << 16 },
    { 0x800, 0x1001, 4, 12 << 16 | STACK }, { 0x800, 28, 4, 12 << 16 | STACK }, { 0x800, 12, 0, 12 << 16 | STACK }, { 0x800, 31, 4, 12 << 16 | STACK },
  };
  for (unsigned i = 0; i < sizeof limits / sizeof *limits; i++) {
    reset_descriptors();
    set_targets(g_target);
    gdt[STACK / 8] = descriptor((u32)trap_stack, 0xfff, 0x4093);
    gdt[STACK / 8 + 1] = descriptor((u32)test_stack, 0xfff, 0x40f3);
    gdt[FREE / 8] = gate(0x100, CODE_0, 0xec00 | limits[i].count);
    start(1, g_call);
    set_pointer(0x1234, FREE | 3, 4);
    in.ss = (STACK + 8) | 3;
    in.gpr[ESP] = limits[i].outer;
    /* What reports it needs a stack of its own: privilege 1 has a gate of its own for #SS. */
    tss.ss0 = STACK;
    tss.esp0 = limits[i].inner;
    extern char gate_fault[];
    set_gate(12, (u32)gate_fault, CODE1, 0x8e00);
    run_quietly();
    u32 is = out.vector == 0x82 ? 12 << 16 | out.gpr[EAX] : out.vector << 16;
    manual("limits of parameters", i, is, limits[i].must);
    reset_descriptors();
  }
}
__asm__(".pushsection .text\n.globl gate_fault\ngate_fault:\nmov $0x89, %eax\nmov %eax, %ds\nmovl $0x10, tss + 8\nmovl $trap_stack + 8192, tss + 4\npop %eax\nint $0x82\n.popsection");

/* The stack for a call gate, wrong in every way. */
static void inner_stacks(void) {
  static const struct { const char *name; u16 ss; u32 attributes; } kinds[] = {
    { "good", STACK | 1, 0xc0b3 }, { "not accessed", STACK | 1, 0xc0b2 }, { "null", 0, 0 }, { "null, rpl 1", 1, 0 }, { "beyond GDT", 0x109, 0 }, { "rpl 0", STACK, 0xc0b3 }, { "rpl 3", STACK | 3, 0xc0b3 },
    { "dpl 0", STACK | 1, 0xc093 }, { "dpl 3", STACK | 1, 0xc0f3 }, { "read-only", STACK | 1, 0xc0b1 }, { "code", STACK | 1, 0xc0bb }, { "system", STACK | 1, 0x00a9 }, { "not present", STACK | 1, 0xc033 },
    { "16-bit", STACK | 1, 0x80b3 }, { "LDT", 0x0d, 0xc0b3 },
  };
  for (int narrow = 0; narrow < 2; narrow++)
    for (unsigned i = 0; i < sizeof kinds / sizeof *kinds; i++) {
      reset_descriptors();
      set_targets(g_target);
      gdt[FREE / 8] = gate(0x100, CODE_1, (narrow ? 0xe400 : 0xec00) | 2);
      u32 base = kinds[i].attributes == 0x80b3 ? (u32)ring_stacks & 0xffff0000 : 0;
      gdt[STACK / 8] = ldt[1] = descriptor(base, 0xfffff, kinds[i].attributes);
      tss.ss1 = kinds[i].ss;
      start(1, g_call);
      set_pointer(0x1234, FREE | 3, 4);
      put(narrow ? "16-bit gate, " : "32-bit gate, ");
      run(kinds[i].name);
      /* QEMU leaves the accessed bit as it was. */
      if (kinds[i].ss == (STACK | 1)) manual("descriptor of the stack", i, gdt[STACK / 8] >> 40 & 0xff, (kinds[i].attributes & 0xff) | (out.vector == DONE));
    }
  for (u32 limit = 15; limit <= 20; limit++) {
    reset_descriptors();
    set_targets(g_target);
    gdt[FREE / 8] = gate(0x100, CODE_1, 0xec00);
    gdt[TSS / 8] = descriptor((u32)&tss, limit, 0x0089);
    __asm__ volatile("ltr %0" : : "r"((u16)TSS));
    start(1, g_call);
    set_pointer(0x1234, FREE | 3, 4);
    run_quietly();
    manual("TSS limit", limit, out.vector << 16 | (out.vector == 10 ? out.error : 0), limit < 17 ? 10 << 16 | TSS : DONE << 16);
  }
  reset_descriptors();
  __asm__ volatile("ltr %0" : : "r"((u16)TSS));
  /* By the 16-bit task state. */
  for (int narrow = 0; narrow < 2; narrow++) {
    set_targets(g_target);
    gdt[STACK / 8] = descriptor((u32)ring_stacks & 0xffff0000, 0xffff, 0x00b3);
    tss_16.ss0 = KSTACK16;
    tss_16.sp0 = 0x1000;
    tss_16.ss1 = STACK | 1;
    tss_16.sp1 = ((u32)ring_stacks & 0xffff) + 0x2000;
    gdt[FREE / 8] = gate(0x100, CODE_1, (narrow ? 0xe400 : 0xec00) | 2);
    __asm__ volatile("ltr %0" : : "r"((u16)TSS16));
    start(1, g_call);
    set_pointer(0x1234, FREE | 3, 4);
    run(narrow ? "16-bit TSS, 16-bit gate" : "16-bit TSS, 32-bit gate");
    reset_descriptors();
  }
  __asm__ volatile("ltr %0" : : "r"((u16)TSS));
}

static void returns(void) {
  static const struct { const char *name; const char *code; } ways[] = {
    { "lret", g_ret }, { "lret outer", g_ret_outer }, { "lretw outer", g_retw_outer }, { "iret", g_iret }, { "iretw", g_iretw },
  };
  static const u16 selectors[] = {
    0, 3, KCODE, KCODE | 3, UCODE, UCODE & ~3, CODE1, CODE2, CODE1 & ~3, CODE_0, CODE_1 | 1, CODE_3 | 3, CONFORMING_0, CONFORMING_0 | 3, CONFORMING_3 | 3, CONFORMING_3, ABSENT_0, NARROW_0, KDATA, TSS, 0x100, 0x0c, 0x0f, FREE | 3,
  };
  static const u16 stacks[] = { UDATA, DATA1, DATA2, KDATA, 0, 3, UCODE, 0x103, STACK | 3 };
  set_targets(g_target);
  ldt[1] = descriptor((u32)g_target - 0x100, 0xfffff, 0xc0fb);
  for (unsigned i = 0; i < sizeof selectors / 2; i++) {
    put("to");
    field("", selectors[i]);
    end_line();
    for (int way = 0; way < 5; way++)
      for (int s = 0; s < STARTS; s++)
        for (int k = 0; k < (way == 0 ? 1 : is_full ? 9 : 3); k++) {
          int ring = selectors[i] & 3;
          u16 ss = k ? stacks[k == 1 && !is_full ? (i + way + s) % 9 : k - 1] : ring == 3 ? UDATA : ring == 2 ? DATA2 : ring == 1 ? DATA1 : KDATA;
          gdt[STACK / 8] = descriptor(0, 0xfffff, 0xc073);
          int based = selectors[i] >= CODE_0 || selectors[i] == 0x0c || selectors[i] == 0x0f;
          start(s, ways[way].code);
          in.gpr[EDI] = based ? 0x100 : (u32)g_target;
          in.gpr[ESI] = selectors[i];
          in.gpr[EAX] = way == 2 || way == 4 ? 0x8000 : STACK_TOP - 1024;
          in.gpr[ECX] = ss;
          in.gpr[EDX] = 0x3006;
          in.fs = UDATA;
          in.gs = CONFORMING;
          /* With 16 bits the target is where its segment begins. */
          if ((way == 2 || way == 4) && !based) in.gpr[EDI] = 0x1234;
          if ((way == 2 || way == 4) && !based && ((selectors[i] & ~3) == KCODE || (selectors[i] & ~7) == (UCODE & ~7) || (selectors[i] & ~7) == (CODE1 & ~7) || (selectors[i] & ~7) == (CODE2 & ~7))) {
            continue;
          }
          put_start(s);
          field("ss", ss);
          put(" ");
          run(ways[way].name);
        }
  }
  ldt[1] = 0;
  /* A 16-bit stack outside: the upper half of ESP stays what it was. */
  reset_descriptors();
  set_targets(g_target);
  static const char *const codes[] = { g_iret, g_ret_outer };
  for (int way = 0; way < 2; way++) {
    start(0, codes[way]);
    in.gpr[EDI] = (u32)g_target;
    in.gpr[ESI] = UCODE;
    in.gpr[EAX] = 0x12341000;
    in.gpr[ECX] = USTACK16;
    in.gpr[EDX] = 2;
    run(way ? "lret to a 16-bit stack" : "iret to a 16-bit stack");
  }
}

/* Which EFLAGS bits IRET and POPF may change. */
SNIPPET(g_popf, "push %edx\npopf\npushf\npop %eax");
SNIPPET(g_popfw, "pushw %dx\npopfw\npushf\npop %eax");
static void flags(void) {
  static const u32 values[] = { 0x3fbfff & ~0x20100u, 0, 0x3000, 0x200, 0x40000, 0x200000, 0x10000, 0x180000, 0xffc00ed7 };
  static const struct { const char *name; const char *code; } ways[] = { { "popf", g_popf }, { "popfw", g_popfw }, { "iret", g_iret }, { "iretw", g_iretw } };
  for (int iopl = 0; iopl < 4; iopl++)
    for (unsigned i = 0; i < sizeof values / 4; i++)
      for (int way = 0; way < 4; way++)
        for (int s = 0; s < STARTS; s++) {
          reset_descriptors();
          set_targets(g_target);
          start(s, ways[way].code);
          in.eflags |= iopl << 12 | (i & 1 ? 0x200 : 0);
          in.gpr[EDX] = values[i];
          u16 same = starts[s].ring == 0 ? CODE_0 : starts[s].ring == 1 ? CODE_1 | 1 : CODE_3 | 3;
          if (way >= 2 && starts[s].ring == 2) {
            continue;
          }
          if (way >= 2) {
            in.gpr[EDI] = 0x100;
            in.gpr[ESI] = same;
            in.gpr[EAX] = STACK_TOP - 1024;
            in.gpr[ECX] = in.ss;
          }
          put_start(s);
          field("iopl", iopl);
          field("value", values[i]);
          put(" ");
          run(ways[way].name);
        }
}

/* What is checked before a task switch. The switch itself is not here: Domus does not have it. */
SNIPPET(g_int, "int $0x80");
static void tasks(void) {
  static const struct { const char *name; u32 limit, attributes; } kinds[] = {
    { "busy", 103, 0x8b }, { "absent", 103, 0x09 }, { "absent, for all", 103, 0x69 }, { "16-bit, busy", 43, 0x83 }, { "16-bit, absent", 43, 0x01 }, { "ldt", 103, 0xe2 }, { "data", 103, 0xf3 }, { "null", 0, 0 },
  };
  for (unsigned i = 0; i < sizeof kinds / sizeof *kinds; i++)
    for (int way = 0; way < 2; way++) {
      put(kinds[i].name);
      put("\n");
      for (int kind = 0; kind < 4; kind++) {
        gdt[FREE / 8] = descriptor((u32)&tss, kinds[i].limit, kinds[i].attributes);
        gdt[FREE / 8 + 1] = gate(0, kind == 3 ? 0x0c : FREE, kind == 2 ? 0x0500 : kind == 3 ? 0xe500 : 0xe500);
        if (kind == 0) far(0xf, way ? "call to a task" : "jmp to a task", way ? g_call : g_jump, 0, FREE | 3, 4);
        else far(0xf, way ? "call by a task gate" : "jmp by a task gate", way ? g_call : g_jump, 0, (FREE + 8) | (kind == 3 ? 3 : 0), 4);
        if (kind == 0 || way) continue;
        idt[0x80] = gdt[FREE / 8 + 1];
        for (int s = 0; s < STARTS; s++) {
          start(s, g_int);
          put_start(s);
          run("int by a task gate");
        }
        reset_descriptors();
      }
    }
  /* Not for users, and not for those who ask with too little. */
  gdt[FREE / 8] = descriptor((u32)&tss, 103, 0x89);
  far(0xe, "jmp to the kernel's task", g_jump, 0, FREE, 4);
  far(0xf, "jmp to a task, rpl 3", g_jump, 0, FREE | 3, 4);
  /* NT: the task state names no task to go back to. */
  static const u16 links[] = { 0, FREE, 0x0c, 0x104, KDATA };
  for (int i = 0; i < 5; i++)
    for (int s = 0; s < STARTS; s++) {
      SNIPPET(g_nested, "pushf\norl $0x4000, (%esp)\npopf\niret");
      tss.link = links[i];
      start(s, g_nested);
      field("link", links[i]);
      put(" ");
      put_start(s);
      run("iret with NT");
    }
  tss.link = 0;
  reset_descriptors();
}

void gates32(void) {
  direct();
  reset_descriptors();
  through_gates();
  parameters();
  reset_descriptors();
  inner_stacks();
  reset_descriptors();
  returns();
  reset_descriptors();
  flags();
  reset_descriptors();
  tasks();
}
