/* Every exception: vector, error code, saved RIP, and the state the handler starts in. */
#include "kernel.h"

SNIPPET(x_de, "xor %eax, %eax\nxor %edx,%edx\nxor %ecx, %ecx\ndiv %ecx");
SNIPPET(x_de_quotient, "mov $-1, %edx\nmov $2, %ecx\ndiv %ecx");
SNIPPET(x_int3, "nop\nint3");
SNIPPET(x_int1, "nop\n.byte 0xf1");
SNIPPET(x_int_3_long, "nop\n.byte 0xcd, 3");
SNIPPET(x_int_13, "int $13");
SNIPPET(x_int_8, "int $8");
SNIPPET(x_int_80, "int $0x80");
SNIPPET(x_int_90, "int $0x90");
SNIPPET(x_ud2, "nop\nud2");
SNIPPET(x_into, "mov $0x7f, %al\nadd $1, %al\n.byte 0xce");
SNIPPET(x_lock_nop, "lock; nop");
SNIPPET(x_long_instruction, ".fill 15, 1, 0x66\nnop");
SNIPPET(x_15_bytes, ".fill 14, 1, 0x66\nnop");
SNIPPET32(x_bound, "mov $0x7fffffff, %eax\nsub $8, %esp\nmovl $0, (%esp)\nmovl $5, 4(%esp)\nbound %eax, (%esp)");
SNIPPET32(x_bound_good, "mov $3, %eax\nsub $8, %esp\nmovl $0, (%esp)\nmovl $5, 4(%esp)\nbound %eax, (%esp)");
SNIPPET(x_fld, "fld1");
SNIPPET(x_sse, "pxor %xmm0, %xmm0");
SNIPPET(x_wait, "fwait");
SNIPPET(x_mf, "fninit\nsub $8, %rsp\nmovw $0x37b, (%rsp)\nfldcw (%rsp)\nfld1\nfldz\nfdivrp\nnop\nfwait\nnop");
SNIPPET(x_mf_next, "fninit\nsub $8, %rsp\nmovw $0x37b, (%rsp)\nfldcw (%rsp)\nfld1\nfldz\nfdivrp\nnop\nfld1\nnop");
SNIPPET(x_mf_quiet, "fninit\nsub $8, %rsp\nmovw $0x37b, (%rsp)\nfldcw (%rsp)\nfld1\nfldz\nfdivrp\nfnstsw %ax\nfninit");
SNIPPET(x_xm, "sub $8, %rsp\nmovl $0x1d80, (%rsp)\nldmxcsr (%rsp)\nmov $0x3f800000, %eax\nmovd %eax, %xmm0\npxor %xmm1, %xmm1\n"
              "divss %xmm1, %xmm0\nnop");
