/* Transfers between segments, privileges and modes inside long mode; fast system calls; shadows. */
#include "kernel.h"

SNIPPET(m_jump_far, "ljmp *(%rdi)");
SNIPPET(m_call_far, "lcall *(%rdi)");
SNIPPET(m_call_far64, "rex.w lcall *(%rdi)");
SNIPPET32(m_call_far16, "lcallw *(%edi)");
SNIPPET(m_ret_far, "push %rsi\npush %rdi\nlretq");
SNIPPET(m_ret_far_outer, "push %r9\npush %r8\npush %rsi\npush %rdi\nlretq $16");
SNIPPET(m_iret, "push %r9\npush %r8\npush %r10\npush %rsi\npush %rdi\niretq");
SNIPPET(m_target, "mov %cs, %eax\nmov %ss, %ecx\nmov $0x5a, %bl");
SNIPPET32(m_target32, "mov %cs, %eax\nmov %ss, %ecx\n.byte 0x48\ninc %ebx");
SNIPPET(m_syscall, "syscall");
SNIPPET(m_sysret, "sysretl");
SNIPPET(m_sysretq, "sysretq");
SNIPPET(m_sysenter, "sysenter");
SNIPPET(m_sysexit, "sysexit");
SNIPPET(m_sysexitq, "rex.w sysexit");
SNIPPET32(m_limits, "mov %edi, %eax\nmov %ax, %ds\nmov %esi, %ebx\nmov (%ebx), %al");
SNIPPET32(m_limits4, "mov %edi, %eax\nmov %ax, %ds\nmov %esi, %ebx\nmov (%ebx), %eax");
SNIPPET32(m_limits_write, "mov %edi, %eax\nmov %ax, %ds\nmov %esi, %ebx\nmov %al, (%ebx)");
SNIPPET32(m_limits_stack, "mov %edi, %eax\nmov %ax, %ss\nmov %esi, %esp\npush %eax");
SNIPPET32(m_code_write, "mov %al, %cs:0");
SNIPPET32(m_wrap, "mov $0xfffffffe, %ebx\nmov 3(%ebx), %al");
SNIPPET(m_ignored_limit, "mov %edi, %eax\nmov %eax, %ds\nmov %rsi, %rbx\nmov (%rbx), %al");
SNIPPET(m_fs_limit, "mov %edi, %eax\nmov %eax, %fs\nmov %fs:(%rsi), %al");
SNIPPET(m_null_ds, "xor %eax, %eax\nmov %eax, %ds\nmov (%rsp), %cl");
SNIPPET(m_push_fs, "push %fs\npop %rax\npushw %gs\npopw %cx");
SNIPPET(m_pop_bad_fs, "push $0x170\npop %fs");
SNIPPET(m_enter, "enter $16, $2\nleave");
SNIPPET(m_push16, "pushw $0x1234\npopw %ax");
SNIPPET16(m_16, "mov $0x12345678, %eax\npush %ax\npush %eax\npop %cx\npop %cx\npop %dx\ncall 1f\n1: pop %bx");
SNIPPET16(m_16_jump, "mov $0x12340000 + 1f - m_16_jump, %eax\njmp *%ax\nud2\n1: nop");

static u8 pointer[16] __attribute__((aligned(16)));
static void far(u32 mask, const char *name, const void *code, u64 target, u16 selector, int size) {
  for (int c = 0; c < 4; c++) {
    if (!(mask & 1u << c)) continue;
    u64 to = target + (c & 1 ? USER : 0);
    for (int i = 0; i < size; i++) pointer[i] = to >> (8 * i);
    pointer[size] = selector;
    pointer[size + 1] = selector >> 8;
    prepare(c, code);
    in.gpr[RDI] = (u64)pointer + (c & 1 ? USER : 0);
    put(context_names[c]);
    put(" ");
    run(name);
  }
}
static void call_gate(u64 target, u16 selector, u32 attributes, u32 upper) {
  gdt[FREE / 8] = (target & 0xffff) | (u64)selector << 16 | (u64)attributes << 40 | (target >> 16 & 0xffff) << 48;
  gdt[FREE / 8 + 1] = target >> 32 | (u64)upper << 32;
}

