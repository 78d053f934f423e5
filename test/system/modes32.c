/* Modes of 32-bit kernels: SYSENTER, segment limits, real-address mode and back, limits that outlive a change of mode. */
#include "kernel32.h"

SNIPPET(m_target, "mov %cs, %eax\nmov %ss, %ebx\nmov %esp, %ebp\nmov %ds, %esi");
SNIPPET(m_sysenter, "sysenter");
SNIPPET(m_sysexit, "sysexit");
SNIPPET(m_syscall, "syscall");
SNIPPET(m_sysret, "sysret");
SNIPPET(m_read1, "mov %edi, %ds\nmov (%esi), %al");
SNIPPET(m_read4, "mov %edi, %ds\nmov (%esi), %eax");
SNIPPET(m_read16, "mov %edi, %ds\nmovups (%esi), %xmm0");
SNIPPET(m_write1, "mov %edi, %ds\nmov %al, (%esi)");
SNIPPET(m_write4, "mov %edi, %ds\nmov %eax, (%esi)");
SNIPPET(m_push, "mov %edi, %ss\nmov %esi, %esp\npush %eax");
SNIPPET(m_pushw, "mov %edi, %ss\nmov %esi, %esp\npushw %ax");
SNIPPET(m_pop, "mov %edi, %ss\nmov %esi, %esp\npop %eax");
SNIPPET(m_ebp, "mov %edi, %ss\nmov %esi, %ebp\nmov (%ebp), %eax");
SNIPPET(m_code_read, "mov %cs:(%esi), %al");
SNIPPET(m_code_write, "mov %al, %cs:(%esi)");
SNIPPET(m_null, "xor %eax, %eax\nmov %eax, %ds\nmov (%esi), %eax");
SNIPPET(m_null_es, "xor %eax, %eax\nmov %eax, %es\nstosb");
SNIPPET(m_wrap, "mov $0xfffffffe, %ebx\nmov 0x1003(%ebx), %al");
SNIPPET(m_jump, "jmp *%esi");
SNIPPET(m_call, "call *%esi");
SNIPPET(m_ret, "push %esi\nret");
SNIPPET(m_arpl, "arpl %cx, %si\npushf\npop %eax");
SNIPPET(m_verr, "verr %di\npushf\npop %eax\nverw %di\npushf\npop %ebx\nlar %edi, %ecx\npushf\npop %ebp\nlsl %edi, %edx");
SNIPPET(m_lar16, "lar %di, %ax\nlsl %di, %cx");

static void fast_calls(void) {
  static const u16 selectors[] = { KCODE, KCODE | 3, 0, CODE1, 0x1f8 };
  wrmsr(0x175, TRAP_TOP - 256);
  wrmsr(0x176, (u32)m_target);
  for (unsigned i = 0; i < 5; i++) {
    wrmsr(0x174, selectors[i]);
    put("SYSENTER_CS");
    field("", selectors[i]);
    end_line();
    /* Segments are not read from the table: only with the right ones does the rest of a case work. */
    int works = (selectors[i] & ~3) == KCODE || (selectors[i] & ~3) == 0;
    for (int c = 0; c < CONTEXTS - 1; c++) {
      if (!works && c != R16) continue;
      prepare(c, m_sysenter);
      in.eflags |= 0x3ad4 & (c == R16 ? 0 : ~0u);
      put(context_names[c]);
      run(" sysenter");
      if (selectors[i] & ~3 && c == R16) continue;
      prepare(c, m_sysexit);
      in.gpr[EDX] = (u32)m_target + user_base;
      in.gpr[ECX] = STACK_TOP + user_base - 512;
      in.eflags |= 0x3246 & (c == R16 ? 0 : ~0u);
      put(context_names[c]);
      run(" sysexit");
    }
  }
  /* Null with RPL 3 is null, too: QEMU takes it. */
  wrmsr(0x174, 3);
  for (int c = 0; c < 2 && !is_tcg; c++) {
    prepare(c, m_sysenter);
    run_quietly();
    manual("sysenter with a null selector", c, out.vector << 16 | out.error, 13 << 16);
    prepare(c, m_sysexit);
    run_quietly();
    manual("sysexit with a null selector", c, out.vector << 16 | out.error, 13 << 16);
  }
  wrmsr(0x174, 0);
  /* Not in legacy mode: QEMU plays AMD, where they exist. */
  wrmsr(MSR_EFER, rdmsr(MSR_EFER) | 1);
  for (int c = 0; c < 2 && !is_tcg; c++) {
    prepare(c, m_syscall);
    run_quietly();
    manual("syscall", c, out.vector, 6);
    prepare(c, m_sysret);
    run_quietly();
    manual("sysret", c, out.vector, 6);
  }
  wrmsr(MSR_EFER, 0);
}

