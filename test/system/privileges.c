/* Instructions whose rights depend on privilege, mode and control bits. */
#include "kernel.h"

#define TWO(symbol, body) SNIPPET(symbol, body)
TWO(i_cli, "cli"); TWO(i_sti, "sti\nnop\npushf\npop %rax"); TWO(i_hlt, "hlt");
TWO(i_lgdt, "lgdt (%rdi)"); TWO(i_lidt, "lidt (%rdi)"); TWO(i_lldt, "lldt %di"); TWO(i_ltr, "ltr %di");
TWO(i_sgdt, "sgdt -64(%rsp)"); TWO(i_sidt, "sidt -64(%rsp)"); TWO(i_sldt, "sldt %eax"); TWO(i_str, "str %eax"); TWO(i_smsw, "smsw %eax");
TWO(i_sldt16, "sldt %ax"); TWO(i_str64, "rex.w str %eax"); TWO(i_smsw16, "smsw %ax");
TWO(i_lmsw, "lmsw %di"); TWO(i_clts, "clts"); TWO(i_invd, "wbinvd"); TWO(i_invlpg, "invlpg (%rdi)");
TWO(i_from_cr0, "mov %cr0, %rax\nand $~0x10, %rax"); TWO(i_from_cr1, ".byte 0x0f,0x20,0xc8"); TWO(i_from_cr2, "mov %cr2, %rbx"); TWO(i_from_cr5, ".byte 0x0f,0x20,0xe8");
TWO(i_from_cr8, "mov %cr8, %rax"); TWO(i_from_cr9, ".byte 0x44,0x0f,0x20,0xc8");
TWO(i_to_cr0, "mov %rdi, %cr0"); TWO(i_to_cr1, ".byte 0x0f,0x22,0xcf"); TWO(i_to_cr2, "mov %rdi, %cr2\nmov %cr2, %rax"); TWO(i_to_cr3, "mov %rdi, %cr3\nmov %cr3, %rax"); TWO(i_to_cr4, "mov %rdi, %cr4"); TWO(i_to_cr8, "mov %rdi, %cr8\nmov %cr8, %rax\nmov %rsi, %cr8");
TWO(i_from_dr0, "mov %dr0, %rax"); TWO(i_from_dr4, ".byte 0x0f,0x21,0xe0"); TWO(i_from_dr6, "mov %dr6, %rax"); TWO(i_from_dr7, "mov %dr7, %rax"); TWO(i_to_dr0, "mov %rdi, %dr0\nmov %dr0, %rax"); TWO(i_to_dr4, ".byte 0x0f,0x23,0xe7");
TWO(i_to_dr6, "mov %rdi, %dr6\nmov %dr6, %rax"); TWO(i_to_dr7, "mov %rdi, %dr7\nmov %dr7, %rax\nmov %rsi, %dr7");
TWO(i_rdmsr, "mov %edi, %ecx\nrdmsr"); TWO(i_wrmsr, "mov %edi, %ecx\nmov %esi, %eax\nwrmsr");
TWO(i_wrmsr64, "mov %edi, %ecx\nmov %rsi, %rax\nmov %rsi, %rdx\nshr $32, %rdx\ncmp %eax, %eax\nwrmsr\nxor %eax, %eax\nxor %edx, %edx\nrdmsr");
TWO(i_rdtsc, "rdtsc\nxor %eax, %eax\nxor %edx, %edx"); TWO(i_rdtscp, "rdtscp\nxor %eax, %eax\nxor %edx, %edx"); TWO(i_rdpmc, "mov $0x7777, %ecx\nrdpmc");
TWO(i_xgetbv, "xor %ecx, %ecx\nxgetbv"); TWO(i_xgetbv9, "mov $9, %ecx\nxgetbv"); TWO(i_xsetbv, "mov %edi, %eax\nxor %edx, %edx\nmov %esi, %ecx\nxsetbv");
TWO(i_swapgs, "swapgs\nswapgs"); TWO(i_swapgs_once, "swapgs\nrdgsbase %rax\nswapgs");
TWO(i_rdfsbase, "rdfsbase %rax\nrdgsbase %rbx\nrdfsbase %ecx"); TWO(i_wrfsbase, "wrfsbase %rdi\nrdfsbase %rax"); TWO(i_wrgsbase, "wrgsbase %rdi\nrdgsbase %rax\nmov %gs, %ecx");
TWO(i_fs_read, "mov %fs:8, %eax"); TWO(i_invpcid, "invpcid (%rdi), %rsi"); TWO(i_verr, "verr %di\npushf\npop %rax\nverw %di\npushf\npop %rbx\nlar %edi, %ecx\npushf\npop %r8\nlsl %edi, %edx");
TWO(i_verr32, "verr %di\npushf\npop %rax\nverw %di\npushf\npop %rbx\nlar %edi, %ecx\npushf\npop %rbp\nlsl %edi, %edx");
TWO(i_lar16, "lar %di, %ax\nlsl %di, %cx"); TWO(i_lar64, "lar %rdi, %rax\nlsl %rdi, %rcx");
TWO(i_in8, "mov %edi, %edx\nin %dx, %al"); TWO(i_in16, "mov %edi, %edx\nin %dx, %ax"); TWO(i_in32, "mov %edi, %edx\nin %dx, %eax");
TWO(i_out8, "mov %edi, %edx\nout %al, %dx"); TWO(i_in_imm, "in $0xf0, %al"); TWO(i_outsb, "mov %edi, %edx\nmov $0, %ecx\nrep outsb"); TWO(i_insb, "mov %esi, %edx\ninsb");
TWO(i_pushf, "pushf\npop %rax"); TWO(i_popf, "push %rdi\npopf\npushf\npop %rax"); TWO(i_popf16, "push %rdi\npopfw\npushf\npop %rax");
TWO(i_iretq, "mov %ss, %eax\npush %rax\nlea 8(%rsp), %rbx\npush %rbx\npush %rdi\nmov %cs, %eax\npush %rax\nlea 1f(%rip), %rbx\npush %rbx\niretq\n1: pushf\npop %rax");
TWO(i_sysenter, "sysenter"); TWO(i_sysexit, "sysexit"); TWO(i_sysret, "sysret"); TWO(i_syscall, "syscall"); TWO(i_vmcall, ".byte 0x0f,0x01,0xc2"); TWO(i_rsm, "rsm");
TWO(i_mov_cs, "mov %edi, %cs"); TWO(i_mov_6, ".byte 0x8e,0xf7"); TWO(i_arpl, ".byte 0x63,0xc8"); TWO(i_lock_reg, "lock; .byte 0x01, 0xc0"); TWO(i_ud_daa, ".byte 0x27"); TWO(i_pusha, ".byte 0x60");
TWO(i_push_es, ".byte 0x06"); TWO(i_les, ".byte 0xc4,0x07"); TWO(i_far_jump, ".byte 0xea,0,0,0,0,8,0"); TWO(i_aam0, ".byte 0xd4,0"); TWO(i_salc, ".byte 0xd6"); TWO(i_82, ".byte 0x82, 0xc0, 1");
TWO(i_lahf, "lahf"); TWO(i_sysret64, "rex.w sysret"); TWO(i_cmpxchg16, "cmpxchg16b -39(%rsp)"); TWO(i_monitor, ".byte 0x0f,0xae,0x38"); TWO(i_ud_0fff, ".byte 0x0f,0xff,0xc0"); TWO(i_0f04, ".byte 0x0f,0x04"); TWO(i_fe7, ".byte 0xfe,0xf8"); TWO(i_ff7, ".byte 0xff,0xff"); TWO(i_8f1, ".byte 0x8f,0xc8"); TWO(i_c6_1, ".byte 0xc6,0xc8,1"); TWO(i_lea_reg, ".byte 0x8d,0xc0"); TWO(i_cmpxchg8_reg, ".byte 0x0f,0xc7,0xc8"); TWO(i_movnti_reg, ".byte 0x0f,0xc3,0xc0");

