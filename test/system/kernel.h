/* What the parts of the 64-bit test kernel share. */
#ifndef KERNEL_H
#define KERNEL_H
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long i64;

/* Registers before and after; the offsets are known to entry64.S. */
struct state {
  u64 gpr[16], rip, cs, rflags, ss, ds, es, fs, gs;
  u64 handler_ss, handler_cs, handler_rflags, vector, error, frame, cr2, dr6;
};
enum { RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8, R9, R10, R11, R12, R13, R14, R15 };

extern struct state in, out;
void run_state(void);
extern char stubs[], run_iretq[];
extern u64 pml4[512], pdpt[512], pd_low[512], pd_user[512], pd_high[512];

/* The address of the kernel's memory that users see. */
#define USER 0x40000000ull

/* Selectors. SYSRET and SYSEXIT need the first five in this order. */
enum {
  KCODE = 0x08, KDATA = 0x10, UCODE32 = 0x1b, UDATA = 0x23, UCODE = 0x2b, KCODE32 = 0x30, KCODE16 = 0x38,
  UCODE16 = 0x43, CONFORMING = 0x48, TSS = 0x50, LDT = 0x60, FREE = 0x70, FREE_COUNT = 16,
};
/* Software interrupt vectors with DPL 3: the normal end of a case. */
enum { DONE = 0x81 };

extern u64 gdt[64];
extern u64 ldt[16];
struct gate { u16 low, selector, attributes, middle; u32 high, zero; };
extern struct gate idt[256];
struct tss { u32 pad0; u64 rsp[3], pad1, ist[7], pad2; u16 pad3, bitmap_at; u8 bitmap[8200]; } __attribute__((packed));
extern struct tss tss;
extern u8 test_stack[8192], trap_stack[8192], ist_stacks[7][1024];
#define STACK_TOP ((u64)test_stack + sizeof test_stack - 64)

enum context { K64, U64, K32, U32, K16, U16, CONTEXTS };
extern const char *const context_names[CONTEXTS];
/* `in` for code at `code` (address as the kernel sees it) in a context; registers have recognisable values. */
void prepare(enum context context, const void *code);
/* Run and print one line. */
void run(const char *name);
void run_quietly(void);
void report(const char *name);
void case_in(enum context context, const char *name, const void *code);
/* The same bytes in several contexts: bit n of `mask` = context n. */
void case_everywhere(unsigned mask, const char *name, const void *code);
#define ALL 0x3fu
#define USERS ((1u << U64) | (1u << U32) | (1u << U16))
#define WIDE ((1u << U64) | (1u << K64))
#define NARROW ((1u << K32) | (1u << U32))
#define FLAT (WIDE | NARROW)

/* QEMU's TCG accepts what the manual refuses: such cases are skipped there, and must be #GP(0) elsewhere. */
extern int is_tcg;
void put(const char *text);
void put_hex(u64 value);
void field(const char *name, u64 value);
void end_line(void);

void reset_descriptors(void);
void set_gate(int vector, u64 target, u16 selector, u16 attributes);
/* Descriptor from base, limit and attributes (as in bits 40..55). */
u64 descriptor(u32 base, u32 limit, u32 attributes);

/* Code of a case: ends with INT 0x81. */
#define SNIPPET(symbol, body) \
  __asm__(".pushsection .snippets,\"awx\",@progbits\n.balign 16\n.globl " #symbol "\n" #symbol ":\n" body \
          "\nint $0x81\n.popsection\n"); \
  extern char symbol[]
#define SNIPPET32(symbol, body) \
  __asm__(".pushsection .snippets,\"awx\",@progbits\n.balign 16\n.code32\n.globl " #symbol "\n" #symbol ":\n" body \
          "\nint $0x81\n.code64\n.popsection\n"); \
  extern char symbol[]
#define SNIPPET16(symbol, body) \
  __asm__(".pushsection .snippets,\"awx\",@progbits\n.balign 16\n.code16\n.globl " #symbol "\n" #symbol ":\n" body \
          "\nint $0x81\n.code64\n.popsection\n"); \
  extern char symbol[]

static inline u64 rdmsr(u32 n) { u32 a, d; __asm__ volatile("rdmsr" : "=a"(a), "=d"(d) : "c"(n)); return a | (u64)d << 32; }
static inline void wrmsr(u32 n, u64 v) { __asm__ volatile("wrmsr" : : "a"((u32)v), "d"((u32)(v >> 32)), "c"(n) : "memory"); }
static inline u64 cr0(void) { u64 v; __asm__ volatile("mov %%cr0, %0" : "=r"(v)); return v; }
static inline u64 cr3(void) { u64 v; __asm__ volatile("mov %%cr3, %0" : "=r"(v)); return v; }
static inline u64 cr4(void) { u64 v; __asm__ volatile("mov %%cr4, %0" : "=r"(v)); return v; }
static inline void set_cr0(u64 v) { __asm__ volatile("mov %0, %%cr0" : : "r"(v) : "memory"); }
static inline void set_cr3(u64 v) { __asm__ volatile("mov %0, %%cr3" : : "r"(v) : "memory"); }
static inline void set_cr4(u64 v) { __asm__ volatile("mov %0, %%cr4" : : "r"(v) : "memory"); }
static inline void invlpg(u64 a) { __asm__ volatile("invlpg (%0)" : : "r"(a) : "memory"); }
static inline void out8(u16 port, u8 v) { __asm__ volatile("outb %0, %1" : : "a"(v), "d"(port)); }
enum { MSR_EFER = 0xc0000080, MSR_STAR, MSR_LSTAR, MSR_CSTAR, MSR_FMASK, MSR_FS = 0xc0000100, MSR_GS, MSR_KGS };

void exceptions(void);
void paging(void);
void modes(void);
void privileges(void);
void code_changes(void);
void processors(void);
void litmus(void);
void litmus_in_turns(void);
void litmus_busy(void);
extern int is_full;
extern u32 cpu_count;
#endif
