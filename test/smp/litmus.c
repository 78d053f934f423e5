/*
 * Litmus tests: what several processors may see of each other's memory accesses (SDM vol. 3, 8.2), and that what is locked
 * is one step. Each prints how often the forbidden outcome came, which must be 0.
 *
 * Accesses go through arrays with a line of cache for each location; processors meet at a barrier every few of them, so
 * that they go through the same locations at the same time.
 */
#include "../system/kernel.h"

#ifndef ROUNDS
#define ROUNDS 400
#endif
#ifndef PROCESSORS
#define PROCESSORS 4
#endif
enum { LOCATIONS = 64, CPUS = PROCESSORS };

extern char trampoline[], trampoline_end[];
volatile u32 next_stack;
u8 processor_stacks[4][4096] __attribute__((aligned(16)));
static volatile u32 arrived, ids[CPUS];
static volatile u32 barrier_count, barrier_phase;
typedef void test_function(u32 cpu);
static test_function *volatile work;
static volatile u32 work_cpus, work_number, finished;
static volatile u32 *const apic = (u32 *)0xfee00000;

struct line { volatile u64 value, more[7]; };
static struct line x[LOCATIONS], y[LOCATIONS];
static u32 seen[4][LOCATIONS], seen2[4][LOCATIONS];

#define BARRIER() __asm__ volatile("" ::: "memory")

/* All `n` processors come here before one goes on. */
static void meet(u32 n) {
  u32 phase = barrier_phase;
  if (__sync_add_and_fetch(&barrier_count, 1) == n) {
    barrier_count = 0;
    barrier_phase = phase + 1;
  } else while (barrier_phase == phase) {
    /* More of them than may run at a time: the others must have their turn. */
    if (n > 2) __asm__ volatile("pause");
    BARRIER();
  }
}

/* ---- two accesses each, over all locations ---- */

static inline void st(volatile u64 *a) { __asm__ volatile("movq $1, %0" : "=m"(*a) : : "memory"); }
static inline u32 ld(volatile u64 *a) { u64 v; __asm__ volatile("mov %1, %0" : "=r"(v) : "m"(*a) : "memory"); return v; }
static inline void none(void) { BARRIER(); }
static inline void mfence(void) { __asm__ volatile("mfence" ::: "memory"); }
static inline void locked_or(void) { __asm__ volatile("lock; orl $0, -4(%%rsp)" ::: "memory"); }
static inline void exchange(void) { u32 r = 1, m; __asm__ volatile("xchg %0, %1" : "+r"(r), "+m"(m) : : "memory"); }
static inline void serialize(void) { u32 a = 0, c = 0; __asm__ volatile("cpuid" : "+a"(a), "+c"(c) : : "rbx", "rdx", "memory"); }

static void clear(void) {
  for (int i = 0; i < LOCATIONS; i++) x[i].value = y[i].value = 0;
}

#define STORE_LOAD(name, fence) \
  static void name(u32 cpu) { \
    struct line *mine = cpu ? y : x, *other = cpu ? x : y; \
    for (int i = 0; i < LOCATIONS; i++) { \
      if (i % 8 == 0) meet(2); \
      st(&mine[i].value); fence(); seen[cpu][i] = ld(&other[i].value); \
    } \
  }
STORE_LOAD(sb_plain, none)
STORE_LOAD(sb_mfence, mfence)
STORE_LOAD(sb_lock, locked_or)
STORE_LOAD(sb_xchg, exchange)
STORE_LOAD(sb_cpuid, serialize)

static void mp(u32 cpu) {
  for (int i = 0; i < LOCATIONS; i++) {
    if (i % 8 == 0) meet(2);
    if (cpu == 0) { st(&x[i].value); st(&y[i].value); }
    else { seen[0][i] = ld(&y[i].value); seen[1][i] = ld(&x[i].value); }
  }
}
static void lb(u32 cpu) {
  struct line *from = cpu ? y : x, *to = cpu ? x : y;
  for (int i = 0; i < LOCATIONS; i++) {
    if (i % 8 == 0) meet(2);
    seen[cpu][i] = ld(&from[i].value); st(&to[i].value);
  }
}
static void corr(u32 cpu) {
  for (int i = 0; i < LOCATIONS; i++) {
    if (i % 8 == 0) meet(2);
    if (cpu == 0) st(&x[i].value);
    else { seen[0][i] = ld(&x[i].value); seen[1][i] = ld(&x[i].value); }
  }
}
static void iriw(u32 cpu) {
  for (int i = 0; i < LOCATIONS; i++) {
    if (i % 8 == 0) meet(4);
    if (cpu == 0) st(&x[i].value);
    else if (cpu == 1) st(&y[i].value);
    else {
      struct line *first = cpu == 2 ? x : y, *second = cpu == 2 ? y : x;
      seen[cpu][i] = ld(&first[i].value); seen2[cpu][i] = ld(&second[i].value);
    }
  }
}

