/* Paging: rights, reserved bits, accessed and dirty bits, page sizes, translations that stay cached. */
#include "kernel.h"

#define BASE 0x10000000000ull /* entry 2 of the top table */
#define P 1ull
#define W 2ull
#define U 4ull
#define A 0x20ull
#define D 0x40ull
#define PS 0x80ull
#define G 0x100ull
#define NX (1ull << 63)

static u64 l3[512] __attribute__((aligned(4096))), l2[512] __attribute__((aligned(4096))), l1[512] __attribute__((aligned(4096)));
/* Two pages with INT 0x81 at 0x100; 2 MiB aligned memory behind the kernel serves the larger pages. */
static u8 page[8192] __attribute__((aligned(4096)));
#define LARGE 0x2000000ull

SNIPPET(p_read, "mov (%rdi), %eax");
SNIPPET(p_write, "mov %eax, (%rdi)");
SNIPPET(p_rmw, "lock; orl $0, (%rdi)");
SNIPPET(p_read8, "mov (%rdi), %rax");
SNIPPET(p_write8, "mov %rax, (%rdi)");
SNIPPET(p_movups, "movups (%rdi), %xmm0");
SNIPPET(p_movups_to, "movups %xmm0, (%rdi)");
SNIPPET(p_stac, "stac\nmov (%rdi), %eax\nclac\nmov %eax, (%rdi)");
SNIPPET(p_clac, "clac");
SNIPPET(p_lar, "lar %di, %eax");
SNIPPET(p_ds, "mov %edi, %ds");

static u64 *entry_of(int level) { return level == 4 ? &pml4[2] : level == 3 ? &l3[0] : level == 2 ? &l2[0] : &l1[0]; }
/* Table or page an entry leads to. */
static u64 target_of(int level, int leaf) {
  if (level == 4) return (u64)l3;
  if (level == leaf) return level == 1 ? (u64)page : level == 2 ? LARGE | PS : 0 | PS;
  return level == 3 ? (u64)l2 : (u64)l1;
}
/* Physical address behind offset 0 of the leaf, so that the case's data can be put there. */
static u64 data_offset(int leaf) { return leaf == 3 ? LARGE : 0; }

static void flush(void) {
  u64 before = cr4();
  set_cr4(before & ~0x80ull);
  set_cr4(before);
  set_cr3(cr3());
}

static u64 bits_of(unsigned code) {
  return (code & 1 ? P : 0) | (code & 2 ? W : 0) | (code & 4 ? U : 0) | (code & 8 ? NX : 0);
}
static void put_bits(u64 entry) {
  put(entry & P ? "P" : "-");
  put(entry & W ? "W" : "-");
  put(entry & U ? "U" : "-");
  put(entry & NX ? "X" : "-");
}
static void set_entries(const u64 *entries, int leaf) {
  for (int level = 4; level >= leaf; level--) *entry_of(level) = entries[level] | target_of(level, leaf);
}
/* A and D of all levels after an access that went well: one hexadecimal digit a level, A = 1, D = 2. */
static void put_used(int leaf) {
  for (int level = 4; level >= leaf; level--) {
    u64 e = *entry_of(level);
    put_hex((e & A ? 1 : 0) | (e & D ? 2 : 0));
  }
}

static void access(const u64 *entries, int leaf, int kind, int user, u64 flags) {
  set_entries(entries, leaf);
  flush();
  u64 address = BASE + data_offset(leaf) + 0x100;
  prepare(user ? U64 : K64, kind == 0 ? p_read : p_write);
  in.gpr[RDI] = address + 0x80;
  in.rflags |= flags;
  if (kind == 2) in.rip = address;
  run_quietly();
  put(" ");
  if (out.vector == DONE) put_used(leaf);
  else {
    put(out.vector == 14 ? "e" : "v");
    put_hex(out.vector == 14 ? out.error : out.vector);
    if (out.vector == 14 && out.cr2 != (kind == 2 ? address : address + 0x80)) field("cr2", out.cr2);
    if (out.rip != in.rip) field("rip", out.rip - in.rip);
  }
}