/* The manual's rules (5.3): what must happen to an access of `size` bytes at `at`. */
static u32 expected(u32 limit_field, u32 attributes, u32 at, u32 size, int writes, int is_stack) {
  u64 last = (u64)at + size - 1, limit = attributes & 0x8000 ? limit_field * 4096ull + 4095 : limit_field;
  int is_code = attributes & 8, bit1 = attributes & 2;
  if (is_stack && (is_code || !bit1)) return 13;
  if (is_code ? writes || !bit1 : writes && !bit1) return 13;
  u32 top = attributes & 0x4000 ? 0xffffffff : 0xffff;
  int inside = !is_code && attributes & 4 ? at > limit && last <= top : last <= limit;
  return inside ? DONE : is_stack ? 12 : 13;
}
static void limits(void) {
  static const struct { const char *name; u32 limit, attributes; } kinds[] = {
    { "bytes", 0xfff, 0x40f3 }, { "page", 0, 0xc0f3 }, { "bytes, 16-bit", 0xfff, 0x00f3 }, { "expand-down", 0xfff, 0x40f7 }, { "expand-down, 16-bit", 0xfff, 0x00f7 }, { "expand-down pages", 0x10, 0xc0f7 },
    { "read-only", 0xfff, 0x40f1 }, { "read-only expand-down", 0xfff, 0x40f5 }, { "execute-only", 0xfff, 0x40f9 }, { "readable code", 0xfff, 0x40fb }, { "conforming", 0xfff, 0x40ff }, { "all", 0xfffff, 0xc0f3 },
    { "empty expand-down", 0xffff, 0x00f7 }, { "one byte", 0, 0x40f3 },
  };
  static const u32 offsets[] = { 0, 1, 4, 0xff0, 0xff1, 0xffc, 0xffd, 0xffe, 0xfff, 0x1000, 0x1001, 0x1004, 0x1fff, 0xfff0, 0xfff1, 0xfffc, 0xfffd, 0xffff, 0x10000, 0x11000, 0xfffffffc, 0xfffffffd, 0xffffffff };
  static const struct { const char *name; const char *code; u8 size, writes, stack; signed char moves; } uses[] = {
    { "read 1", m_read1, 1, 0, 0, 0 }, { "read 4", m_read4, 4, 0, 0, 0 }, { "read 16", m_read16, 16, 0, 0, 0 }, { "write 1", m_write1, 1, 1, 0, 0 }, { "write 4", m_write4, 4, 1, 0, 0 },
    { "push", m_push, 4, 1, 1, -4 }, { "push word", m_pushw, 2, 1, 1, -2 }, { "pop", m_pop, 4, 0, 1, 0 }, { "by ebp", m_ebp, 4, 0, 1, 0 },
  };
  if (is_tcg) return;
  u32 count = 0, wrong = 0;
  for (unsigned i = 0; i < sizeof kinds / sizeof *kinds; i++)
    for (unsigned k = 0; k < sizeof offsets / 4; k++)
      for (int u = 0; u < 9; u++) {
        /* Somewhere in memory, where all of it can be done. */
        gdt[FREE / 8] = descriptor(0x2000000, kinds[i].limit, kinds[i].attributes);
        prepare(U32, uses[u].code);
        in.gpr[EDI] = FREE | 3;
        in.gpr[ESI] = offsets[k];
        run_quietly();
        u32 at = offsets[k] + uses[u].moves;
        /* A 16-bit stack's pointer is SP, and EBP as an address is not. */
        if (uses[u].stack && u < 8 && !(kinds[i].attributes & 0x4000)) at &= 0xffff;
        u32 must = expected(kinds[i].limit, kinds[i].attributes, at, uses[u].size, uses[u].writes, uses[u].stack);
        count++;
        if (out.vector == must) continue;
        wrong++;
        manual(kinds[i].name, at, out.vector, must);
        put("manual ");
        put(uses[u].name);
        put(": is=0 must=1\n");
      }
  manual("limits that are wrong, of many", count, wrong, 0);
  /* Code segments: the instruction as a whole lies in them. */
  for (u32 limit = 0; limit < 12; limit++)
    for (int c = 0; c < 2; c++) {
      SNIPPET(m_long, "nop\nmov $0x12345678, %eax\nmov $0x5a, %bl");
      gdt[FREE / 8] = descriptor((u32)m_long, limit, c ? 0x40fb : 0x409b);
      prepare(c, m_long);
      in.cs = FREE | (c ? 3 : 0);
      in.eip = 0;
      run_quietly();
      /* Instructions begin at 0, 1, 6, 8; the next one at 10. */
      u32 fault = limit < 5 ? limit < 0 ? 0 : 1 : limit < 7 ? 6 : limit < 9 ? 8 : 99;
      manual("code limit", limit, out.vector << 8 | out.eip, fault == 99 ? DONE << 8 | 10 : 13 << 8 | fault);
    }
  static const struct { const char *name; const char *code; } jumps[] = { { "jmp", m_jump }, { "call", m_call }, { "ret", m_ret } };
  for (int j = 0; j < 3; j++)
    for (u32 to = 0x1f; to <= 0x21; to++) {
      gdt[FREE / 8] = descriptor((u32)jumps[j].code, 0x1f, 0x40fb);
      prepare(U32, jumps[j].code);
      ((u8 *)jumps[j].code)[0x1f] = 0x90;
      in.cs = FREE | 3;
      in.eip = 0;
      in.gpr[ESI] = to;
      u32 esp = in.gpr[ESP];
      run_quietly();
      /* A jump beyond is the jump's own fault; one to the last byte is the next instruction's. */
      manual(jumps[j].name, to, out.vector << 8 | out.eip, 13 << 8 | (to > 0x1f ? (j == 2 ? 1 : 0) : 0x20));
      if (to > 0x1f) manual("stack pointer", to, out.gpr[ESP], j == 2 ? esp - 4 : esp);
    }
  gdt[FREE / 8] = 0;
}