static void transfers(void) {
  static const u16 selectors[] = { 0, KCODE, KCODE | 3, UCODE, UCODE & ~3, UCODE32, KCODE32, CONFORMING, CONFORMING | 3, KDATA, TSS, 0x1f8, 0x300, 4, FREE + 16 };
  gdt[FREE / 8 + 2] = descriptor(0, 0xfffff, 0xe09b); /* L and D */
  for (unsigned i = 0; i < sizeof selectors / 2; i++) {
    put("to");
    field("", selectors[i]);
    end_line();
    int narrow = selectors[i] == UCODE32 || selectors[i] == KCODE32;
    const char *to = narrow ? m_target32 : m_target;
    far(FLAT, "jmp far", m_jump_far, (u64)to, selectors[i], 4);
    far(FLAT, "call far", m_call_far, (u64)to, selectors[i], 4);
    for (int c = 0; c < 2; c++) {
      prepare(c, m_ret_far);
      in.gpr[RDI] = (u64)to + (c ? USER : 0);
      in.gpr[RSI] = selectors[i];
      run(c ? "u64 lretq" : "k64 lretq");
      prepare(c, m_ret_far_outer);
      in.gpr[RDI] = (u64)to + USER;
      in.gpr[RSI] = selectors[i];
      in.gpr[R8] = STACK_TOP + USER - 512;
      in.gpr[R9] = UDATA;
      run(c ? "u64 lretq outer" : "k64 lretq outer");
      static const u16 stacks[] = { UDATA, KDATA, 0, 3, KCODE, 0x300 };
      for (int s = 0; s < 6; s++) {
        prepare(c, m_iret);
        in.gpr[RDI] = (u64)to + USER;
        in.gpr[RSI] = selectors[i];
        in.gpr[R10] = 2;
        in.gpr[R8] = STACK_TOP + USER - 512;
        in.gpr[R9] = stacks[s];
        field("ss", stacks[s]);
        run(c ? " u64 iretq" : " k64 iretq");
      }
    }
  }
  prepare(K64, m_iret);
  in.gpr[RDI] = (u64)m_target;
  in.gpr[RSI] = KCODE;
  in.gpr[R10] = 2;
  in.rflags |= 0x4000;
  in.gpr[R8] = STACK_TOP;
  in.gpr[R9] = KDATA;
  /* The harness's own IRETQ sets NT; the case's must refuse it. */
  run("k64 iretq with NT");
  gdt[FREE / 8 + 2] = 0;
}

static void gates(void) {
  static const struct { const char *name; u16 selector; u32 attributes, upper; } kinds[] = {
    { "gate dpl 3", KCODE, 0xec00, 0 }, { "gate dpl 0", KCODE, 0x8c00, 0 }, { "gate not present", KCODE, 0x6c00, 0 }, { "gate to compat code", KCODE32, 0xec00, 0 },
    { "gate to data", KDATA, 0xec00, 0 }, { "gate to null", 0, 0xec00, 0 }, { "gate to conforming", CONFORMING, 0xec00, 0 }, { "gate with type in its upper half", KCODE, 0xec00, 0x100 },
    { "16-bit gate", KCODE, 0xe400, 0 }, { "gate to user code", UCODE, 0xec00, 0 },
  };
  for (unsigned i = 0; i < sizeof kinds / sizeof *kinds; i++) {
    put(kinds[i].name);
    end_line();
    call_gate((u64)m_target, kinds[i].selector, kinds[i].attributes >> 8, kinds[i].upper);
    gdt[FREE / 8] = (gdt[FREE / 8] & ~(0xffffull << 32)) | (u64)kinds[i].attributes << 32;
    far(FLAT, "call", m_call_far, 0x1234, FREE, 4);
    far(FLAT, "call rpl 3", m_call_far, 0x1234, FREE | 3, 4);
    far(FLAT, "jmp", m_jump_far, 0x1234, FREE, 4);
  }
  gdt[FREE / 8] = gdt[FREE / 8 + 1] = 0;
}

