/* What the parts of the 32-bit test kernel share. */
#ifndef KERNEL32_H
#define KERNEL32_H
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef int i32;

/* Registers before and after; the offsets are known to entry32.S. */
struct state {
  u32 gpr[8], eip, cs, eflags, ss, ds, es, fs, gs;
  u32 handler_ss, handler_cs, handler_eflags, vector, error, frame, cr2, dr6;
  u32 frame_size; /* 2 or 4 bytes an item */
};
enum { EAX, ECX, EDX, EBX, ESP, EBP, ESI, EDI };

extern struct state in, out;
void run_state(void);
void run_real(void);
extern char stubs[], stubs16[], real_stubs[], low_part[], low_part_end[];
extern struct pointer { u16 limit; u32 base; } __attribute__((packed)) gdtr, idtr, real_idtr;
extern u32 real_data_selector, real_cr3;

/* Where users see the kernel's memory: 1 GiB with paging, else at the same address. */
#define ALIAS 0x40000000u
extern u32 user_base;

/* Selectors. SYSENTER and SYSEXIT need the first four in this order. */
enum {
  KCODE = 0x08, KDATA = 0x10, UCODE = 0x1b, UDATA = 0x23, KCODE16 = 0x28, UCODE16 = 0x33, REAL_CODE = 0x38, REAL_DATA = 0x40,
  KSTACK16 = 0x48, USTACK16 = 0x53, CONFORMING = 0x58, TSS = 0x60, TSS16 = 0x68, LDT = 0x70, STUBS16 = 0x78,
  CODE1 = 0x81, DATA1 = 0x89, CODE2 = 0x92, DATA2 = 0x9a, FREE = 0xa0, FREE_COUNT = 12,
};
/* Software interrupt vector with DPL 3: the normal end of a case. */
enum { DONE = 0x81 };

extern u64 gdt[32];
extern u64 ldt[16];
extern u64 idt[256];
struct tss32 { u32 link, esp0, ss0, esp1, ss1, esp2, ss2, cr3, rest[17]; u16 trap, bitmap_at; u8 bitmap[40]; };
struct tss16 { u16 link, sp0, ss0, sp1, ss1, sp2, ss2, rest[16]; };
extern struct tss32 tss;
extern struct tss16 tss_16;
extern u8 test_stack[8192], trap_stack[8192], ring_stacks[3][4096];
#define STACK_TOP ((u32)test_stack + sizeof test_stack - 64)
#define TRAP_TOP ((u32)trap_stack + sizeof trap_stack)
/* Real-address and virtual-8086 mode: code is copied to the first, the stack is in the second. */
#define LOW_CODE 0x10000u
#define LOW_STACK 0x20000u
#define LOW_DATA 0x30000u

enum context { K32, U32, K16, U16, R16, V86, CONTEXTS };
extern const char *const context_names[CONTEXTS];
/* `in` for code at `code` in a context; registers have recognisable values. */
void prepare(enum context context, const void *code);
/* Run and print one line. */
void run(const char *name);
void run_quietly(void);
void report(const char *name);
void case_in(enum context context, const char *name, const void *code);
/* The same bytes in several contexts: bit n of `mask` = context n. */
void case_everywhere(unsigned mask, const char *name, const void *code);
#define ALL 0x3fu
#define PROTECTED 0x0fu
#define USERS ((1u << U32) | (1u << U16))
#define KERNELS ((1u << K32) | (1u << K16))
#define WIDE ((1u << K32) | (1u << U32))
#define REAL (1u << R16)

/* QEMU's TCG does not do what the manual says: such a line is not printed there, and its values must be equal. */
extern int is_tcg;
void manual(const char *name, u32 number, u32 is, u32 must);
void put(const char *text);
void put_hex(u64 value);
void field(const char *name, u64 value);
void end_line(void);

void reset_descriptors(void);
u64 gate(u32 target, u16 selector, u16 attributes);
void set_gate(int vector, u32 target, u16 selector, u16 attributes);
/* Descriptor from base, limit and attributes (as in bits 40..55). */
u64 descriptor(u32 base, u32 limit, u32 attributes);
/* Paging: off, two levels or PAE, all with the kernel's memory as it is and again for users. */
enum paging { PAGING_OFF, PAGING_NARROW, PAGING_PAE };
void set_paging(enum paging);
extern u32 narrow_directory[1024];
extern u64 pae_pointers[4];

/* Code of a case: ends with INT 0x81. */
#define SNIPPET(symbol, body) \
  __asm__(".pushsection .snippets,\"awx\",@progbits\n.balign 16\n.globl " #symbol "\n" #symbol ":\n" body \
          "\nint $0x81\n.popsection\n"); \
  extern char symbol[]
#define SNIPPET16(symbol, body) \
  __asm__(".pushsection .snippets,\"awx\",@progbits\n.balign 16\n.code16\n.globl " #symbol "\n" #symbol ":\n" body \
          "\nint $0x81\n.code32\n.popsection\n"); \
  extern char symbol[]

static inline u64 rdmsr(u32 n) { u32 a, d; __asm__ volatile("rdmsr" : "=a"(a), "=d"(d) : "c"(n)); return a | (u64)d << 32; }
static inline void wrmsr(u32 n, u64 v) { __asm__ volatile("wrmsr" : : "a"((u32)v), "d"((u32)(v >> 32)), "c"(n) : "memory"); }
static inline u32 cr0(void) { u32 v; __asm__ volatile("mov %%cr0, %0" : "=r"(v)); return v; }
static inline u32 cr3(void) { u32 v; __asm__ volatile("mov %%cr3, %0" : "=r"(v)); return v; }
static inline u32 cr4(void) { u32 v; __asm__ volatile("mov %%cr4, %0" : "=r"(v)); return v; }
static inline void set_cr0(u32 v) { __asm__ volatile("mov %0, %%cr0" : : "r"(v) : "memory"); }
static inline void set_cr3(u32 v) { __asm__ volatile("mov %0, %%cr3" : : "r"(v) : "memory"); }
static inline void set_cr4(u32 v) { __asm__ volatile("mov %0, %%cr4" : : "r"(v) : "memory"); }
static inline void invlpg(u32 a) { __asm__ volatile("invlpg (%0)" : : "r"(a) : "memory"); }
static inline void out8(u16 port, u8 v) { __asm__ volatile("outb %0, %1" : : "a"(v), "d"(port)); }
#define MSR_EFER 0xc0000080
#define CR0_PG 0x80000000u
#define CR0_WP 0x10000u
#define CR4_PSE 0x10u
#define CR4_PAE 0x20u
#define CR4_PGE 0x80u
#define CR4_SMEP 0x100000u
#define CR4_SMAP 0x200000u

void paging32(void);
void exceptions32(void);
void gates32(void);
void modes32(void);
void tasks32(int way);
extern int is_full;
#endif