/* Strings stop where their segment does: elements that were done are done, and the registers show it. */
SNIPPET(m_rep_movs, "mov %eax, %ds\nmov %eax, %es\nrep movsl");
SNIPPET(m_rep_movsb, "mov %eax, %ds\nmov %eax, %es\nrep movsb");
SNIPPET(m_rep_stosw, "mov %eax, %es\nrep stosw");
SNIPPET(m_rep_lods, "mov %eax, %ds\nrep lodsl");
SNIPPET(m_rep_cmps, "mov %eax, %ds\nmov %eax, %es\nrepe cmpsl");
SNIPPET(m_rep_scasb, "mov %eax, %es\nxor %eax, %eax\nrepe scasb");
SNIPPET(m_movs, "mov %eax, %ds\nmov %eax, %es\nmovsl");
SNIPPET(m_xlat, "mov %eax, %ds\nmov %esi, %ebx\nxor %eax, %eax\nxlat");
SNIPPET(m_maskmov, "mov %eax, %ds\npcmpeqd %xmm0, %xmm0\nmaskmovdqu %xmm0, %xmm0");
static void strings(void) {
  static const struct { const char *name; const char *code; u8 size, reads, writes, repeats; } kinds[] = {
    { "rep movsl", m_rep_movs, 4, 1, 1, 1 }, { "rep movsb", m_rep_movsb, 1, 1, 1, 1 }, { "rep stosw", m_rep_stosw, 2, 0, 1, 1 }, { "rep lodsl", m_rep_lods, 4, 1, 0, 1 }, { "repe cmpsl", m_rep_cmps, 4, 1, 2, 1 },
    { "repe scasb", m_rep_scasb, 1, 0, 2, 1 }, { "movsl", m_movs, 4, 1, 1, 0 }, { "xlat", m_xlat, 1, 1, 0, 0 }, { "maskmovdqu", m_maskmov, 16, 0, 1, 0 },
  };
  static const u32 limits[] = { 0x40f3, 0x00f3, 0x40f7, 0x00f7, 0x40f1 };
  if (is_tcg) return;
  for (int i = 0; i < 9; i++)
    for (int k = 0; k < 5; k++)
      for (int at = -48; at <= 32; at += 3)
        for (int down = 0; down < 2; down++) {
          gdt[FREE / 8] = descriptor(0x2000000, 0x1fff, limits[k]);
          for (u32 j = 0x1f00; j < 0x2100; j += 4) *(u32 *)(0x2000000 + j) = 0;
          prepare(U32, kinds[i].code);
          u32 from = 0x2000 + at, to = 0x2000 - at, count = 9, size = kinds[i].size;
          in.gpr[EAX] = FREE | 3;
          in.gpr[ESI] = from;
          in.gpr[EDI] = to;
          in.gpr[ECX] = count;
          in.eflags |= down ? 0x400 : 0;
          run_quietly();
          u32 left = kinds[i].repeats ? count : 1, vector = DONE, s = from, d = to;
          for (; left; left--, s += down ? -size : size, d += down ? -size : size) {
            if (kinds[i].reads && expected(0x1fff, limits[k], s, size, 0, 0) == 13) vector = 13;
            if (kinds[i].writes && expected(0x1fff, limits[k], d, size, kinds[i].writes == 1, 0) == 13) vector = 13;
            if (vector == 13) break;
          }
          u32 is = out.vector << 24 | (kinds[i].repeats ? out.gpr[ECX] << 16 : 0), must = vector << 24 | (kinds[i].repeats ? left << 16 : 0);
          if (kinds[i].repeats && kinds[i].reads) is |= out.gpr[ESI] & 0xffff, must |= s;
          if (is == must && at) continue;
          manual(kinds[i].name, k << 8 | (u8)at, is, must);
        }
  gdt[FREE / 8] = 0;
}

