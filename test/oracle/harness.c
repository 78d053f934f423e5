/*
 * Runs instructions on the processor it is itself running on.
 *
 * The whole life of this process after start-up is one signal handler. A signal ends a case (an INT3 that the code
 * runs into, or an exception); the handler writes the state found in the signal frame to the results, puts the next
 * case into the same frame and returns, so that the kernel loads all registers and jumps. Nothing but the frame needs
 * saving, and every register has the value it had at that instruction.
 *
 * Cases arrive on standard input and results leave on standard output in batches; see machine-case.ts, from whose
 * descriptions the included header is generated. Start-up: reads WINDOW_BYTES of window image and a page for the
 * read-only page, answers with four bytes of features. A batch: u32 case count, u32 byte count, the records.
 *
 * A case may contain any bytes: seccomp refuses every system call that is not made by this program's own text, and
 * only reading, writing and exiting are left to that.
 */
#define _GNU_SOURCE
#include "harness-layout.h"
#include <asm/ldt.h>
#include <errno.h>
#include <immintrin.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <ucontext.h>
#include <unistd.h>

enum { FEATURE_AVX = 1, FEATURE_LDT = 2, FEATURE_FSGSBASE = 4 };
enum { SELECTOR_CODE16 = 0x07, SELECTOR_DATA16 = 0x0f, SELECTOR_FS = 0x17, SELECTOR_GS = 0x1f };
enum { SELECTOR_CODE32 = 0x23, SELECTOR_DATA = 0x2b, SELECTOR_CODE64 = 0x33 };
enum { INT3 = 0xcc, CAPACITY = 16 << 20, TICK_US = 40000 };

/* Flags a case may begin with: the arithmetic ones, TF, DF, AC. */
#define SETTABLE_FLAGS 0x40dd5u

static uint8_t *code_alias; /* the code region, writable, elsewhere */
static uint8_t *const window = (uint8_t *)(uintptr_t)DATA_BASE;
static uint8_t *image;    /* the window before patches */
static uint8_t *prepared; /* the window as the running case found it */
static uint8_t *input, *input_end, *output, *out;
static uint8_t *current; /* record of the running case */
static uint32_t features;
static uint32_t loaded_mode;
static volatile uint64_t sequence, sequence_at_tick;

static long system_call(long number, long a, long b, long c, long d) {
  long result;
  register long r10 __asm__("r10") = d;
  __asm__ volatile("syscall" : "=a"(result) : "0"(number), "D"(a), "S"(b), "d"(c), "r"(r10) : "rcx", "r11", "memory");
  return result;
}
__attribute__((noreturn)) static void quit(int code) {
  for (;;) system_call(SYS_exit_group, code, 0, 0, 0);
}
static void read_exactly(void *to, size_t size) {
  for (uint8_t *p = to; size > 0;) {
    long n = system_call(SYS_read, 0, (long)p, (long)size, 0);
    if (n == -EINTR) continue;
    if (n <= 0) quit(n == 0 ? 0 : 3);
    p += n;
    size -= (size_t)n;
  }
}
static void write_exactly(const void *from, size_t size) {
  for (const uint8_t *p = from; size > 0;) {
    long n = system_call(SYS_write, 1, (long)p, (long)size, 0);
    if (n == -EINTR) continue;
    if (n <= 0) quit(4);
    p += n;
    size -= (size_t)n;
  }
}

static inline uint32_t get32(const uint8_t *p) { uint32_t v; memcpy(&v, p, 4); return v; }
static inline uint64_t get64(const uint8_t *p) { uint64_t v; memcpy(&v, p, 8); return v; }
static inline void put32(uint8_t *p, uint32_t v) { memcpy(p, &v, 4); }
static inline void put64(uint8_t *p, uint64_t v) { memcpy(p, &v, 8); }

/* General registers in the order of the encoding. */
static const uint8_t gpr_order[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                                      REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};

/* The FXSAVE image, the XSAVE header behind it, the upper halves of YMM behind that. */
enum { FX_ST = 32, FX_XMM = 160, FX_MXCSR = 24, XSAVE_BV = 512, XSAVE_YMM = 576 };

static uint8_t *code_at(const uint8_t *record) {
  return code_alias + (get64(record + CASE_HEADER_BYTES + STATE_RIP) & (CODE_BYTES - 1));
}