/* All accesses under all control bits for one set of entries. */
static void matrix(const u64 *entries, int leaf, unsigned controls) {
  u64 old0 = cr0(), old4 = cr4(), efer = rdmsr(MSR_EFER);
  for (unsigned c = 0; c < 32; c++) {
    if (!(controls >> c & 1)) continue;
    set_cr0((old0 & ~0x10000ull) | (c & 1 ? 0x10000 : 0));
    set_cr4((old4 & ~0x300000ull) | (c & 2 ? 0x100000 : 0) | (c & 4 ? 0x200000 : 0));
    wrmsr(MSR_EFER, (efer & ~0x800ull) | (c & 8 ? 0 : 0x800));
    for (int level = 4; level >= leaf; level--) put_bits(entries[level]);
    put(c & 1 ? " WP" : " --");
    put(c & 2 ? " SMEP" : " ----");
    put(c & 4 ? " SMAP" : " ----");
    put(c & 16 ? " AC" : " --");
    put(c & 8 ? " --:" : " NXE:");
    for (int user = 0; user < 2; user++)
      for (int kind = 0; kind < 3; kind++) access(entries, leaf, kind, user, c & 16 ? 0x40000 : 0);
    end_line();
  }
  set_cr0(old0);
  set_cr4(old4);
  wrmsr(MSR_EFER, efer);
}

static u64 seed = 0x123456789abcdefull;
static u32 random(void) {
  seed ^= seed << 13;
  seed ^= seed >> 7;
  seed ^= seed << 17;
  return seed >> 11;
}

static void rights(void) {
  static const char *const sizes[] = { 0, "4K", "2M", "1G" };
  for (int leaf = 1; leaf <= 3; leaf++) {
    put(sizes[leaf]);
    put(" pages\n");
    for (int level = 4; level >= leaf; level--)
      for (unsigned code = 0; code < 16; code++) {
        u64 entries[5] = { 0, 7, 7, 7, 7 };
        if (code == 7 && level != leaf) continue;
        entries[level] = bits_of(code);
        matrix(entries, leaf, is_full || level == leaf ? 0xffffffff : 0x00000181 | (1u << (random() & 31)));
      }
    for (unsigned i = 0; i < (is_full ? 2000 : 60); i++) {
      u64 entries[5] = { 0 };
      /* Mostly present, so that the other bits matter. */
      for (int level = 4; level >= leaf; level--) entries[level] = bits_of(random() & 15 & ~(random() & 8)) | ((random() & 15) ? P : 0);
      matrix(entries, leaf, 1u << (random() & 31));
    }
  }
}

/* Which bits of an entry are reserved at which level. */
static void reserved(void) {
  for (int leaf = 1; leaf <= 3; leaf++)
    for (int level = 4; level >= leaf; level--)
      for (int bit = 7; bit < 63; bit++) {
        if (bit == 9) bit = level == leaf && leaf > 1 ? 12 : 51;
        u64 entries[5] = { 0, 7, 7, 7, 7 };
        entries[level] |= 1ull << bit;
        /* Bits below the width of physical addresses only lead elsewhere. */
        if (bit >= (leaf == 3 ? 30 : 21) && bit < 51) continue;
        if (bit == 7 && level != 4) continue;
        put("level");
        field("", level);
        field("leaf", leaf);
        field("bit", bit);
        put(":");
        access(entries, leaf, 0, 0, 0);
        access(entries, leaf, 1, 1, 0);
        access(entries, leaf, 2, 1, 0);
        end_line();
        /* Not present wins over reserved. */
        entries[level] &= ~P;
        put("not present:");
        access(entries, leaf, 0, 0, 0);
        end_line();
      }
}

static void accessed_and_dirty(void) {
  static const struct { const char *name; const char *code; } kinds[] = { { "read", p_read }, { "write", p_write }, { "lock or", p_rmw } };
  for (int leaf = 1; leaf <= 3; leaf++)
    for (unsigned k = 0; k < 3; k++)
      for (unsigned before = 0; before < 4; before++) {
        u64 entries[5] = { 0, 7, 7, 7, 7 };
        entries[leaf] |= before & 1 ? A : 0;
        entries[leaf] |= before & 2 ? D : 0;
        set_entries(entries, leaf);
        flush();
        prepare(U64, kinds[k].code);
        in.gpr[RDI] = BASE + data_offset(leaf) + 0x200;
        run_quietly();
        put(kinds[k].name);
        field("leaf", leaf);
        field("before", before);
        field("v", out.vector);
        put(" ");
        put_used(leaf);
        /* A read first, then a write through the translation that is cached. */
        in.gpr[RDI] += 8;
        in.rip = (u64)p_write + USER;
        run_quietly();
        put(" then ");
        put_used(leaf);
        end_line();
      }
  /* A write that the leaf forbids leaves the dirty bit alone. */
  u64 entries[5] = { 0, 5, 7, 7, 7 };
  set_entries(entries, 1);
  flush();
  prepare(U64, p_write);
  in.gpr[RDI] = BASE + 0x200;
  run_quietly();
  field("forbidden write v", out.vector);
  field("dirty", *entry_of(1) & D);
  end_line();
}

