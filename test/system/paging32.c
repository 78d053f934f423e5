/* Paging of 32-bit kernels: two levels with and without 4 MiB pages, and PAE. Rights, reserved bits, accessed and dirty. */
#include "kernel32.h"

#define BASE 0x80000000u /* entry 512 of the directory, entry 2 of PAE's pointers */
#define P 1ull
#define W 2ull
#define U 4ull
#define A 0x20ull
#define D 0x40ull
#define PS 0x80ull
#define NX (1ull << 63)

static u32 narrow_table[1024] __attribute__((aligned(4096)));
static u64 pae_directory[512] __attribute__((aligned(4096))), pae_table[512] __attribute__((aligned(4096)));
/* Two pages with INT 0x81 at 0x100; 4 MiB aligned memory behind the kernel serves the larger pages. */
static u8 page[8192] __attribute__((aligned(4096)));
#define LARGE 0x2000000u

SNIPPET(p_read, "mov (%ebx), %eax");
SNIPPET(p_write, "mov %eax, (%ebx)");
SNIPPET(p_rmw, "lock; orl $0, (%ebx)");
SNIPPET(p_read8, "fildll (%ebx)\nfstp %st(0)");
SNIPPET(p_movups, "movups (%ebx), %xmm0");
SNIPPET(p_movups_to, "movups %xmm0, (%ebx)");
SNIPPET(p_stac, "stac\nmov (%ebx), %eax\nclac\nmov %eax, (%ebx)");
SNIPPET(p_to_cr3, "mov %ebx, %cr3");
SNIPPET(p_to_cr4, "mov %ebx, %cr4");
SNIPPET(p_to_cr0, "mov %ebx, %cr0");

static int is_pae;
/* Level 1 is the table, 2 the directory; PAE's pointers are not part of the matrix. */
static u64 get_entry(int level) {
  if (is_pae) return level == 2 ? pae_directory[0] : pae_table[0];
  return level == 2 ? narrow_directory[BASE >> 22] : narrow_table[0];
}
static void set_entry(int level, u64 value) {
  if (is_pae) *(level == 2 ? &pae_directory[0] : &pae_table[0]) = value;
  else *(level == 2 ? &narrow_directory[BASE >> 22] : &narrow_table[0]) = value;
}
static u64 target_of(int level, int leaf) {
  if (level == 2 && leaf == 1) return is_pae ? (u32)pae_table : (u32)narrow_table;
  return level == 1 ? (u32)page : LARGE | PS;
}
static void set_entries(const u64 *entries, int leaf) {
  for (int level = 2; level >= leaf; level--) set_entry(level, entries[level] | target_of(level, leaf));
}
static void flush(void) { set_cr3(cr3()); }

static u64 bits_of(unsigned code) { return (code & 1 ? P : 0) | (code & 2 ? W : 0) | (code & 4 ? U : 0) | (code & 8 && is_pae ? NX : 0); }
static void put_bits(u64 entry) {
  put(entry & P ? "P" : "-");
  put(entry & W ? "W" : "-");
  put(entry & U ? "U" : "-");
  if (is_pae) put(entry & NX ? "X" : "-");
}
/* A and D of both levels after an access that went well: one hexadecimal digit a level, A = 1, D = 2. */
static void put_used(int leaf) {
  for (int level = 2; level >= leaf; level--) {
    u64 e = get_entry(level);
    put_hex((e & A ? 1 : 0) | (e & D ? 2 : 0));
  }
}

static void access(const u64 *entries, int leaf, int kind, int user, u32 flags) {
  set_entries(entries, leaf);
  flush();
  u32 address = BASE + 0x100;
  prepare(user ? U32 : K32, kind == 0 ? p_read : p_write);
  in.gpr[EBX] = address + 0x80;
  in.eflags |= flags;
  if (kind == 2) in.eip = address;
  run_quietly();
  put(" ");
  if (out.vector == DONE) put_used(leaf);
  else {
    put(out.vector == 14 ? "e" : "v");
    put_hex(out.vector == 14 ? out.error : out.vector);
    if (out.vector == 14 && out.cr2 != (kind == 2 ? address : address + 0x80)) field("cr2", out.cr2);
    if (out.eip != in.eip) field("eip", out.eip - in.eip);
  }
}