static unsigned is_zero(const uint8_t *bytes, unsigned length) {
  uint8_t any = 0;
  for (unsigned i = 0; i < length; i++) any |= bytes[i];
  return !any;
}

static unsigned is_x87_initial(const uint8_t *fx) {
  return get32(fx) == 0x37f && get32(fx + 4) == 0 && is_zero(fx + 8, 16) && is_zero(fx + FX_ST, 128);
}

static void load_fp(uint8_t *fx, const uint8_t *state) {
  memset(fx, 0, 32);
  memcpy(fx, state + STATE_FCW, 4); /* and FSW */
  fx[4] = state[STATE_FTW];
  memcpy(fx + 6, state + STATE_FOP, 2 + 8 + 8 + 4); /* FOP, FIP, FDP, MXCSR */
  uint32_t mxcsr_mask = 0xffff;
  put32(fx + FX_MXCSR, get32(state + STATE_MXCSR) & mxcsr_mask);
  put32(fx + FX_MXCSR + 4, mxcsr_mask);
  unsigned top = (state[STATE_FSW + 1] >> 3) & 7;
  for (unsigned i = 0; i < 8; i++) memcpy(fx + FX_ST + 16 * i, state + STATE_FPR + 16 * ((i + top) & 7), 16);
  for (unsigned i = 0; i < 16; i++) memcpy(fx + FX_XMM + 16 * i, state + STATE_YMM + 32 * i, 16);
  if (features & FEATURE_AVX) {
    for (unsigned i = 0; i < 16; i++) memcpy(fx + XSAVE_YMM + 16 * i, state + STATE_YMM + 32 * i + 16, 16);
    /* A component that is loaded counts as in use on some processors, even when what is loaded is its initial state. */
    unsigned initial = is_x87_initial(fx) + 2 * is_zero(fx + FX_XMM, 256) + 4 * is_zero(fx + XSAVE_YMM, 256);
    put64(fx + XSAVE_BV, (get64(fx + XSAVE_BV) | 7) ^ initial);
  }
}

static void store_fp(uint8_t *state, const uint8_t *fx) {
  uint64_t present = features & FEATURE_AVX ? get64(fx + XSAVE_BV) : 3;
  put32(state + STATE_MXCSR, get32(fx + FX_MXCSR));
  if (present & 1) {
    memcpy(state + STATE_FCW, fx, 4);
    state[STATE_FTW] = fx[4];
    memcpy(state + STATE_FOP, fx + 6, 2 + 8 + 8);
    unsigned top = (state[STATE_FSW + 1] >> 3) & 7;
    for (unsigned i = 0; i < 8; i++) memcpy(state + STATE_FPR + 16 * ((i + top) & 7), fx + FX_ST + 16 * i, 10);
  } else {
    state[STATE_FCW] = 0x7f;
    state[STATE_FCW + 1] = 3;
  }
  for (unsigned i = 0; i < 16; i++) {
    if (present & 2) memcpy(state + STATE_YMM + 32 * i, fx + FX_XMM + 16 * i, 16);
    if ((present & 4) && (features & FEATURE_AVX))
      memcpy(state + STATE_YMM + 32 * i + 16, fx + XSAVE_YMM + 16 * i, 16);
  }
}

#define LOAD_SEGMENT(name, value) __asm__ volatile("movl %0, %%" name : : "r"((uint32_t)(value)))

/* Segment registers that signal frames do not carry. */
static void load_segments(uint32_t mode, const uint8_t *state) {
  if (mode != 64 || loaded_mode != 64) {
    int flat = mode != 16;
    LOAD_SEGMENT("ds", flat ? SELECTOR_DATA : SELECTOR_DATA16);
    LOAD_SEGMENT("es", flat ? SELECTOR_DATA : SELECTOR_DATA16);
    int ldt = mode != 64 && (features & FEATURE_LDT);
    LOAD_SEGMENT("fs", ldt ? SELECTOR_FS : 0);
    LOAD_SEGMENT("gs", ldt ? SELECTOR_GS : 0);
    loaded_mode = mode;
  }
  if (mode == 64 && (features & FEATURE_FSGSBASE)) {
    __asm__ volatile("wrfsbase %0" : : "r"(get64(state + STATE_FSBASE)));
    __asm__ volatile("wrgsbase %0" : : "r"(get64(state + STATE_GSBASE)));
  }
}