TWO(i_general_detect, "mov %rdi, %dr7\nmov %dr0, %rax\nmov %rsi, %dr7");
TWO(i_wrmsr_only, "wrmsr"); TWO(i_rdmsr_only, "rdmsr");
static void with(u64 rdi, u64 rsi, unsigned mask, const char *name, const void *code) {
  for (int c = 0; c < CONTEXTS; c++) {
    if (!(mask & 1u << c)) continue;
    prepare(c, code);
    in.gpr[RDI] = rdi;
    in.gpr[RSI] = rsi;
    put(context_names[c]);
    put(" ");
    run(name);
  }
}

/* Only #GP(0) is right, at CPL 0 too. */
static void refused(u64 rdi, u64 rsi, const char *name, const void *code) {
  if (is_tcg) return;
  put("refused ");
  with(rdi, rsi, 1, name, code);
}

static void table_registers(void) {
  struct { u16 limit; u64 base; } __attribute__((packed)) good = { sizeof gdt - 1, (u64)gdt }, goodi = { 4095, (u64)idt };
  with((u64)&good, 0, (1 << K64), "lgdt", i_lgdt);
  with((u64)&good + USER, 0, 1 << U64 | 1 << U32, "lgdt", i_lgdt);
  with((u64)&goodi, 0, 1 << K64, "lidt", i_lidt);
  with((u64)&goodi + USER, 0, 1 << U64 | 1 << U32, "lidt", i_lidt);
  static const u16 selectors[] = { 0, 3, 4, TSS, LDT, KDATA, KCODE, 0x1f8, 0x200, FREE };
  for (unsigned i = 0; i < sizeof selectors / 2; i++) {
    put("selector");
    field("", selectors[i]);
    end_line();
    with(selectors[i], 0, 0xf, "lldt", i_lldt);
    /* QEMU takes a null task register. */
    with(selectors[i], 0, selectors[i] > 3 ? 0xf : 0xa, "ltr", i_ltr);
  }
  gdt[FREE / 8] = descriptor((u32)(u64)&tss, sizeof tss - 1, 0x0009);
  with(FREE, 0, WIDE, "ltr not present", i_ltr);
  gdt[FREE / 8] = descriptor((u32)(u64)&tss, sizeof tss - 1, 0x0089);
  gdt[FREE / 8 + 1] = 0x0000080000000000;
  with(FREE, 0, 1, "ltr bad upper half", i_ltr);
  gdt[FREE / 8 + 1] = 0xffff0000;
  gdt[FREE / 8] = descriptor(0, 100, 0x0002);
  with(FREE, 0, 1, "lldt not present", i_lldt);
  gdt[FREE / 8 + 1] = 0;
  gdt[TSS / 8] = descriptor((u32)(u64)&tss, sizeof tss - 1, 0x0089);
  __asm__ volatile("ltr %0" : : "r"((u16)TSS));
  __asm__ volatile("lldt %0" : : "r"((u16)LDT));
  field("busy", gdt[TSS / 8]);
  end_line();
  case_everywhere(FLAT, "sgdt", i_sgdt);
  case_everywhere(ALL, "sldt", i_sldt);
  case_everywhere(ALL, "sldt16", i_sldt16);
  case_everywhere(ALL, "str", i_str);
  case_everywhere(WIDE, "str64", i_str64);
}