SNIPPET(x_misaligned_sse, "movaps 1(%rsp), %xmm0");
SNIPPET(x_ac, "mov 1(%rsp), %eax");
SNIPPET(x_ac_set, "pushfq\norl $0x40000, (%rsp)\npopfq\nmov -7(%rsp), %eax");
SNIPPET(x_ac_set32, "pushfq\norl $0x40000, (%rsp)\npopfq\nmov -8(%rsp), %eax");
SNIPPET(x_tf, "pushfq\norl $0x100, (%rsp)\npopfq\nnop\nnop");
SNIPPET(x_noncanonical_read, "mov $0x8000000000000000, %rbx\nmov (%rbx), %eax");
SNIPPET(x_noncanonical_write, "mov $0x800000000000, %rbx\nmov %eax, (%rbx)");
SNIPPET(x_noncanonical_edge, "mov $0x7ffffffffffd, %rbx\nmov (%rbx), %rax");
SNIPPET(x_noncanonical_stack, "mov $0x800000000000, %rbp\nmov (%rbp), %eax");
SNIPPET(x_noncanonical_rsp, "mov (%rsp), %rax\nmov $0x900000000000, %rsp\nmov (%rsp), %rax");
SNIPPET(x_noncanonical_push, "mov $0x900000000000, %rsp\npush %rax");
SNIPPET(x_noncanonical_jump, "mov $0x900000000000, %rax\njmp *%rax");
SNIPPET(x_noncanonical_call, "mov $0x900000000000, %rax\ncall *%rax");
SNIPPET(x_noncanonical_ret, "mov $0x900000000000, %rax\npush %rax\nret");
SNIPPET(x_wrap_read, "mov $-4, %rbx\nmov (%rbx), %rax");
SNIPPET(x_pf_read, "mov $0x20000000, %ebx\nmov (%rbx), %eax");
SNIPPET(x_pf_write, "mov $0x20000010, %ebx\nmov %eax, (%rbx)");
SNIPPET(x_pf_rmw, "mov $0x20000020, %ebx\nadd %eax, (%rbx)");
SNIPPET(x_pf_xchg, "mov $0x20000020, %ebx\nxchg %eax, (%rbx)");
SNIPPET(x_pf_cmpxchg, "mov $0x20000020, %ebx\ncmpxchg %eax, (%rbx)");
SNIPPET(x_pf_jump, "mov $0x20000030, %ebx\njmp *%rbx");
SNIPPET(x_pf_push, "mov $0x20000040, %esp\npush %rax");
SNIPPET(x_pf_rep_movs, "lea 64(%rsp), %esi\nmov $test_stack + 4096, %esi\nmov %ds, %ax\ntest $3, %al\njz 1f\nadd $0x40000000, %esi\n1: mov $0x20000000, %edi\nmov $9, %ecx\nrep movsb");
SNIPPET(x_gp_segment, "mov $0x170, %eax\nmov %eax, %ds");
SNIPPET(x_gp_code_ds, "mov $0x48, %eax\nmov %eax, %ds");
SNIPPET(x_gp_tss_ds, "mov $0x50, %eax\nmov %eax, %ds");
SNIPPET(x_null_ss, "xor %eax, %eax\nmov %eax, %ss");
SNIPPET(x_null_ss3, "mov $3, %eax\nmov %eax, %ss");
SNIPPET(x_kernel_ds, "mov $0x10, %eax\nmov %eax, %ds");
SNIPPET(x_null_ds, "xor %eax, %eax\nmov %eax, %ds\nmov %ds, %eax");
SNIPPET(x_load_free_ds, "mov $0x70, %eax\nmov %eax, %ds");
SNIPPET(x_load_free_ss, "mov $0x70, %eax\nmov %eax, %ss");
SNIPPET(x_load_free_ss3, "mov $0x73, %eax\nmov %eax, %ss");
SNIPPET(x_load_free_fs3, "mov $0x73, %eax\nmov %eax, %fs\nmov %fs, %ebx");
SNIPPET(x_load_ldt, "mov $0x0f, %eax\nmov %eax, %ds\nmov %ds, %ebx");
SNIPPET(x_load_not_present, "mov %cs, %eax\nand $3, %eax\nlea 0x70(%rax,%rax), %eax\nand $~7, %eax\nmov %cs, %ecx\nand $3, %ecx\ntest %ecx, %ecx\njz 1f\nmov $0x7b, %eax\n1: mov %eax, %ss");
SNIPPET(x_bad_rsp, "mov $0x20001000, %esp\nud2");
SNIPPET(x_cli, "cli");
SNIPPET(x_popf, "push $0x3300\nxor %eax, %eax\npopfq");
SNIPPET(x_icebp_tf, "pushfq\norl $0x100, (%rsp)\npopfq\nud2");
SNIPPET(x_tf_int, "pushfq\norl $0x100, (%rsp)\npopfq\nint $0x82");
SNIPPET(x_tf_syscall, "pushfq\norl $0x100, (%rsp)\npopfq\nmov %ss, %eax\nmov %eax, %ss\nnop\nnop");
SNIPPET(x_tf_rep, "pushfq\norl $0x100, (%rsp)\nmov $4, %ecx\nlea -64(%rsp), %rdi\npopfq\nrep stosb");
SNIPPET(x_tf_fault, "pushfq\norl $0x100, (%rsp)\nmov $0x20000000, %ebx\npopfq\nmov (%rbx), %eax");
SNIPPET(x_tf_popf_clear, "pushfq\npushfq\norl $0x100, (%rsp)\npopfq\npopfq\nnop");