static void crossing(void) {
  static const struct { const char *name; const char *code; int size; } kinds[] = {
    { "read 4", p_read, 4 }, { "write 4", p_write, 4 }, { "read 8", p_read8, 8 }, { "write 8", p_write8, 8 },
    { "movups", p_movups, 16 }, { "movups to", p_movups_to, 16 }, { "lock or", p_rmw, 4 },
  };
  static const u64 pages[] = { 0, 3, 5, 7 };
  for (unsigned first = 0; first < 4; first++)
    for (unsigned second = 0; second < 4; second++)
      for (unsigned k = 0; k < 7; k++)
        for (int user = 0; user < 2; user++) {
          u64 entries[5] = { 0, 7, 7, 7, 7 };
          set_entries(entries, 1);
          l1[0] = pages[first] ? (u64)page | pages[first] : 0;
          l1[1] = pages[second] ? ((u64)page + 4096) | pages[second] : 0;
          flush();
          for (int i = 0; i < 32; i++) page[4080 + i] = 0xa0 + i;
          prepare(user ? U64 : K64, kinds[k].code);
          in.gpr[RDI] = BASE + 4096 - (kinds[k].size - 1);
          put(kinds[k].name);
          field("first", pages[first]);
          put_hex(0);
          field("second", pages[second]);
          field("user", user);
          field("used", 0);
          run("");
          /* Nothing of a write may be there when its second half faults. */
          u64 sum = 0;
          for (int i = 0; i < 32; i++) sum = sum * 31 + page[4080 + i];
          field("bytes", sum);
          field("A", (l1[0] >> 5 & 3) | (out.vector == DONE ? l1[1] >> 3 & 12 : 0));
          end_line();
        }
  /* Instructions that cross into a page that is not there, or not executable. */
  for (unsigned second = 0; second < 3; second++)
    for (int at = 4092; at < 4097; at++) {
      u64 entries[5] = { 0, 7, 7, 7, 7 };
      set_entries(entries, 1);
      l1[1] = second == 0 ? 0 : second == 1 ? ((u64)page + 4096) | 7 | NX : ((u64)page + 4096) | 7;
      static const u8 code[] = { 0xb8, 0x78, 0x56, 0x34, 0x12, 0xcd, 0x81 };
      for (unsigned i = 0; i < sizeof code; i++) page[at + i] = code[i];
      flush();
      prepare(U64, 0);
      in.rip = BASE + at;
      field("fetch at", at);
      field("second", second);
      run("");
    }
}

static void put_pages(void) {
  *(u32 *)(page + 0x180) = 0x11111111;
  *(u32 *)(page + 4096 + 0x180) = 0x22222222;
}
static u32 look(u64 address) { return *(volatile u32 *)address; }

/* What must be forgotten, and what may not be. Only outcomes that the manual fixes are printed. */
static void cached(void) {
  u64 entries[5] = { 0, 7, 7, 7, 7 };
  const u64 at = BASE + 0x180;
  put_pages();
  set_entries(entries, 1);
  l1[0] = (u64)page | 7;
  flush();
  u32 before = look(at);
  l1[0] = ((u64)page + 4096) | 7;
  invlpg(at);
  field("invlpg", before ^ look(at));
  l1[0] = (u64)page | 7;
  set_cr3(cr3());
  field("cr3", look(at));
  l1[0] = ((u64)page + 4096) | 7;
  set_cr0(cr0() ^ 0x80000000u ^ 0x80000000u);
  invlpg(at);
  set_cr4(cr4() | 0x80);
  l1[0] = (u64)page | 7 | G;
  invlpg(at);
  field("global", look(at));
  l1[0] = ((u64)page + 4096) | 7 | G;
  invlpg(at);
  field("invlpg of global", look(at));
  l1[0] = (u64)page | 7 | G;
  set_cr4(cr4() & ~0x80ull);
  field("PGE off", look(at));
  set_cr4(cr4() | 0x80);
  l1[0] = ((u64)page + 4096) | 7;
  set_cr4(cr4() & ~0x80ull);
  /* A change of an upper entry */
  look(at);
  l2[0] = 0;
  invlpg(at);
  prepare(K64, p_read);
  in.gpr[RDI] = at;
  run_quietly();
  field("upper gone v", out.vector);
  field("e", out.error);
  l2[0] = (u64)l1 | 7;
  /* Not present entries are never remembered. */
  field("upper back", look(at));
  end_line();
  /* More rights need no flush: the walk is repeated before the fault. */
  l1[0] = (u64)page | 5;
  invlpg(at);
  look(at);
  l1[0] = (u64)page | 7;
  prepare(U64, p_write);
  in.gpr[RDI] = at;
  run("write after rights were given");
  put_pages();
  /* A large page's translations go as a whole. */
  l2[0] = LARGE | 7 | PS;
  flush();
  *(volatile u32 *)LARGE = 1;
  *(volatile u32 *)(LARGE + 0x5000) = 2;
  *(volatile u32 *)(LARGE + 0x200000) = 3;
  *(volatile u32 *)(LARGE + 0x205000) = 4;
  u32 x = look(BASE) * 16 + look(BASE + 0x5000);
  l2[0] = (LARGE + 0x200000) | 7 | PS;
  invlpg(BASE + 0x7000);
  field("large", x);
  field("after", look(BASE) * 16 + look(BASE + 0x5000));
  end_line();
  l2[0] = (u64)l1 | 7;
  flush();
}