static void with(u32 edi, u32 esi, unsigned mask, const char *name, const void *code) {
  for (int c = 0; c < R16; c++) {
    if (!(mask & 1u << c)) continue;
    prepare(c, code);
    in.gpr[EDI] = edi;
    in.gpr[ESI] = esi;
    put(context_names[c]);
    put(" ");
    run(name);
  }
}
static void segments(void) {
  for (int c = 0; c < 2 && !is_tcg; c++) {
    prepare(c, m_null);
    in.gpr[ESI] = STACK_TOP;
    run_quietly();
    manual("null ds", c, out.vector << 16 | out.error, 13 << 16);
    prepare(c, m_null_es);
    in.gpr[EDI] = STACK_TOP - 256;
    run_quietly();
    manual("null es", c, out.vector << 16 | out.error, 13 << 16);
  }
  with(0, (u32)m_target, WIDE, "read by cs", m_code_read);
  with(0, 0, WIDE, "address wraps at 4 GiB", m_wrap);
  for (u32 a = 0; a < 4; a++)
    for (u32 b = 0; b < 4; b++) {
      prepare(U32, m_arpl);
      in.gpr[ESI] = 0x1230 | a;
      in.gpr[ECX] = 0x4560 | b;
      run("arpl");
    }
  case_in(R16, "arpl", m_arpl);
  static const struct { const char *name; u32 attributes; } kinds[] = {
    { "data0", 0xc093 }, { "data3", 0xc0f3 }, { "read-only3", 0xc0f1 }, { "code0", 0xc09b }, { "code3", 0xc0fb }, { "execute-only3", 0xc0f9 }, { "conforming0", 0xc09f }, { "not present3", 0xc073 },
    { "type 0", 0x80 }, { "type 1", 0x81 }, { "type 2", 0x82 }, { "type 3", 0x83 }, { "type 4", 0x84 }, { "type 5", 0x85 }, { "type 6", 0x86 }, { "type 7", 0x87 }, { "type 8", 0x88 }, { "type 9", 0x89 },
    { "type a", 0x8a }, { "type b", 0x8b }, { "type c", 0x8c }, { "type d", 0x8d }, { "type e", 0x8e }, { "type f", 0x8f }, { "byte limit", 0x00f3 }, { "ldt3", 0x00e2 }, { "tss, not present", 0x0009 },
  };
  for (unsigned i = 0; i < sizeof kinds / sizeof *kinds; i++) {
    gdt[FREE / 8] = descriptor(0x12345678, 0x04321, kinds[i].attributes);
    put(kinds[i].name);
    end_line();
    for (int rpl = 0; rpl < 4; rpl += 3) with(FREE | rpl, 0, WIDE, rpl ? "verr rpl3" : "verr rpl0", m_verr);
    with(FREE | 0x120000, 0, WIDE, "lar16", m_lar16);
  }
  gdt[FREE / 8] = 0;
  with(0, 0, WIDE, "verr null", m_verr);
  with(0x103, 0, WIDE, "verr beyond", m_verr);
  case_in(R16, "verr", m_verr);
}