static void simple(void) {
  case_everywhere(ALL, "div by zero", x_de);
  case_everywhere(ALL, "div overflow", x_de_quotient);
  case_everywhere(ALL, "int3", x_int3);
  case_everywhere(ALL, "int1", x_int1);
  case_everywhere(ALL, "int 3, two bytes", x_int_3_long);
  case_everywhere(USERS, "int 13", x_int_13);
  case_everywhere(USERS, "int 8", x_int_8);
  case_everywhere(ALL, "int 0x80", x_int_80);
  case_everywhere(ALL, "int 0x90", x_int_90);
  case_everywhere(ALL, "ud2", x_ud2);
  case_everywhere(ALL, "into", x_into);
  case_everywhere(ALL, "lock nop", x_lock_nop);
  case_everywhere(ALL, "16-byte instruction", x_long_instruction);
  case_everywhere(ALL, "15-byte instruction", x_15_bytes);
  case_everywhere(NARROW, "bound", x_bound);
  case_everywhere(NARROW, "bound in range", x_bound_good);
  case_everywhere(WIDE, "bound opcode", x_bound);
  for (int bit = 1; bit <= 3; bit++) {
    u64 before = cr0();
    set_cr0((before & ~0xeull) | 1ull << bit);
    put(bit == 1 ? "MP\n" : bit == 2 ? "EM\n" : "TS\n");
    case_everywhere(ALL, "fld1", x_fld);
    case_everywhere(ALL, "pxor", x_sse);
    case_everywhere(ALL, "fwait", x_wait);
    set_cr0((before & ~0xeull) | 2 | 1ull << bit);
    case_everywhere(WIDE, "fwait, MP", x_wait);
    set_cr0(before);
  }
  u64 flags = cr4();
  set_cr4(flags & ~0x200ull);
  case_everywhere(ALL, "pxor without OSFXSR", x_sse);
  set_cr4(flags);
  case_everywhere(WIDE, "#MF at fwait", x_mf);
  __asm__ volatile("fninit");
  case_everywhere(WIDE, "#MF at next", x_mf_next);
  __asm__ volatile("fninit");
  case_everywhere(WIDE, "#MF avoided", x_mf_quiet);
  case_everywhere(WIDE, "#XM", x_xm);
  set_cr4(flags & ~0x400ull);
  case_everywhere(WIDE, "#XM without OSXMMEXCPT", x_xm);
  set_cr4(flags);
  u32 mxcsr = 0x1f80;
  __asm__ volatile("ldmxcsr %0" : : "m"(mxcsr));
  case_everywhere(WIDE, "movaps misaligned", x_misaligned_sse);
  case_everywhere(WIDE, "misaligned, AC clear", x_ac);
  case_everywhere(WIDE, "misaligned, AC, AM clear", x_ac_set);
  set_cr0(cr0() | 0x40000);
  case_everywhere(WIDE, "misaligned, AC clear, AM", x_ac);
  case_everywhere(WIDE, "misaligned, AC, AM", x_ac_set);
  case_everywhere(WIDE, "aligned, AC, AM", x_ac_set32);
  set_cr0(cr0() & ~0x40000ull);
}

static void addresses(void) {
  case_everywhere(WIDE, "non-canonical read", x_noncanonical_read);
  case_everywhere(WIDE, "non-canonical write", x_noncanonical_write);
  case_everywhere(WIDE, "read over the canonical edge", x_noncanonical_edge);
  case_everywhere(WIDE, "non-canonical rbp", x_noncanonical_stack);
  case_everywhere(1u << U64, "non-canonical rsp", x_noncanonical_rsp);
  case_everywhere(1u << U64, "non-canonical push", x_noncanonical_push);
  case_everywhere(WIDE, "non-canonical jump", x_noncanonical_jump);
  case_everywhere(WIDE, "non-canonical call", x_noncanonical_call);
  case_everywhere(WIDE, "non-canonical ret", x_noncanonical_ret);
  case_everywhere(WIDE, "read over the top", x_wrap_read);
  case_everywhere(FLAT, "#PF read", x_pf_read);
  case_everywhere(FLAT, "#PF write", x_pf_write);
  case_everywhere(FLAT, "#PF rmw", x_pf_rmw);
  case_everywhere(FLAT, "#PF xchg", x_pf_xchg);
  case_everywhere(FLAT, "#PF cmpxchg", x_pf_cmpxchg);
  case_everywhere(FLAT, "#PF fetch", x_pf_jump);
  case_everywhere((1u << U64) | (1u << U32), "#PF push", x_pf_push);
  case_everywhere(FLAT, "#PF in rep movsb", x_pf_rep_movs);
}