static void begin_case(ucontext_t *context) {
  greg_t *regs = context->uc_mcontext.gregs;
  const uint8_t *state = current + CASE_HEADER_BYTES;
  uint32_t mode = current[CASE_HEADER_MODE];

  const uint8_t *patch = state + STATE_BYTES;
  for (unsigned n = current[CASE_HEADER_PATCHCOUNT] | current[CASE_HEADER_PATCHCOUNT + 1] << 8; n > 0; n--) {
    uint32_t offset = get32(patch), length = get32(patch + 4);
    memcpy(prepared + offset, patch + PATCH_HEADER_BYTES, length);
    memcpy(window + offset, patch + PATCH_HEADER_BYTES, length);
    patch += PATCH_HEADER_BYTES + ((length + 7) & ~7u);
  }
  memcpy(code_at(current), current + CASE_HEADER_CODE, current[CASE_HEADER_CODEBYTES]);

  for (unsigned i = 0; i < 16; i++) regs[gpr_order[i]] = (greg_t)get64(state + STATE_GPR + 8 * i);
  regs[REG_RIP] = (greg_t)get64(state + STATE_RIP);
  regs[REG_EFL] = (greg_t)((get64(state + STATE_RFLAGS) & SETTABLE_FLAGS) | 0x202);
  uint64_t cs = mode == 64 ? SELECTOR_CODE64 : mode == 32 ? SELECTOR_CODE32 : SELECTOR_CODE16;
  uint64_t ss = mode == 16 ? SELECTOR_DATA16 : SELECTOR_DATA;
  regs[REG_CSGSFS] = (greg_t)(cs | ss << 48);
  context->uc_flags |= 6; /* UC_SIGCONTEXT_SS, UC_STRICT_RESTORE_SS: SS is ours */
  load_fp((uint8_t *)context->uc_mcontext.fpregs, state);
  load_segments(mode, state);
  sequence++;
}

/* Puts the window back and appends the units that the case changed. */
static unsigned collect_changes(void) {
  uint32_t from = 0, to = WINDOW_BYTES;
  while (from < to && memcmp(window + from, prepared + from, 64) == 0) from += 64;
  while (to > from && memcmp(window + to - 64, prepared + to - 64, 64) == 0) to -= 64;
  unsigned count = 0;
  for (uint32_t at = from; at < to; at += 8) {
    uint32_t start = at;
    while (at < to && get64(window + at) != get64(prepared + at)) at += 8;
    if (at == start) continue;
    put32(out, start);
    put32(out + 4, at - start);
    memcpy(out + PATCH_HEADER_BYTES, window + start, at - start);
    out += PATCH_HEADER_BYTES + (at - start);
    count++;
  }
  memcpy(window + from, prepared + from, to - from);
  return count;
}