static void control_registers(void) {
  case_everywhere(USERS, "cli", i_cli);
  case_everywhere(1 << K64, "cli", i_cli);
  case_everywhere(ALL, "sti", i_sti);
  case_everywhere(USERS, "hlt", i_hlt);
  case_everywhere(USERS, "lmsw", i_lmsw);
  case_everywhere(ALL, "clts", i_clts);
  case_everywhere(ALL, "wbinvd", i_invd);
  case_everywhere(FLAT, "invlpg", i_invlpg);
  with(0x900000000000, 0, WIDE, "invlpg non-canonical", i_invlpg);
  case_everywhere(FLAT & ~NARROW, "from cr0", i_from_cr0);
  case_everywhere(ALL, "from cr1", i_from_cr1);
  case_everywhere(USERS, "from cr2", i_from_cr2);
  case_everywhere(ALL, "from cr5", i_from_cr5);
  case_everywhere(WIDE, "from cr8", i_from_cr8);
  case_everywhere(WIDE, "from cr9", i_from_cr9);
  case_everywhere(ALL, "to cr1", i_to_cr1);
  with(0x123456789abcdef0, 0, WIDE, "to cr2", i_to_cr2);
  static const u64 cr0s[] = { 0x80010033, 0x8001003b, 0x80050033, 0x80010023, 0x80000001, 0xc0010033, 0xe0010033 };
  u64 before = cr0();
  for (unsigned i = 0; i < 7; i++) {
    field("cr0", cr0s[i]);
    end_line();
    with(cr0s[i], 0, WIDE, "to cr0", i_to_cr0);
    field("reads", cr0() | 0x10);
    end_line();
    set_cr0(before);
  }
  refused(0x80000000, 0, "PG without PE", i_to_cr0);
  refused(0x11, 0, "PG off in 64-bit code", i_to_cr0);
  refused(0xa0000033, 0, "NW without CD", i_to_cr0);
  refused(before | 1ull << 32, 0, "cr0 upper half", i_to_cr0);
  u64 root = cr3(), flags = cr4();
  static const u64 cr3s[] = { 0, 0x18, 0xfe7 };
  for (unsigned i = 0; i < 3; i++) {
    field("cr3", cr3s[i]);
    end_line();
    with(root | cr3s[i], 0, WIDE, "to cr3", i_to_cr3);
    set_cr3(root);
  }
  refused(root | 1ull << 63, 0, "cr3 bit 63", i_to_cr3);
  refused(root | 1ull << 52, 0, "cr3 bit 52", i_to_cr3);
  refused(root | 1ull << 62, 0, "cr3 bit 62", i_to_cr3);
  static const u64 cr4s[] = { 0x620, 0x10620, 0x20620, 0x40620, 0x300620, 0x6fc };
  for (unsigned i = 0; i < 6; i++) {
    field("cr4", cr4s[i]);
    end_line();
    with(cr4s[i], 0, WIDE, "to cr4", i_to_cr4);
    field("reads", cr4());
    end_line();
    set_cr4(flags);
  }
  refused(0x600, 0, "PAE off", i_to_cr4);
  refused(0x80000620, 0, "cr4 bit 31", i_to_cr4);
  refused(0x100000620, 0, "cr4 bit 32", i_to_cr4);
  refused(0x8620, 0, "cr4 bit 15", i_to_cr4);
  /* Offered by QEMU, but not here. */
  refused(0x621, 0, "VME", i_to_cr4);
  refused(0x622, 0, "PVI", i_to_cr4);
  set_cr3(root | 5);
  refused(flags | 0x20000, 0, "PCIDE with a PCID", i_to_cr4);
  set_cr3(root);
  with(15, 0, WIDE, "cr8 15", i_to_cr8);
  refused(16, 0, "cr8 16", i_to_cr8);
  case_everywhere(FLAT, "from dr0", i_from_dr0);
  case_everywhere(FLAT, "from dr4", i_from_dr4);
  case_everywhere(FLAT, "from dr6", i_from_dr6);
  case_everywhere(FLAT, "from dr7", i_from_dr7);
  with(0x1234, 0, FLAT, "to dr0", i_to_dr0);
  with(0, 0, FLAT, "to dr4", i_to_dr4);
  refused(0x100000000, 0, "to dr6 high", i_to_dr6);
  with(0xffffffff, 0, 1, "to dr6", i_to_dr6);
  with(0, 0, 1, "to dr6", i_to_dr6);
  refused(0x100000000, 0x400, "to dr7 high", i_to_dr7);
  with(0, 0x400, 1, "to dr7", i_to_dr7);
  set_cr4(flags | 8);
  case_everywhere(FLAT, "from dr4, DE", i_from_dr4);
  case_everywhere(FLAT, "to dr4, DE", i_to_dr4);
  set_cr4(flags);
  with(0x2400, 0x400, 1, "from dr0, GD", i_general_detect);
  u64 dr7;
  __asm__ volatile("mov %%dr7, %0" : "=r"(dr7));
  field("dr7", dr7);
  end_line();
}