static void segments(void) {
  case_everywhere(ALL, "selector beyond GDT", x_gp_segment);
  case_everywhere(FLAT, "conforming code into ds", x_gp_code_ds);
  case_everywhere(FLAT, "tss into ds", x_gp_tss_ds);
  case_everywhere(FLAT, "null ss", x_null_ss);
  case_everywhere(FLAT, "null ss rpl 3", x_null_ss3);
  case_everywhere(FLAT, "kernel ds", x_kernel_ds);
  case_everywhere(FLAT, "null ds", x_null_ds);
  static const struct { const char *name; u32 attributes; } kinds[] = {
    { "not present data3", 0xc073 }, { "not present data0", 0xc013 }, { "data0", 0xc093 }, { "data3", 0xc0f3 }, { "read-only3", 0xc0f1 },
    { "read-only0", 0xc091 }, { "execute-only3", 0xc0f9 }, { "readable code3", 0xc0fb }, { "conforming0", 0xc09f },
    { "not accessed3", 0xc0f2 }, { "data1", 0xc0b3 }, { "tss", 0x0089 }, { "call gate3", 0x00ec },
  };
  for (unsigned i = 0; i < sizeof kinds / sizeof *kinds; i++) {
    gdt[FREE / 8] = descriptor(0, 0xfffff, kinds[i].attributes);
    put(kinds[i].name);
    end_line();
    case_everywhere(FLAT, "into ds", x_load_free_ds);
    case_everywhere(FLAT, "into ss rpl 0", x_load_free_ss);
    case_everywhere(FLAT, "into ss rpl 3", x_load_free_ss3);
    case_everywhere(FLAT, "into fs rpl 3", x_load_free_fs3);
    field("descriptor", gdt[FREE / 8]);
    end_line();
  }
  gdt[FREE / 8] = 0;
  ldt[1] = descriptor(0, 0xfffff, 0xc0f3);
  case_everywhere(FLAT, "from LDT", x_load_ldt);
  ldt[1] = 0;
  case_everywhere(FLAT, "empty from LDT", x_load_ldt);
  __asm__ volatile("lldt %0" : : "r"((u16)0));
  case_everywhere(FLAT, "null LDT", x_load_ldt);
  gdt[LDT / 8] = descriptor((u32)(u64)ldt, 7, 0x0082);
  __asm__ volatile("lldt %0" : : "r"((u16)LDT));
  case_everywhere(FLAT, "beyond LDT", x_load_ldt);
  reset_descriptors();
  __asm__ volatile("lldt %0" : : "r"((u16)LDT));
}