SNIPPET16(r_int, "int $0x90");
SNIPPET16(r_push, "push $0x12\npushl $0x12345678\npush %sp\npop %cx\npush %cs\npop %ax\npush %ss\npop %dx");
SNIPPET16(r_push_wraps, "mov $2, %sp\npush %ax\npush %bx\npop %cx\nmov $0x100, %sp");
SNIPPET16(r_call, "call 1f\n1: pop %ax\nmov $1f - r_call, %bx\ncall *%bx\n1: pop %cx");
SNIPPET16(r_far_jump, "ljmp $0x1000, $1f - r_far_jump\n1: mov %cs, %ax");
SNIPPET16(r_far_alias, "ljmp $0x0fff, $0x10 + 1f - r_far_alias\n1: mov %cs, %ax");
SNIPPET16(r_far_call, "lcall $0x0fff, $0x10 + 1f - r_far_call\n1: mov %cs, %ax\npop %bx\npop %cx");
SNIPPET16(r_far_ret, "push $0x0ffe\npush $0x20 + 1f - r_far_ret\nlret $4\n1: mov %cs, %ax");
SNIPPET16(r_far_ret32, "pushl $0x12340ffe\npushl $0x20 + 1f - r_far_ret32\nlretl\n1: mov %cs, %ax");
SNIPPET16(r_iret, "push $0x0fd5\npush $0x0ffe\npush $0x20 + 1f - r_iret\niretw\n1: pushf\npop %ax\nmov %cs, %bx");
SNIPPET16(r_iret32, "pushl $0x243cd5\npushl $0x0ffe\npushl $0x20 + 1f - r_iret32\niretl\n1: pushfl\npop %eax\nmov %cs, %bx");
SNIPPET16(r_popf, "push $0x7ed7\npopf\npushf\npop %ax\nmov %ax, %bx\nand $0xfe, %bh\npush %bx\npopf");
SNIPPET16(r_sti, "sti\ncli\nsti\npushf\npop %ax");
SNIPPET16(r_segments, "mov $0x1234, %ax\nmov %ax, %ds\nmov %ax, %fs\nmov $0xffff, %ax\nmov %ax, %es\nmov %es, %bx");
SNIPPET16(r_alias, "mov $0x3001, %ax\nmov %ax, %ds\nmovw $0xabcd, 0x10\nmov %es:0x20, %bx");
SNIPPET16(r_lds, "movl $0x50001234, 0x10\nlds 0x10, %ax\nmov %ds, %bx");
SNIPPET16(r_high, "mov $0xffff, %ax\nmov %ax, %ds\nmov 0x10, %bx");
SNIPPET16(r_wrap_index, "movw $0x1111, 0x20\nmov $0xfff0, %bx\nmov 0x30(%bx), %ax");
SNIPPET16(r_word_at_end, "mov %ds:0xffff, %ax");
SNIPPET16(r_dword_at_end, "mov %ds:0xfffd, %eax");
SNIPPET16(r_word_fits, "movw $0x77, %ds:0xfffe\nmov %ds:0xfffe, %ax");
SNIPPET16(r_stack_word, "mov $0xffff, %bp\nmov (%bp), %ax");
SNIPPET16(r_pop_at_end, "mov %sp, %cx\nmov $0xffff, %sp\npop %ax");
SNIPPET16(r_big, "mov $0x10000, %ebx\nmov (%ebx), %al");
SNIPPET16(r_big_write, "mov $0x2000000, %ebx\nmovl $0x13572468, (%ebx)\nmov (%ebx), %eax");
SNIPPET16(r_big_reload, "mov $0x3000, %ax\nmov %ax, %ds\nmov $0x2000000, %ebx\nmovl $0x87654321, (%ebx)\nmov (%ebx), %eax");
SNIPPET16(r_big_stack, "mov $0x10000, %ebp\nmov (%ebp), %eax");
SNIPPET16(r_lea, "mov $0x12345678, %ebx\nlea 0x10(%bx), %eax\nlea 0x10(%ebx), %ecx\nlea 0x10(%ebx), %dx");
SNIPPET16(r_smsw, "smsw %ax\nmov %cr0, %ebx\nand $~0x10, %bl");
SNIPPET16(r_sldt, "sldt %ax");
SNIPPET16(r_ltr, "ltr %ax");
SNIPPET16(r_lar, "lar %ax, %bx");
SNIPPET16(r_verr, "verr %ax");
SNIPPET16(r_sysenter, "sysenter");
SNIPPET16(r_bound, "movl $0x00050000, 0x20\nmov $6, %ax\nbound %ax, 0x20");
SNIPPET16(r_into, "mov $0x7f, %al\nadd $1, %al\ninto");
SNIPPET16(r_enter, "enter $16, $3\nmov %bp, %ax\nleave");
SNIPPET16(r_pusha, "pusha\npopa\npushal\npopal");
SNIPPET16(r_string, "mov $0x10, %si\nmov $0xfffe, %di\nmov $4, %cx\nrep movsb");
SNIPPET16(r_string_end, "mov $0x10, %si\nmov $0xffff, %di\nmov $2, %cx\nrep movsw");
SNIPPET16(r_xlat, "mov $0xfff0, %bx\nmov $0x20, %al\nxlat");
SNIPPET16(r_loop, "mov $0x10003, %ecx\nxor %ax, %ax\n1: inc %ax\nloop 1b\nmov $2, %ecx\n1: inc %ax\naddr32 loop 1b");
SNIPPET16(r_ip_wrap, "jmp .+0x9000");
SNIPPET16(r_tf, "pushf\npop %ax\nor $1, %ah\npush %ax\npopf\nnop\nnop");
SNIPPET16(r_idt_limit, "int $0x90");
SNIPPET16(r_protected, "cli\nmov %cr0, %eax\nor $1, %al\nmov %eax, %cr0\nmov $0x10, %bx\nmov %bx, %fs\nmov %cr0, %eax\nand $~1, %al\nmov %eax, %cr0\nmov %fs, %cx\nmov $0x2000010, %ebx\nmovl $0x2468, %fs:(%ebx)\nmov %fs:(%ebx), %eax");
SNIPPET16(r_based, "cli\nmov %cr0, %eax\nor $1, %al\nmov %eax, %cr0\nmov $0xa0, %bx\nmov %bx, %fs\nmov %cr0, %eax\nand $~1, %al\nmov %eax, %cr0\nmov %fs:0x10, %ecx\nmov %bx, %fs\nmov %fs:0x10, %edx\nmov %fs, %si");
SNIPPET16(r_lgdt, "sgdtl 0x40\nsidtl 0x50\nmov 0x40, %ax\nmov 0x42, %ebx\nmov 0x50, %cx\nmov 0x52, %edx");
SNIPPET16(r_hlt_lock, "lock; nop");
SNIPPET16(r_long, "jmp 1f\n.org r_long + 0x50\n1: nop");