static void end_case(const ucontext_t *context, int signal_number) {
  const greg_t *regs = context->uc_mcontext.gregs;
  const uint8_t *state = current + CASE_HEADER_BYTES;
  uint32_t mode = current[CASE_HEADER_MODE], code_bytes = current[CASE_HEADER_CODEBYTES];
  uint8_t *header = out, *result = out + RESULT_HEADER_BYTES;
  memset(out, 0, RESULT_HEADER_BYTES + STATE_BYTES);
  out += RESULT_HEADER_BYTES + STATE_BYTES;

  uint64_t rip = (uint64_t)regs[REG_RIP], start = get64(state + STATE_RIP);
  uint32_t vector = (uint32_t)regs[REG_TRAPNO] & 0xff, end = END_EXCEPTION;
  if (signal_number == SIGSYS) end = END_SYSTEMCALL;
  else if (signal_number == SIGPROF) end = END_TIMEOUT;
  else if (vector == 3 && rip - 1 - start >= code_bytes) {
    end = END_COMPLETED;
    rip--;
  }
  header[RESULT_HEADER_END] = (uint8_t)end;
  if (end <= END_EXCEPTION) {
    header[RESULT_HEADER_VECTOR] = (uint8_t)vector;
    if (end == END_EXCEPTION) put32(header + RESULT_HEADER_ERRORCODE, (uint32_t)regs[REG_ERR]);
    if (vector == 14) put64(header + RESULT_HEADER_FAULTADDRESS, (uint64_t)regs[REG_CR2]);
    for (unsigned i = 0; i < 16; i++) {
      uint64_t value = (uint64_t)regs[gpr_order[i]];
      if (mode != 64) value = i < 8 ? (uint32_t)value : 0;
      /* Returning to a 16-bit stack segment does not restore the rest of ESP. */
      if (mode == 16 && i == 4) value = (value & 0xffff) | (get64(state + STATE_GPR + 32) & 0xffff0000);
      put64(result + STATE_GPR + 8 * i, value);
    }
    put64(result + STATE_RIP, rip);
    put64(result + STATE_RFLAGS, (uint64_t)regs[REG_EFL]);
    store_fp(result, (const uint8_t *)context->uc_mcontext.fpregs);
    if (mode == 64 && (features & FEATURE_FSGSBASE)) {
      uint64_t base;
      __asm__ volatile("rdfsbase %0" : "=r"(base));
      put64(result + STATE_FSBASE, base);
      __asm__ volatile("rdgsbase %0" : "=r"(base));
      put64(result + STATE_GSBASE, base);
    } else {
      memcpy(result + STATE_FSBASE, state + STATE_FSBASE, 16);
    }
  }
  unsigned changes = collect_changes();
  header[RESULT_HEADER_PATCHCOUNT] = (uint8_t)changes;
  header[RESULT_HEADER_PATCHCOUNT + 1] = (uint8_t)(changes >> 8);
  put32(header + RESULT_HEADER_SIZE, (uint32_t)(out - header));

  memset(code_at(current), INT3, code_bytes);
  const uint8_t *patch = state + STATE_BYTES;
  for (unsigned n = current[CASE_HEADER_PATCHCOUNT] | current[CASE_HEADER_PATCHCOUNT + 1] << 8; n > 0; n--) {
    uint32_t offset = get32(patch), length = get32(patch + 4);
    memcpy(prepared + offset, image + offset, length);
    memcpy(window + offset, image + offset, length);
    patch += PATCH_HEADER_BYTES + ((length + 7) & ~7u);
  }
  current += get32(current);
}

static void next_batch(void) {
  uint32_t head[2];
  if (out != output) {
    uint32_t size = (uint32_t)(out - output);
    write_exactly(&size, 4);
    write_exactly(output, size);
  }
  do {
    read_exactly(head, sizeof head);
    if (head[1] > CAPACITY) quit(5);
    read_exactly(input, head[1]);
  } while (head[0] == 0);
  current = input;
  input_end = input + head[1];
  out = output;
}

__attribute__((used)) static void on_signal(int signal_number, siginfo_t *info, ucontext_t *context) {
  (void)info;
  if (signal_number == SIGPROF) {
    /* The same case at two ticks in a row is stuck. */
    if (current == NULL || sequence != sequence_at_tick) {
      sequence_at_tick = sequence;
      return;
    }
  }
  if (current != NULL) end_case(context, signal_number);
  if (current == input_end) next_batch();
  begin_case(context);
}

/* Signals are delivered with the code's AC, NT and ID flags still set: none may disturb the handler. */
__asm__(".text\n"
        "handler_entry:\n"
        "  pushq $0x202\n"
        "  popfq\n"
        "  jmp on_signal\n"
        "restorer:\n"
        "  movl $15, %eax\n" /* rt_sigreturn */
        "  syscall\n");
extern char handler_entry[], restorer[], __executable_start[], etext[];

static void install(int signal_number) {
  struct {
    void *handler;
    unsigned long flags;
    void *restorer;
    uint64_t mask;
  } action = {handler_entry, SA_SIGINFO | SA_ONSTACK | 0x04000000 /* SA_RESTORER */, restorer, ~0ull};
  if (syscall(SYS_rt_sigaction, signal_number, &action, NULL, 8) != 0) exit(6);
}