/* Run a test on `n` processors, this one being number 0. */
static void on_all(test_function *test, u32 n) {
  finished = 0;
  work = test;
  work_cpus = n;
  __sync_add_and_fetch(&work_number, 1);
  test(0);
  while (finished != n - 1) __asm__ volatile("pause");
}
void processor_main(u32 number) {
  (void)number;
  extern char idtr[];
  __asm__ volatile("lidt %0" : : "m"(idtr));
  apic[0xf0 / 4] = 0x1ff;
  static volatile u32 numbers;
  u32 cpu = __sync_add_and_fetch(&numbers, 1);
  ids[cpu] = apic[0x20 / 4] & 0xff000000;
  __sync_add_and_fetch(&arrived, 1);
  u32 done = 0;
  for (;;) {
    while (work_number == done) __asm__ volatile("pause");
    done = work_number;
    if (cpu >= work_cpus) continue;
    work(cpu);
    __sync_add_and_fetch(&finished, 1);
  }
}

static void line(const char *name, u64 forbidden) {
  put(name);
  field("forbidden", forbidden);
  end_line();
}
static u64 both_zero(void) { u64 n = 0; for (int i = 0; i < LOCATIONS; i++) n += !seen[0][i] && !seen[1][i]; return n; }
static u64 both_one(void) { u64 n = 0; for (int i = 0; i < LOCATIONS; i++) n += seen[0][i] && seen[1][i]; return n; }
static u64 late(void) { u64 n = 0; for (int i = 0; i < LOCATIONS; i++) n += seen[0][i] && !seen[1][i]; return n; }
static u64 disagree(void) {
  u64 n = 0;
  for (int i = 0; i < LOCATIONS; i++) n += seen[2][i] && !seen2[2][i] && seen[3][i] && !seen2[3][i];
  return n;
}
static u64 repeat(test_function *test, u32 n, u64 (*count)(void)) {
  u64 sum = 0;
  for (int round = 0; round < ROUNDS; round++) {
    clear();
    on_all(test, n);
    sum += count();
  }
  return sum;
}

/* ---- one step for all ---- */

static struct { volatile u8 b; volatile u16 w; volatile u32 l, d, by_bit, by_byte, add; volatile u64 q, c; } counters;
static volatile u32 bit_lock, byte_lock;
static struct { volatile u64 low, high; } pair __attribute__((aligned(16))), mixed __attribute__((aligned(16)));
static u8 pages[3 * 4096] __attribute__((aligned(4096)));
#define STEPS (ROUNDS * 20)