/* In virtual-8086 mode too, with the rights to do it and without. */
static void low_case(enum context context, u32 flags, const char *name, const char *code) {
  prepare(context, code);
  for (int i = 0; i < 64; i++) ((u32 *)LOW_DATA)[i] = 0x01010101u * i;
  in.eflags |= flags;
  put(context_names[context]);
  put(flags ? " iopl 3 " : " ");
  run(name);
}
static void real_case(const char *name, const char *code) { low_case(R16, 0, name, code); }
/* QEMU knows no limits: vectors by the manual (20.1.4; volume 2). */
static void real_limit(const char *name, const char *code, u32 must) {
  if (is_tcg) return;
  prepare(R16, code);
  run_quietly();
  manual(name, 0, out.vector, must);
}
static void real_mode(void) {
  static const struct { const char *name; const char *code; } all[] = {
    { "int", r_int }, { "push", r_push }, { "push wraps", r_push_wraps }, { "call", r_call }, { "far jump", r_far_jump }, { "far jump, other segment", r_far_alias }, { "far call", r_far_call },
    { "far ret", r_far_ret }, { "far ret 32", r_far_ret32 }, { "iret", r_iret }, { "iret 32", r_iret32 }, { "popf", r_popf }, { "sti", r_sti }, { "segments", r_segments }, { "alias", r_alias }, { "lds", r_lds },
    { "high memory", r_high }, { "index wraps", r_wrap_index }, { "word at the end fits", r_word_fits }, { "lea", r_lea }, { "smsw", r_smsw }, { "sldt", r_sldt }, { "ltr", r_ltr }, { "lar", r_lar }, { "verr", r_verr },
    { "sysenter", r_sysenter }, { "bound", r_bound }, { "into", r_into }, { "enter", r_enter }, { "pusha", r_pusha }, { "string", r_string }, { "xlat", r_xlat }, { "loop", r_loop }, { "TF", r_tf },
    { "protected and back", r_protected }, { "sgdt", r_lgdt }, { "lock nop", r_hlt_lock },
  };
  for (unsigned i = 0; i < sizeof all / sizeof *all; i++) {
    real_case(all[i].name, all[i].code);
    low_case(V86, 0, all[i].name, all[i].code);
    low_case(V86, 0x3000, all[i].name, all[i].code);
  }
  /* A base and a limit that are from protected mode, until the register is loaded. */
  gdt[FREE / 8] = descriptor(0x2345670, 0xffff, 0x0093);
  *(u32 *)(0x2345670 + 0x10) = 0x600df00d;
  *(u32 *)(0xa00 + 0x10) = 0x0badbeef;
  real_case("base of protected mode", r_based);
  real_limit("word at the end", r_word_at_end, 13);
  real_limit("dword at the end", r_dword_at_end, 13);
  real_limit("word at the end of the stack segment", r_stack_word, 12);
  real_limit("beyond 64 KiB", r_big, 13);
  real_limit("beyond 64 KiB of the stack segment", r_big_stack, 12);
  real_limit("movsw over the end", r_string_end, 13);
  /* Limits of 4 GiB, taken along from protected mode. */
  real_data_selector = KDATA;
  real_case("unreal write", r_big_write);
  real_case("unreal after a load", r_big_reload);
  real_case("unreal, end of 64 KiB", r_dword_at_end);
  real_data_selector = REAL_DATA;
  real_limit("limits are small again", r_big_write, 13);
  /* Vectors beyond the table's limit. */
  static const u16 limits[] = { 0x3ff, 0x243, 0x242, 0x240, 0x23f };
  for (int i = 0; i < 5; i++) {
    real_idtr.limit = limits[i];
    field("IDT limit", limits[i]);
    put(" ");
    real_case("int 0x90", r_idt_limit);
  }
  /* The table may lie elsewhere. */
  u32 *moved = (u32 *)0x2100000;
  for (int v = 0; v < 256; v++) moved[v] = ((u32 *)0)[v == 0x90 ? 0x91 : v];
  real_idtr.limit = 0x3ff;
  real_idtr.base = (u32)moved;
  real_case("int 0x90 by another table", r_int);
  real_idtr.base = 0;
}

void modes32(void) {
  for (int on = 0; on < 2; on++) {
    set_paging(on ? PAGING_NARROW : PAGING_OFF);
    fast_calls();
  }
  set_paging(PAGING_OFF);
  limits();
  strings();
  segments();
  real_mode();
}