static void fast_calls(void) {
  wrmsr(MSR_STAR, (u64)0x18 << 48 | (u64)KCODE << 32);
  wrmsr(MSR_LSTAR, (u64)m_target);
  wrmsr(MSR_CSTAR, (u64)m_target);
  static const u64 masks[] = { 0, 0x47700, 0xffffffff };
  for (int i = 0; i < 3; i++) {
    wrmsr(MSR_FMASK, masks[i]);
    field("mask", masks[i]);
    end_line();
    for (int c = 0; c < 4; c++) {
      prepare(c, m_syscall);
      in.rflags = 0x240ed7;
      put(context_names[c]);
      run(" syscall");
    }
  }
  wrmsr(MSR_FMASK, 0x700);
  prepare(U64, m_syscall);
  in.rflags |= 0x100;
  run("u64 syscall, TF masked");
  wrmsr(MSR_EFER, rdmsr(MSR_EFER) & ~1ull);
  case_everywhere(FLAT, "syscall without SCE", m_syscall);
  case_everywhere(FLAT, "sysret without SCE", m_sysret);
  wrmsr(MSR_EFER, rdmsr(MSR_EFER) | 1);
  static const u64 flags[] = { 2, 0x3fffff & ~0x100ull, 0x202 };
  for (int i = 0; i < 3; i++)
    for (int wide = 0; wide < 2; wide++)
      for (int c = 0; c < 4; c++) {
        prepare(c, wide ? m_sysretq : m_sysret);
        in.gpr[RCX] = (u64)(wide ? m_target : m_target32) + USER;
        in.gpr[R11] = flags[i];
        if (c >= K32 && wide) continue;
        in.gpr[RSP] = STACK_TOP + USER;
        field("r11", flags[i]);
        put(" ");
        put(context_names[c]);
        run(wide ? " sysretq" : " sysretl");
      }
  if (!is_tcg) {
    prepare(K64, m_sysretq);
    in.gpr[RCX] = 0x900000000000;
    run("refused sysretq, non-canonical");
  }
  wrmsr(0x174, 0);
  case_everywhere(USERS, "sysenter without its segment", m_sysenter);
}