/* All accesses under all control bits for one set of entries. */
static void matrix(const u64 *entries, int leaf, u32 controls) {
  u32 old0 = cr0(), old4 = cr4();
  u64 efer = rdmsr(MSR_EFER);
  for (unsigned c = 0; c < 32; c++) {
    if (!(controls >> c & 1)) continue;
    set_cr0((old0 & ~CR0_WP) | (c & 1 ? CR0_WP : 0));
    set_cr4((old4 & ~(CR4_SMEP | CR4_SMAP)) | (c & 2 ? CR4_SMEP : 0) | (c & 4 ? CR4_SMAP : 0));
    wrmsr(MSR_EFER, (efer & ~0x800ull) | (c & 8 ? 0 : 0x800));
    for (int level = 2; level >= leaf; level--) put_bits(entries[level]);
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

static u32 seed = 0x12345679;
static u32 random(void) {
  seed ^= seed << 13;
  seed ^= seed >> 17;
  seed ^= seed << 5;
  return seed >> 7;
}

static void rights(int leaf) {
  u64 entries[3];
  for (unsigned upper = 0; upper < (is_pae ? 16 : 8); upper++)
    for (unsigned lower = 0; lower < (is_pae ? 16 : 8); lower++) {
      if (leaf == 2 && lower != upper) continue;
      entries[2] = bits_of(upper);
      entries[1] = bits_of(lower);
      matrix(entries, leaf, is_full ? 0xffffffff : leaf == 2 ? 0x00010081 | 1u << (random() & 31) : 1u << (random() & 31));
    }
}

/* Which bits of an entry are reserved at which level. */
static void reserved(int leaf) {
  for (int level = 2; level >= leaf; level--)
    for (int bit = 7; bit < (is_pae ? 63 : 32); bit++) {
      u64 entries[3] = { 0, 7, 7 };
      /* Global and ignored; address bits within memory only lead elsewhere. */
      if (bit == 7 && leaf == level) continue;
      if (bit == 7 && leaf == 1 && level == 2 && (is_pae || cr4() & CR4_PSE)) continue;
      if (level > leaf || leaf == 1 ? bit >= 12 && bit < 51 : bit >= 21 + !is_pae && bit < 51) continue;
      entries[level] |= 1ull << bit;
      put("level");
      field("", level);
      field("leaf", leaf);
      field("bit", bit);
      put(":");
      access(entries, leaf, 0, 0, 0);
      access(entries, leaf, 1, 1, 0);
      /* PSE-36: bits of an address where nothing is. */
      if (is_pae || level == 1 || leaf == 1 || bit < 13 || bit > 20) access(entries, leaf, 2, 1, 0);
      end_line();
      /* Not present wins over reserved. */
      entries[level] &= ~P;
      put("not present:");
      access(entries, leaf, 0, 0, 0);
      end_line();
    }
}

static void accessed_and_dirty(int leaf) {
  static const struct { const char *name; const char *code; } kinds[] = { { "read", p_read }, { "write", p_write }, { "lock or", p_rmw } };
  for (unsigned k = 0; k < 3; k++)
    for (unsigned before = 0; before < 4; before++) {
      u64 entries[3] = { 0, 7, 7 };
      entries[leaf] |= (before & 1 ? A : 0) | (before & 2 ? D : 0);
      set_entries(entries, leaf);
      flush();
      prepare(U32, kinds[k].code);
      in.gpr[EBX] = BASE + 0x200;
      run_quietly();
      put(kinds[k].name);
      field("leaf", leaf);
      field("before", before);
      field("v", out.vector);
      put(" ");
      put_used(leaf);
      /* A read first, then a write through the translation that is cached. */
      in.gpr[EBX] += 8;
      in.eip = (u32)p_write + user_base;
      run_quietly();
      put(" then ");
      put_used(leaf);
      end_line();
    }
  /* A write that the leaf forbids leaves the dirty bit alone. */
  u64 entries[3] = { 0, leaf == 1 ? 5 : 7, leaf == 2 ? 5 : 7 };
  set_entries(entries, leaf);
  flush();
  prepare(U32, p_write);
  in.gpr[EBX] = BASE + 0x200;
  run_quietly();
  field("forbidden write v", out.vector);
  field("dirty", get_entry(leaf) & D);
  end_line();
}

static void set_second(u64 value) {
  if (is_pae) pae_table[1] = value;
  else narrow_table[1] = value;
}
static u32 page_sum(void) {
  u32 sum = 0;
  for (int i = 0; i < 32; i++) sum = sum * 31 + page[4080 + i];
  return sum;
}
static void crossing(void) {
  static const struct { const char *name; const char *code; int size; } kinds[] = {
    { "read 4", p_read, 4 }, { "write 4", p_write, 4 }, { "read 8", p_read8, 8 }, { "movups", p_movups, 16 }, { "movups to", p_movups_to, 16 },
  };
  static const u8 pages[] = { 0, 3, 5, 7 };
  for (unsigned first = 0; first < 4; first++)
    for (unsigned second = 0; second < 4; second++)
      for (unsigned k = 0; k < 5; k++)
        for (int user = 0; user < 2; user++) {
          u64 entries[3] = { 0, 7, 7 };
          set_entries(entries, 1);
          set_entry(1, pages[first] ? (u32)page | pages[first] : 0);
          set_second(pages[second] ? ((u32)page + 4096) | pages[second] : 0);
          flush();
          for (int i = 0; i < 32; i++) page[4080 + i] = 0xa0 + i;
          u32 before = page_sum();
          prepare(user ? U32 : K32, kinds[k].code);
          in.gpr[EBX] = BASE + 4096 - (kinds[k].size - 1);
          put(kinds[k].name);
          field("first", pages[first]);
          field("second", pages[second]);
          field("user", user);
          run("");
          /* Nothing of a write may be there when its second half faults. */
          if (out.vector == DONE) {
            field("bytes", page_sum());
            end_line();
          } else manual("bytes of a write that faulted", k, page_sum(), before);
        }
  /* Instructions that cross into a page that is not there, or not executable. */
  for (unsigned second = 0; second < 3; second++)
    for (int at = 4092; at < 4097; at++) {
      u64 entries[3] = { 0, 7, 7 };
      set_entries(entries, 1);
      set_second(second == 0 ? 0 : second == 1 ? ((u32)page + 4096) | 3 : ((u32)page + 4096) | 7);
      static const u8 code[] = { 0xb8, 0x78, 0x56, 0x34, 0x12, 0xcd, 0x81 };
      for (unsigned i = 0; i < sizeof code; i++) page[at + i] = code[i];
      flush();
      prepare(U32, 0);
      in.eip = BASE + at;
      field("fetch at", at);
      field("second", second);
      run("");
    }
  set_second(0);
}

static u32 look(u32 address) { return *(volatile u32 *)address; }

/* What must be forgotten, and what may not be. Only outcomes that the manual fixes are printed. */
static void cached(void) {
  const u32 at = BASE + 0x180;
  u64 entries[3] = { 0, 7, 7 };
  *(u32 *)(page + 0x180) = 0x11111111;
  *(u32 *)(page + 4096 + 0x180) = 0x22222222;
  set_entries(entries, 1);
  flush();
  field("first", look(at));
  set_entry(1, ((u32)page + 4096) | 7);
  invlpg(at);
  field("invlpg", look(at));
  set_entry(1, (u32)page | 7);
  flush();
  field("cr3", look(at));
  /* Global pages survive a load of CR3, but not a change of CR4.PGE. */
  set_cr4(cr4() | CR4_PGE);
  set_entry(1, (u32)page | 0x107);
  flush();
  look(at);
  set_entry(1, ((u32)page + 4096) | 7);
  set_cr4(cr4() & ~CR4_PGE);
  field("PGE", look(at));
  end_line();
  /* A change of an upper entry. */
  set_entry(2, 0);
  invlpg(at);
  prepare(K32, p_read);
  in.gpr[EBX] = at;
  run("upper gone");
  set_entries(entries, 1);
  field("upper back", look(at));
  end_line();
  /* More rights need no flush: the walk is repeated before the fault. */
  set_entry(1, (u32)page | 5);
  invlpg(at);
  look(at);
  set_entry(1, (u32)page | 7);
  prepare(U32, p_write);
  in.gpr[EBX] = at;
  run("write after rights were given");
  /* A large page's translations go as a whole. */
  if (!is_pae && !(cr4() & CR4_PSE)) return;
  set_entry(2, LARGE | 7 | PS);
  flush();
  u32 *large = (u32 *)LARGE, step = is_pae ? 0x80000 : 0x100000;
  large[0] = 1;
  large[0x5000 / 4] = 2;
  large[step] = 3;
  large[step + 0x5000 / 4] = 4;
  u32 x = look(BASE) * 16 + look(BASE + 0x5000);
  set_entry(2, (u32)(large + step) | 7 | PS);
  invlpg(BASE + 0x7000);
  field("large", x);
  field("after", look(BASE) * 16 + look(BASE + 0x5000));
  end_line();
}

static void smap(void) {
  u64 entries[3] = { 0, 7, 7 };
  set_entries(entries, 1);
  flush();
  set_cr4(cr4() | CR4_SMAP);
  prepare(K32, p_stac);
  in.gpr[EBX] = BASE + 0x180;
  run("stac, read, clac, write");
  prepare(U32, p_stac);
  run("stac by user");
  set_cr4(cr4() & ~CR4_SMAP);
}

/* The four pointers of PAE are read when CR3 is loaded, and checked then (4.4.1). */
static void pointers(void) {
  u32 root = cr3(), flags = cr4();
  u64 before = pae_pointers[3];
  for (int bit = 1; bit < 64; bit++) {
    if (bit >= 12 && bit < 51) continue;
    int is_reserved = bit < 3 || (bit >= 5 && bit < 9) || bit >= 51;
    pae_pointers[3] = (u32)pae_directory | 1ull | 1ull << bit;
    prepare(K32, p_to_cr3);
    in.gpr[EBX] = root;
    run_quietly();
    manual("pointer bit", bit, out.vector << 8 | (out.error & 0xff), is_reserved ? 0xd00 : (DONE << 8 | 0xff));
    /* Not present: nothing is reserved. */
    pae_pointers[3] &= ~P;
    prepare(K32, p_to_cr3);
    in.gpr[EBX] = root;
    run_quietly();
    field("bit", bit);
    field("not present", out.vector);
    prepare(K32, p_read);
    in.gpr[EBX] = 0xc0000000;
    run("");
  }
  pae_pointers[3] = (u32)pae_directory | 3;
  static const struct { const char *name; u32 bit; } loads[] = { { "PGE", CR4_PGE }, { "PSE", CR4_PSE }, { "SMEP", CR4_SMEP } };
  for (int i = 0; i < 3 && !is_tcg; i++) {
    prepare(K32, p_to_cr4);
    in.gpr[EBX] = flags ^ loads[i].bit;
    run_quietly();
    manual(loads[i].name, 0, out.vector, 13);
    manual("cr4 stays", 0, cr4(), flags);
  }
  if (!is_tcg) {
    u32 before0 = cr0();
    prepare(K32, p_to_cr0);
    in.gpr[EBX] = before0 | 0x40000000;
    run_quietly();
    manual("CD", 0, out.vector, 13);
    manual("cr0 stays", 0, cr0(), before0);
    /* What is in memory counts only from the next load on. */
    pae_pointers[3] = (u32)pae_directory | 1;
    set_cr3(root);
    look(0xc0000000);
    pae_pointers[3] = 0;
    invlpg(0xc0000000);
    prepare(K32, p_read);
    in.gpr[EBX] = 0xc0000000;
    run_quietly();
    manual("pointer cleared in memory", 0, out.vector, DONE);
    set_cr3(root);
    run_quietly();
    manual("then loaded", 0, out.vector, 14);
  }
  pae_pointers[3] = before;
  /* Pointers have no rights, and no accessed bit. */
  pae_pointers[2] = (u32)pae_directory | 0xe11;
  set_cr3(root);
  u64 entries[3] = { 0, 7, 7 };
  access(entries, 1, 1, 1, 0);
  end_line();
  manual("pointer stays", 0, pae_pointers[2] & 0xfff, 0xe11);
  pae_pointers[2] = 0;
  set_cr3(root);
  access(entries, 1, 1, 1, 0);
  access(entries, 1, 2, 0, 0);
  end_line();
  /* CR3 points to 32 bytes, anywhere in a page; its lowest bits do not count. */
  u8 *high = (u8 *)LARGE + 0xfe0;
  for (int i = 0; i < 4; i++) ((u64 *)high)[i] = pae_pointers[i];
  ((u64 *)high)[2] = (u32)pae_directory | 1;
  for (u32 low = 0; low < 0x20; low += 0x1f) {
    set_cr3((u32)high | low);
    access(entries, 1, 0, 0, 0);
    field("cr3", cr3() & 0xfff);
    end_line();
  }
  set_cr3(root);
}

static void all(int leaf) {
  rights(leaf);
  reserved(leaf);
  accessed_and_dirty(leaf);
}

void paging32(void) {
  static const u8 end[] = { 0xcd, 0x81 };
  for (int i = 0; i < 2; i++) page[0x100 + i] = ((u8 *)LARGE)[0x100 + i] = end[i];
  put("two levels\n");
  set_paging(PAGING_NARROW);
  all(1);
  crossing();
  cached();
  smap();
  put("two levels, PSE\n");
  set_cr4(cr4() | CR4_PSE);
  all(2);
  reserved(1);
  cached();
  set_cr4(cr4() & ~CR4_PSE);
  /* Without CR4.PSE the bit that makes large pages means nothing. */
  u64 entries[3] = { 0, 7, 7 | PS };
  access(entries, 1, 0, 0, 0);
  access(entries, 1, 1, 1, 0);
  end_line();
  put("PAE\n");
  is_pae = 1;
  pae_pointers[2] = (u32)pae_directory | 1;
  set_paging(PAGING_PAE);
  wrmsr(MSR_EFER, rdmsr(MSR_EFER) | 0x800);
  all(1);
  all(2);
  crossing();
  cached();
  smap();
  pointers();
  wrmsr(MSR_EFER, 0);
  set_paging(PAGING_OFF);
}