static void msrs(void) {
  static const struct { u32 msr; u64 value; int is_bad; } writes[] = {
    { 0xc0000080, 0xd01 }, { 0xc0000080, 0x401, 1 }, { 0xc0000080, 0xd05, 1 }, { 0xc0000080, 0x8000000000000d01, 1 }, { 0xc0000081, 0x18000800000000 },
    { 0xc0000082, 0x900000000000, 1 }, { 0xc0000082, 0xffff800000000000 }, { 0xc0000083, 0x800000000000, 1 }, { 0xc0000083, 0x7fff00000000 },
    { 0xc0000084, 0x47700 }, { 0xc0000100, 0x900000000000, 1 }, { 0xc0000100, 0xffffffff81000000 }, { 0xc0000101, 0x8000000000000000, 1 },
    { 0xc0000101, 0x1234 }, { 0xc0000102, 0x900000000000, 1 }, { 0xc0000102, 0x5678 }, { 0x174, 8 }, { 0x175, 0x7fff12345678 }, { 0x176, 0x123456789 },
    { 0x175, 0x900000000000, 1 }, { 0x277, 0x0007040600070406 }, { 0x277, 0x0207040600070406, 1 }, { 0x277, 0x0807040600070406, 1 }, { 0xc0000103, 0x55 }, { 0xdeadbeef, 1, 1 }, { 0x40000fff, 0, 1 },
  };
  for (unsigned i = 0; i < sizeof writes / sizeof *writes; i++) {
    field("msr", writes[i].msr);
    field("value", writes[i].value);
    end_line();
    with(writes[i].msr, writes[i].value, writes[i].is_bad ? 1 << U64 : WIDE, "wrmsr", i_wrmsr64);
    if (writes[i].msr == 0xc0000080) wrmsr(0xc0000080, 0xd01);
  }
  for (unsigned i = 0; i < sizeof writes / sizeof *writes; i++) {
    if (!writes[i].is_bad || is_tcg) continue;
    prepare(K64, i_wrmsr_only);
    in.gpr[RCX] = writes[i].msr;
    in.gpr[RAX] = (u32)writes[i].value;
    in.gpr[RDX] = writes[i].value >> 32;
    put("refused msr");
    field("", writes[i].msr);
    field("value", writes[i].value);
    run("");
  }
  wrmsr(0x277, 0x0007040600070406);
  if (!is_tcg) {
    prepare(K64, i_rdmsr_only);
    in.gpr[RCX] = 0xdeadbeef;
    run("refused rdmsr");
  }
  with(0xc0000080, 0, USERS, "rdmsr", i_rdmsr);
  with(0xc0000082, 0, 1 << K32, "rdmsr", i_rdmsr);
  wrmsr(MSR_FS, 0);
  wrmsr(MSR_GS, 0);
}