static void count(u32 cpu) {
  (void)cpu;
  for (int i = 0; i < STEPS; i++) {
    __asm__ volatile("lock; incb %0" : "+m"(counters.b));
    __asm__ volatile("lock; addw $3, %0" : "+m"(counters.w));
    __asm__ volatile("lock; subl $1, %0" : "+m"(counters.l));
    u32 one = 1;
    __asm__ volatile("lock; xaddl %0, %1" : "+r"(one), "+m"(counters.d));
    __asm__ volatile("stc; lock; adcl $1, %0" : "+m"(counters.add) : : "cc");
    __asm__ volatile("lock; incq %0" : "+m"(counters.q));
    u64 old;
    do old = counters.c; while (!__sync_bool_compare_and_swap(&counters.c, old, old + 7));
  }
}
static void with_locks(u32 cpu) {
  (void)cpu;
  for (int i = 0; i < STEPS / 4; i++) {
    u8 taken;
    do __asm__ volatile("lock; btsl $5, %1; setc %0" : "=r"(taken), "+m"(bit_lock) : : "memory"); while (taken);
    counters.by_bit++;
    BARRIER();
    bit_lock = 0;
    u32 value;
    do { value = 1; __asm__ volatile("xchg %0, %1" : "+r"(value), "+m"(byte_lock) : : "memory"); } while (value);
    counters.by_byte++;
    BARRIER();
    byte_lock = 0;
  }
}
static void wide(u32 cpu) {
  (void)cpu;
  for (int i = 0; i < STEPS / 4; i++) {
    u64 low = pair.low, high = pair.high;
    u8 done;
    do __asm__ volatile("lock; cmpxchg16b %1; sete %0" : "=q"(done), "+m"(pair), "+a"(low), "+d"(high)
                        : "b"(low + 1), "c"(high + 3) : "memory");
    while (!done);
  }
}
/* One changes both halves as one, the other each by itself. */
static void wide_and_halves(u32 cpu) {
  for (int i = 0; i < STEPS / 4; i++) {
    if (cpu == 0) {
      u64 low = mixed.low, high = mixed.high;
      u8 done;
      do __asm__ volatile("lock; cmpxchg16b %1; sete %0" : "=q"(done), "+m"(mixed), "+a"(low), "+d"(high)
                          : "b"(low + 1), "c"(high + 3) : "memory");
      while (!done);
    } else {
      __asm__ volatile("lock; addq $0x10, %0" : "+m"(mixed.low));
      u64 high;
      do high = mixed.high; while (!__sync_bool_compare_and_swap(&mixed.high, high, high + 0x20));
    }
  }
}
/* Over a line and over a page, beside aligned ones that touch the same bytes. */
static u32 *const over_line = (u32 *)(pages + 64 - 2), *const over_page = (u32 *)(pages + 4096 - 3);
static void split(u32 cpu) {
  for (int i = 0; i < STEPS / 8; i++) {
    if (cpu == 0) {
      __asm__ volatile("lock; incl %0" : "+m"(*over_line));
      __asm__ volatile("lock; addl $0x100, %0" : "+m"(*over_page));
    } else {
      /* The last two bytes of the first, from the aligned word that begins with them. */
      __asm__ volatile("lock; addl $0x10000, %0" : "+m"(*(u32 *)(pages + 64)));
      __asm__ volatile("lock; incb %0" : "+m"(*(u8 *)over_page));
      __asm__ volatile("lock; incl %0" : "+m"(*over_line));
    }
  }
}

/* ---- code that another processor changes ---- */

static volatile u32 code_version, code_seen;
static u64 code_wrong;
typedef u32 (*function)(void);
static void cross(u32 cpu) {
  u8 *code = pages + 2 * 4096 + 10;
  if (cpu == 0) {
    static const u8 body[] = { 0xb8, 0, 0, 0, 0, 0xc3 };
    for (int i = 0; i < 6; i++) code[i] = body[i];
    for (u32 i = 1; i <= STEPS / 4; i++) {
      *(volatile u32 *)(code + 1) = i;
      pages[2 * 4096 + 2048] = i;
      code_version = i;
      while (code_seen != i) BARRIER();
    }
  } else {
    for (u32 i = 1; i <= STEPS / 4; i++) {
      while (code_version != i) BARRIER();
      serialize();
      if (((function)code)() != i) code_wrong++;
      code_seen = i;
    }
  }
}

/* ---- interrupts from one to the other ---- */

volatile u32 ipis;
__asm__(".text\nipi_handler: lock; incl ipis\npush %rax\nmov $0xfee000b0, %eax\nmovl $0, (%rax)\npop %rax\niretq\n");
extern char ipi_handler[];
static void send(u32 cpu) {
  if (cpu == 0) {
    for (u32 i = 0; i < ROUNDS; i++) {
      apic[0x310 / 4] = ids[1];
      apic[0x300 / 4] = 0x4090;
      while (ipis != i + 1) BARRIER();
    }
  } else if (ipis < ROUNDS) {
    /* Half of them find it asleep. */
    __asm__ volatile("sti");
    while (ipis < ROUNDS / 2) BARRIER();
    for (;;) {
      __asm__ volatile("cli" ::: "memory");
      if (ipis >= ROUNDS) break;
      __asm__ volatile("sti; hlt" ::: "memory");
    }
  }
}