static void limits(void) {
  static const struct { const char *name; u32 base, limit, attributes; } kinds[] = {
    { "byte limit", 0x100, 0xfff, 0x40f3 }, { "page limit", 0x100, 0, 0xc0f3 }, { "expand-down big", 0x100, 0xfff, 0x40f7 }, { "expand-down small", 0x100, 0xfff, 0x00f7 },
    { "read-only", 0, 0xfffff, 0xc0f1 }, { "execute-only", 0, 0xfffff, 0xc0f9 }, { "readable code", 0, 0xfff, 0x40fb },
  };
  static const u32 offsets[] = { 0, 0xffc, 0xffd, 0xfff, 0x1000, 0x1001, 0xfffc, 0xffff, 0x10000, 0xffffffff };
  for (unsigned i = 0; i < sizeof kinds / sizeof *kinds; i++) {
    put(kinds[i].name);
    end_line();
    gdt[FREE / 8] = descriptor(kinds[i].base, kinds[i].limit, kinds[i].attributes);
    /* QEMU does not look at limits: here the manual's rule (5.3) is the oracle. */
    for (unsigned k = 0; k < 10 && !is_tcg; k++) {
      static const struct { const char *name; const char *code; u32 size, vector; } uses[] = {
        { "read 1", m_limits, 1, 13 }, { "read 4", m_limits4, 4, 13 }, { "write 1", m_limits_write, 1, 13 }, { "push", m_limits_stack, 4, 12 },
      };
      for (int u = 0; u < 4; u++) {
        u32 attributes = kinds[i].attributes;
        int data = !(attributes & 8), writable = data && attributes & 2;
        u32 top = attributes & 0x4000 ? 0xffffffff : 0xffff;
        u32 at = u == 3 ? (offsets[k] - 4) & top : offsets[k];
        u64 last = (u64)at + uses[u].size - 1, limit = attributes & 0x8000 ? kinds[i].limit * 4096ull + 4095 : kinds[i].limit;
        int in_range = data && attributes & 4 ? at > limit && last <= top : last <= limit;
        u64 expected = u == 3 && !writable ? 13 : u == 2 && !writable ? 13 : u < 2 && !data && !(attributes & 2) ? 13 : in_range ? 14 : uses[u].vector;
        prepare(U32, uses[u].code);
        in.gpr[RDI] = FREE | 3;
        in.gpr[RSI] = offsets[k];
        run_quietly();
        /* In range, there may be a page or not. */
        u64 is = out.vector == DONE ? 14 : out.vector;
        if (is == expected) continue;
        put("refused wrongly, or not: limit");
        field("expected", expected);
        field("at", at);
        put(" ");
        report(uses[u].name);
      }
    }
    prepare(U64, m_ignored_limit);
    in.gpr[RDI] = FREE | 3;
    in.gpr[RSI] = STACK_TOP + USER;
    run("u64 limits do not count");
    prepare(U64, m_fs_limit);
    in.gpr[RDI] = FREE | 3;
    in.gpr[RSI] = STACK_TOP + USER;
    run("u64 fs, base counts");
  }
  gdt[FREE / 8] = 0;
  case_everywhere(NARROW, "write to code", m_code_write);
  case_everywhere(1 << U32, "address wraps at 4 GiB", m_wrap);
  case_everywhere(FLAT, "null ds", m_null_ds);
  case_everywhere(WIDE, "push and pop of segments", m_push_fs);
  case_everywhere(WIDE, "pop of a bad fs", m_pop_bad_fs);
  case_everywhere(WIDE, "enter 16, 2", m_enter);
  case_everywhere(FLAT, "push word", m_push16);
  case_everywhere(1 << K16 | 1 << U16, "16-bit code", m_16);
  case_everywhere(1 << K16 | 1 << U16, "16-bit jump", m_16_jump);
}

/* Interrupts held off after STI and MOV SS, by the trap that a pending one makes. A self-IPI waits. */
SNIPPET(m_sti_shadow, "sti\nincl %eax\nincl %eax\nincl %eax");
SNIPPET(m_sti_cli, "sti\ncli\nincl %eax\nincl %eax");
SNIPPET(m_sti_sti, "sti\nsti\nincl %eax\nincl %eax");
SNIPPET(m_ss_shadow, "push $0x202\npopf\nincl %eax");
SNIPPET(m_sti_ss, "mov %ss, %ecx\nsti\nmov %ecx, %ss\nincl %eax\nincl %eax");
SNIPPET(m_iret_if, "mov %ss, %ecx\npush %rcx\nlea 8(%rsp), %rdx\npush %rdx\npush $0x202\nmov %cs, %edx\npush %rdx\nlea 1f(%rip), %rdx\npush %rdx\niretq\n1: incl %eax\nincl %eax");
static volatile u32 *const apic = (u32 *)0xfee00000;
static void shadows(void) {
  static const struct { const char *name; const char *code; } kinds[] = {
    { "sti", m_sti_shadow }, { "sti, cli", m_sti_cli }, { "sti, sti", m_sti_sti }, { "popf", m_ss_shadow }, { "sti, mov ss", m_sti_ss }, { "iretq", m_iret_if },
  };
  apic[0xf0 / 4] = 0x1ff;
  apic[0x80 / 4] = 0;
  for (unsigned i = 0; i < 6; i++) {
    apic[0x300 / 4] = 0x40000 | 0x90; /* to itself */
    prepare(K64, kinds[i].code);
    put("interrupt waits, ");
    run(kinds[i].name);
    if (out.vector == 0x90) apic[0xb0 / 4] = 0;
  }
  /* What is left over of those that did not come. */
  prepare(K64, m_sti_shadow);
  run_quietly();
  if (out.vector == 0x90) apic[0xb0 / 4] = 0;
}

void modes(void) {
  transfers();
  gates();
  fast_calls();
  limits();
  shadows();
}