static void times_and_states(void) {
  u64 flags = cr4();
  wrmsr(0xc0000103, 0x55);
  case_everywhere(FLAT, "rdtsc", i_rdtsc);
  case_everywhere(FLAT, "rdtscp", i_rdtscp);
  case_everywhere(FLAT, "rdpmc", i_rdpmc);
  set_cr4(flags | 4);
  case_everywhere(FLAT, "rdtsc, TSD", i_rdtsc);
  case_everywhere(FLAT, "rdtscp, TSD", i_rdtscp);
  set_cr4(flags);
  case_everywhere(FLAT, "xgetbv without OSXSAVE", i_xgetbv);
  with(7, 0, FLAT, "xsetbv without OSXSAVE", i_xsetbv);
  set_cr4(flags | 0x40000);
  case_everywhere(FLAT, "xgetbv 9", i_xgetbv9);
  static const u32 masks[] = { 0, 1, 2, 3, 5, 6, 0x13, 3 };
  for (unsigned i = 0; i < 8; i++) {
    field("xcr0", masks[i]);
    end_line();
    with(masks[i], 0, FLAT, "xsetbv", i_xsetbv);
    case_everywhere(FLAT, "xgetbv", i_xgetbv);
  }
  with(3, 1, FLAT, "xsetbv 1", i_xsetbv);
  set_cr4(flags);
  wrmsr(MSR_GS, 0x1111000);
  wrmsr(MSR_KGS, 0x2222000);
  case_everywhere(ALL, "swapgs", i_swapgs);
  case_everywhere(WIDE, "rdfsbase without FSGSBASE", i_rdfsbase);
  set_cr4(flags | 0x10000);
  wrmsr(MSR_FS, 0xffff888811112222);
  case_everywhere(FLAT, "rdfsbase", i_rdfsbase);
  case_everywhere(1 << K64, "swapgs once", i_swapgs_once);
  refused(0x900000000000, 0, "wrfsbase", i_wrfsbase);
  with(0x7fff00000000, 0, WIDE, "wrfsbase", i_wrfsbase);
  with(0x7fff00000000, 0, WIDE, "wrgsbase", i_wrgsbase);
  wrmsr(MSR_FS, 0x7ffffffffff0);
  case_everywhere(WIDE, "fs read", i_fs_read);
  wrmsr(MSR_FS, 0x7ffffffffff8);
  case_everywhere(WIDE, "fs read beyond", i_fs_read);
  wrmsr(MSR_FS, 0);
  wrmsr(MSR_GS, 0);
  set_cr4(flags);
}