static void gates(void) {
  static const struct { const char *name; u16 selector, attributes; } kinds[] = {
    { "not present gate", KCODE, 0x6e00 }, { "trap gate", KCODE, 0xef00 }, { "interrupt gate", KCODE, 0xee00 },
    { "16-bit gate", KCODE, 0xe600 }, { "task gate", KCODE, 0xe500 }, { "call gate", KCODE, 0xec00 },
    { "null selector", 0, 0xee00 }, { "selector beyond GDT", 0x300, 0xee00 }, { "data selector", KDATA, 0xee00 },
    { "compat code", KCODE32, 0xee00 }, { "user code", UCODE, 0xee00 }, { "tss selector", TSS, 0xee00 },
    { "not present code", FREE, 0xee00 }, { "conforming code", CONFORMING, 0xee00 }, { "rpl 3", KCODE | 3, 0xee00 },
    { "IST 1", KCODE, 0xee01 }, { "IST 2", KCODE, 0xee02 }, { "IST 7", KCODE, 0xef07 }, { "dpl 0", KCODE, 0x8e00 },
    { "LDT selector", 4, 0xee00 },
  };
  gdt[FREE / 8] = descriptor(0, 0xfffff, 0xa01b);
  for (unsigned i = 0; i < sizeof kinds / sizeof *kinds; i++) {
    set_gate(0x80, (u64)stubs + 16 * 0x80, kinds[i].selector, kinds[i].attributes);
    set_gate(6, (u64)stubs + 16 * 6, kinds[i].selector, kinds[i].attributes);
    put(kinds[i].name);
    end_line();
    for (int c = 0; c < CONTEXTS; c++) {
      prepare(c, x_int_80);
      in.rflags = 0x247702; /* IF, DF, TF off, NT off, IOPL 3, AC, ID */
      in.rflags &= ~0x4500ull;
      run(context_names[c]);
    }
    /* The conforming handler would run with the user's rights. */
    if (kinds[i].selector != CONFORMING) case_everywhere(FLAT, "by ud2", x_ud2);
  }
  reset_descriptors();
  set_gate(0x80, 0x900000000000, KCODE, 0xee00);
  case_everywhere(ALL, "non-canonical handler", x_int_80);
  set_gate(0x80, 0x20000000, KCODE, 0xee00);
  case_everywhere(ALL, "handler not mapped", x_int_80);
  reset_descriptors();
  u64 rsp0 = tss.rsp[0];
  tss.rsp[0] = 0x900000000000;
  case_everywhere(USERS, "non-canonical rsp0", x_int_80);
  tss.rsp[0] = 0x20000000;
  case_everywhere(USERS, "rsp0 not mapped", x_int_80);
  case_everywhere(USERS, "rsp0 not mapped, by ud2", x_ud2);
  tss.rsp[0] = rsp0 - 3;
  case_everywhere(USERS, "rsp0 misaligned", x_int_80);
  tss.rsp[0] = rsp0;
  prepare(K64, x_ud2);
  in.gpr[RSP] -= 5;
  run("k64 own stack misaligned");
  case_in(K64, "fault with a bad stack", x_bad_rsp);
  case_in(U64, "fault with a bad stack", x_bad_rsp);
  /* DONE needs the whole of vectors 0 to 0x81. */
  u16 limits[] = { 0x81 * 16 + 15, 0x90 * 16 - 1, 0x90 * 16, 0x90 * 16 + 14, 0x90 * 16 + 15 };
  struct { u16 limit; u64 base; } __attribute__((packed)) idtr = { 0, (u64)idt };
  for (unsigned i = 0; i < 5; i++) {
    idtr.limit = limits[i];
    __asm__ volatile("lidt %0" : : "m"(idtr));
    put("IDT limit");
    field("", limits[i]);
    end_line();
    case_everywhere(1u << K64, "int 0x90", x_int_90);
  }
  idtr.limit = 4095;
  __asm__ volatile("lidt %0" : : "m"(idtr));
  /* Every pair of a first and a second exception. */
  static const struct { const char *name; int vector; const char *code; } firsts[] = {
    { "#DE", 0, x_de }, { "#UD", 6, x_ud2 }, { "#GP", 13, x_gp_segment }, { "#PF", 14, x_pf_read }, { "#BP", 3, x_int3 }, { "#SS", 12, x_load_not_present },
    { "#AC", 17, 0 },
  };
  static const char *const seconds[] = { "#NP", "#GP", "#PF", "#SS" };
  gdt[FREE / 8] = descriptor(0, 0xfffff, 0xc013);
  gdt[FREE / 8 + 1] = descriptor(0, 0xfffff, 0xc073);
  for (unsigned f = 0; f < 6; f++) for (int s = 0; s < 4; s++) {
    put(firsts[f].name);
    put(" then ");
    put(seconds[s]);
    end_line();
    struct gate *gate = &idt[firsts[f].vector];
    struct gate before = *gate;
    if (s == 0) gate->attributes &= 0x7fff;
    if (s == 1) gate->selector = KDATA;
    if (s == 2) { gate->attributes |= 3; tss.ist[2] = 0x20000000; }
    if (s == 3) { gate->attributes |= 3; tss.ist[2] = 0x900000000000; }
    if (gate->attributes && firsts[f].vector == 3) gate->attributes |= 0x6000;
    case_everywhere(WIDE, firsts[f].vector == 3 ? "second by trap" : "second", firsts[f].code);
    *gate = before;
    tss.ist[2] = (u64)ist_stacks[3];
  }
}

static void stepping(void) {
  case_everywhere(FLAT & ~NARROW, "TF by popf", x_tf);
  case_everywhere(WIDE, "TF and ud2", x_icebp_tf);
  case_everywhere(WIDE, "TF and int", x_tf_int);
  case_everywhere(WIDE, "TF and mov ss", x_tf_syscall);
  case_everywhere(WIDE, "TF and rep stosb", x_tf_rep);
  case_everywhere(WIDE, "TF and fault", x_tf_fault);
  case_everywhere(WIDE, "TF cleared by popf", x_tf_popf_clear);
  for (int c = 0; c < CONTEXTS; c++) {
    prepare(c, x_int3);
    in.rflags |= 0x100;
    put(context_names[c]);
    run(" TF by iret");
  }
}

void exceptions(void) {
  simple();
  addresses();
  segments();
  gates();
  stepping();
}