static void pcids(void) {
  const u64 at = BASE + 0x180;
  u64 entries[5] = { 0, 7, 7, 7, 7 };
  u32 a, b, c, d;
  __asm__ volatile("cpuid" : "=a"(a), "=b"(b), "=c"(c), "=d"(d) : "a"(1), "c"(0));
  if (!(c >> 17 & 1)) { put("PCID not offered\n"); return; }
  put_pages();
  set_entries(entries, 1);
  l1[0] = (u64)page | 7;
  flush();
  u64 root = cr3();
  set_cr4(cr4() | 1 << 17);
  set_cr3(root | 1);
  look(at);
  l1[0] = ((u64)page + 4096) | 7;
  set_cr3(root | 2);
  field("PCID 2", look(at));
  set_cr3(root | 1);
  field("flushed PCID 1", look(at));
  struct { u64 pcid, address; } d0 = { 1, at };
  l1[0] = (u64)page | 7;
  __asm__ volatile("invpcid %0, %1" : : "m"(d0), "r"(0ull) : "memory");
  field("INVPCID 0", look(at));
  l1[0] = ((u64)page + 4096) | 7;
  __asm__ volatile("invpcid %0, %1" : : "m"(d0), "r"(1ull) : "memory");
  field("INVPCID 1", look(at));
  l1[0] = (u64)page | 7;
  __asm__ volatile("invpcid %0, %1" : : "m"(d0), "r"(2ull) : "memory");
  field("INVPCID 2", look(at));
  l1[0] = ((u64)page + 4096) | 7;
  __asm__ volatile("invpcid %0, %1" : : "m"(d0), "r"(3ull) : "memory");
  field("INVPCID 3", look(at));
  set_cr3((root | 1) | 1ull << 63);
  field("cr3 reads", cr3() & 0x8000000000000fff);
  set_cr3(root);
  set_cr4(cr4() & ~(1ull << 17));
  end_line();
}

static void smap(void) {
  u64 entries[5] = { 0, 7, 7, 7, 7 };
  set_entries(entries, 1);
  l1[0] = (u64)page | 7;
  flush();
  case_everywhere(ALL, "stac without SMAP", p_stac + 0);
  set_cr4(cr4() | 0x200000);
  prepare(K64, p_stac);
  in.gpr[RDI] = BASE + 0x180;
  run("stac, read, clac, write");
  prepare(U64, p_stac);
  run("stac by user");
  prepare(U64, p_clac);
  run("clac by user");
  /* Reads of descriptors are the system's, whatever AC says. */
  struct { u16 limit; u64 base; } __attribute__((packed)) gdtr = { sizeof gdt - 1, (u64)gdt };
  for (unsigned i = 0; i < 64; i++) ((u64 *)page)[i] = gdt[i];
  gdtr.base = BASE;
  for (int ac = 0; ac < 2; ac++) {
    prepare(K64, p_ds);
    in.gpr[RDI] = KDATA;
    in.rflags |= ac ? 0x40000 : 0;
    (void)gdtr;
    run("load ds");
  }
  set_cr4(cr4() & ~0x200000ull);
  case_in(K64, "clac without SMAP", p_clac);
}

static void fill(void) {
  static const u8 end[] = { 0xcd, 0x81 };
  for (int i = 0; i < 2; i++) page[0x100 + i] = ((u8 *)LARGE)[0x100 + i] = end[i];
}

void paging(void) {
  fill();
  rights();
  reserved();
  accessed_and_dirty();
  crossing();
  cached();
  pcids();
  smap();
  pml4[2] = 0;
  flush();
}