static void selectors(void) {
  static const struct { const char *name; u32 attributes; } kinds[] = {
    { "data0", 0xc093 }, { "data3", 0xc0f3 }, { "read-only3", 0xc0f1 }, { "code0", 0xa09b }, { "code3", 0xa0fb }, { "execute-only3", 0xc0f9 },
    { "conforming0", 0xa09f }, { "not present3", 0xc073 }, { "tss32", 0x0089 }, { "busy tss", 0x008b }, { "tss16", 0x0081 }, { "ldt", 0x0082 },
    { "call gate", 0x008c }, { "call gate16", 0x0084 }, { "task gate", 0x0085 }, { "interrupt gate", 0x008e }, { "trap gate", 0x008f },
    { "reserved 8", 0x0088 }, { "reserved a", 0x008a }, { "reserved d", 0x008d }, { "reserved 0", 0x0080 }, { "byte limit", 0x00f3 }, { "ldt3", 0x00e2 }, { "expand-down", 0xc0f7 },
  };
  for (unsigned i = 0; i < sizeof kinds / sizeof *kinds; i++) {
    gdt[FREE / 8] = descriptor(0x12345678, 0x04321, kinds[i].attributes);
    gdt[FREE / 8 + 1] = 0;
    put(kinds[i].name);
    end_line();
    for (int rpl = 0; rpl < 4; rpl += 3) {
      with(FREE | rpl, 0, WIDE, rpl ? "rpl3" : "rpl0", i_verr);
      with(FREE | rpl, 0, NARROW, rpl ? "rpl3" : "rpl0", i_verr32);
    }
    with(FREE | 0x120000, 0, FLAT, "lar16", i_lar16);
  }
  with(0, 0, WIDE, "null", i_verr);
  with(0x1f8, 0, WIDE, "last", i_verr);
  with(0x200, 0, WIDE, "beyond", i_verr);
  with(0x203, 0, WIDE, "lar64 beyond", i_lar64);
  gdt[FREE / 8] = 0;
}

static void ports(void) {
  /* Bits clear mean allowed. */
  for (unsigned i = 0; i < sizeof tss.bitmap; i++) tss.bitmap[i] = 0xff;
  tss.bitmap[0xf0 / 8] = 0x0c; /* f2, f3 refused */
  tss.bitmap[0xf8 / 8] = 0xfe;
  for (unsigned iopl = 0; iopl < 4; iopl += 3)
    for (u32 port = 0xed; port < 0xfb; port++) {
      put("port");
      field("", port);
      field("iopl", iopl);
      end_line();
      for (int k = 0; k < 3; k++)
        for (int c = 1; c < 4; c += 2) {
          prepare(c, k == 0 ? i_in8 : k == 1 ? i_in16 : i_in32);
          in.gpr[RDI] = port;
          in.rflags |= iopl << 12;
          run_quietly();
          field(context_names[c], out.vector);
          if (out.vector != DONE) field("e", out.error);
        }
      end_line();
    }
  with(0xf0, 0, USERS, "out", i_out8);
  with(0xf2, 0, USERS, "out", i_out8);
  case_everywhere(USERS, "in imm", i_in_imm);
  with(0xf2, 0, USERS, "rep outsb, none", i_outsb);
  with(0x20000000, 0xf2, FLAT, "insb, both faults", i_insb);
  with(0x20000000, 0xf0, FLAT, "insb, page fault", i_insb);
  /* The end of the bitmap, and none at all. */
  with(0xffff, 0, USERS, "last port", i_in8);
  with(0xfff8, 0, USERS, "last eight", i_in16);
  tss.bitmap[8191] = 0;
  tss.bitmap[8192] = 0xff;
  with(0xffff, 0, USERS, "last port", i_in8);
  with(0xffff, 0, USERS, "beyond the last port", i_in16);
  for (int cut = 0; cut < 3; cut++) {
    gdt[TSS / 8] = descriptor((u32)(u64)&tss, cut == 0 ? 103 : cut == 1 ? 104 + 0xf0 / 8 : 104 + 0xf0 / 8 + 1, 0x0089);
    __asm__ volatile("ltr %0" : : "r"((u16)TSS));
    with(0xf0, 0, USERS, cut == 0 ? "no bitmap" : cut == 1 ? "limit in front of the second byte" : "limit at the second byte", i_in8);
  }
  gdt[TSS / 8] = descriptor((u32)(u64)&tss, sizeof tss - 1, 0x0089);
  __asm__ volatile("ltr %0" : : "r"((u16)TSS));
  for (unsigned i = 0; i < sizeof tss.bitmap; i++) tss.bitmap[i] = 0xff;
}