static int set_ldt(unsigned entry, uint32_t base, uint32_t limit, int pages, int wide, int code) {
  struct user_desc d;
  memset(&d, 0, sizeof d);
  d.entry_number = entry;
  d.base_addr = base;
  d.limit = limit;
  d.limit_in_pages = (unsigned)pages & 1;
  d.seg_32bit = (unsigned)wide & 1;
  d.contents = code ? 2 : 0;
  d.useable = 1;
  return syscall(SYS_modify_ldt, 1, &d, sizeof d) == 0;
}

/* Only this program's own text may make system calls, and only these. */
static void confine(void) {
  uint64_t low = (uint64_t)__executable_start, high = ((uint64_t)etext + 0xfff) & ~0xfffull;
  if (low >> 32 != high >> 32) exit(7);
#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (field))
#define POINTER offsetof(struct seccomp_data, instruction_pointer)
  struct sock_filter filter[] = {
      LOAD(offsetof(struct seccomp_data, arch)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 0, 11),
      LOAD(POINTER + 4),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)(low >> 32), 0, 9),
      LOAD(POINTER),
      BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, (uint32_t)low, 0, 7),
      BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, (uint32_t)high, 6, 0),
      LOAD(offsetof(struct seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_rt_sigreturn, 3, 0),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_read, 2, 0),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_write, 1, 0),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_exit_group, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP),
  };
  struct sock_fprog program = {sizeof filter / sizeof *filter, filter};
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) {
    perror("seccomp");
    exit(8);
  }
}

static void *map(uintptr_t address, size_t size, int protection, int fd) {
  int flags = (fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED) | (address ? MAP_FIXED_NOREPLACE : 0);
  void *at = mmap((void *)address, size, protection, flags, fd, 0);
  if (at == MAP_FAILED) {
    perror("mmap");
    exit(9);
  }
  return at;
}

int main(void) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getauxval(AT_HWCAP2) & 2) features |= FEATURE_FSGSBASE;
  if (__builtin_cpu_supports("avx")) features |= FEATURE_AVX;
  if (set_ldt(0, CODE_BASE, CODE_BYTES - 1, 0, 0, 1) && set_ldt(1, DATA_SEGMENT16, 0xffff, 0, 0, 0) &&
      set_ldt(2, DATA_BASE, 0xfffff, 1, 1, 0) && set_ldt(3, DATA_BASE, WINDOW_BYTES - 1, 0, 1, 0))
    features |= FEATURE_LDT;

  int fd = memfd_create("code", 0);
  if (fd < 0 || ftruncate(fd, CODE_BYTES) != 0) return 10;
  code_alias = map(0, CODE_BYTES, PROT_READ | PROT_WRITE, fd);
  memset(code_alias, INT3, CODE_BYTES);
  map(CODE_BASE, CODE_BYTES, PROT_READ | PROT_EXEC, fd);
  map(DATA_BASE, WINDOW_BYTES, PROT_READ | PROT_WRITE, -1);
  uint8_t *read_only = map(READONLY_BASE, PAGE_BYTES, PROT_READ | PROT_WRITE, -1);
  image = map(0, WINDOW_BYTES, PROT_READ | PROT_WRITE, -1);
  prepared = map(0, WINDOW_BYTES, PROT_READ | PROT_WRITE, -1);
  input = map(0, CAPACITY, PROT_READ | PROT_WRITE, -1);
  /* The shortest case is a tenth of the longest result. */
  out = output = map(0, 16ul * CAPACITY, PROT_READ | PROT_WRITE, -1);

  read_exactly(image, WINDOW_BYTES);
  read_exactly(read_only, PAGE_BYTES);
  memcpy(prepared, image, WINDOW_BYTES);
  memcpy(window, image, WINDOW_BYTES);
  mprotect(read_only, PAGE_BYTES, PROT_READ);
  write_exactly(&features, 4);

  size_t stack_bytes = 256 << 10;
  stack_t stack = {.ss_sp = map(0, stack_bytes, PROT_READ | PROT_WRITE, -1), .ss_size = stack_bytes};
  if (sigaltstack(&stack, NULL) != 0) return 11;
  int signals[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGSYS, SIGPROF};
  for (unsigned i = 0; i < sizeof signals / sizeof *signals; i++) install(signals[i]);
  struct itimerval tick = {{0, TICK_US}, {0, TICK_US}};
  setitimer(ITIMER_PROF, &tick, NULL);
  confine();
  __asm__ volatile("int3");
  quit(12);
}