/* Two processors busy with nothing that they share: for figures. */
static void alone(u32 cpu) {
  volatile u32 here = 0;
  (void)cpu;
  for (u32 i = 0; i < ROUNDS * 2000u; i++) here += i;
}
static u64 stamp(void) { u32 a, d; __asm__ volatile("rdtsc" : "=a"(a), "=d"(d)); return a | (u64)d << 32; }

static void start_others(void) {
  extern struct gate idt[256];
  set_gate(0x90, (u64)ipi_handler, KCODE, 0x8e00);
  apic[0xf0 / 4] = 0x1ff;
  u8 *to = (u8 *)0x8000;
  for (char *from = trampoline; from < trampoline_end; from++) *to++ = *from;
  apic[0x300 / 4] = 0xc4500;
  for (volatile int i = 0; i < 20000; i++) {}
  apic[0x300 / 4] = 0xc4608;
  while (arrived < CPUS - 1) __asm__ volatile("pause");
}

static void steps(void) {
  on_all(count, 2);
  u64 wrong = counters.b != (u8)(2 * STEPS);
  wrong |= (u64)(counters.w != (u16)(6 * STEPS)) << 1;
  wrong |= (u64)(counters.l != (u32)(-2 * STEPS)) << 2;
  wrong |= (u64)(counters.d != 2 * STEPS) << 3;
  wrong |= (u64)(counters.q != 2 * STEPS) << 4;
  wrong |= (u64)(counters.c != 14 * STEPS) << 5;
  wrong |= (u64)(counters.add != 4 * STEPS) << 6;
  line("counters", wrong);
  on_all(with_locks, 2);
  line("spin locks", counters.by_bit != 2 * (STEPS / 4) || counters.by_byte != 2 * (STEPS / 4));
  on_all(wide, 2);
  line("cmpxchg16b", pair.low != 2 * (STEPS / 4) || pair.high != 6 * (STEPS / 4));
  on_all(wide_and_halves, 2);
  line("cmpxchg16b and its halves", mixed.low != 0x11 * (STEPS / 4) || mixed.high != 0x23 * (STEPS / 4));
  on_all(split, 2);
  /* Both added 1 to the whole of the first; the aligned one added to what is beyond it. */
  wrong = *over_line != 2 * (STEPS / 8);
  wrong |= (u64)(*(u16 *)(pages + 66) != (u16)(STEPS / 8)) << 1;
  wrong |= (u64)(pages[4096 - 3] != (u8)(STEPS / 8)) << 2;
  wrong |= (u64)((*over_page >> 8) != STEPS / 8) << 3;
  line("split locks", wrong);
}
/* Where one processor waits for the other without a word, each round takes a slice: only what needs few of them. */
void litmus_in_turns(void) {
  start_others();
  steps();
  on_all(send, 2);
  line("interrupts", ipis != ROUNDS);
}
void litmus(void) {
  start_others();
  line("message passing", repeat(mp, 2, late));
  u64 reordered = repeat(sb_plain, 2, both_zero);
  put("store buffering is allowed"); field("seen", reordered); end_line();
  line("store buffering, mfence", repeat(sb_mfence, 2, both_zero));
  line("store buffering, lock", repeat(sb_lock, 2, both_zero));
  line("store buffering, xchg", repeat(sb_xchg, 2, both_zero));
  line("store buffering, cpuid", repeat(sb_cpuid, 2, both_zero));
  line("load buffering", repeat(lb, 2, both_one));
  line("coherence", repeat(corr, 2, late));
  line("independent reads", repeat(iriw, 4, disagree));
  steps();
  on_all(cross, 2);
  line("cross-modifying code", code_wrong);
  on_all(send, 2);
  line("interrupts", ipis != ROUNDS);
  u64 from = stamp();
  alone(0);
  u64 middle = stamp();
  on_all(alone, 2);
  u64 to = stamp();
  put("busy"); field("one", middle - from); field("two", to - middle); end_line();
}
/* All processors busy for ever, each with memory of its own. */
static void forever(u32 cpu) {
  for (;;) alone(cpu);
}
void litmus_busy(void) {
  if (CPUS > 1) start_others();
  on_all(forever, CPUS);
}