static void flags_register(void) {
  static const u64 values[] = { 0x3fffff & ~0x100ull, 0, 0x3000, 0x200, 0x40000, 0x200000, 0x10000, 0x4000, 0x20000, 0x180000, 0xfffffffffffcfeff };
  for (unsigned iopl = 0; iopl < 4; iopl++)
    for (unsigned i = 0; i < 11; i++) {
      field("iopl", iopl);
      field("flags", values[i]);
      end_line();
      for (int c = 0; c < CONTEXTS; c++) {
        for (int k = 0; k < 2; k++) {
          if (k == 1 && c > 1) continue;
          prepare(c, k == 0 ? i_popf : i_iretq);
          in.gpr[RDI] = values[i];
          /* IRET with NT set later would fault in the harness's own IRET only if set here. */
          in.rflags |= iopl << 12;
          put(context_names[c]);
          run(k == 0 ? " popf" : " iret");
          if (k == 0) {
            prepare(c, i_popf16);
            in.gpr[RDI] = values[i];
            in.rflags |= (iopl << 12) | 0x200;
            put(context_names[c]);
            run(" popfw");
          }
        }
      }
    }
  prepare(U64, i_cli);
  in.rflags |= 0x3000;
  run("cli at iopl 3");
  prepare(U64, i_sti);
  in.rflags |= 0x3000;
  run("sti at iopl 3");
  prepare(U64, i_sti);
  in.rflags |= 0x2000;
  run("sti at iopl 2");
}

static void undefined(void) {
  static const struct { const char *name; const char *code; } all[] = {
    { "rsm", i_rsm }, { "0f 01 c2", i_vmcall }, { "mov cs", i_mov_cs }, { "mov segment 6", i_mov_6 }, { "lock add reg", i_lock_reg }, { "daa", i_ud_daa },
    { "push es", i_push_es }, { "salc", i_salc }, { "82", i_82 }, { "aam 0", i_aam0 }, { "lahf", i_lahf }, { "0f ff", i_ud_0fff }, { "0f 04", i_0f04 },
    { "fe /7", i_fe7 }, { "ff /7", i_ff7 }, { "8f /1", i_8f1 }, { "c6 /1", i_c6_1 }, { "lea reg", i_lea_reg }, { "cmpxchg8b reg", i_cmpxchg8_reg }, { "movnti reg", i_movnti_reg },
  };
  for (unsigned i = 0; i < sizeof all / sizeof *all; i++) case_everywhere(ALL, all[i].name, all[i].code);
  case_everywhere(WIDE, "cmpxchg16b misaligned", i_cmpxchg16);
  case_everywhere(WIDE, "far jump immediate", i_far_jump);
  case_everywhere(WIDE, "pusha", i_pusha);
  case_everywhere(WIDE, "arpl is movsxd", i_arpl);
}

void privileges(void) {
  table_registers();
  control_registers();
  msrs();
  times_and_states();
  selectors();
  ports();
  flags_register();
  undefined();
}
