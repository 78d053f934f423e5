/**
 * The TLB: direct-mapped tables in the vCPU block, probed inline by the interpreter (see vcpu/layout.ts).
 *
 * Read and write tables hold machine pages; the write table only pages that take plain stores (memory, dirty bit
 * already set, no decoded code); those with code are in the tables of watched pages, where a store looks once more. The execute tables
 * hold code pages. Fills that are not global are noted in a
 * journal, so that a CR3 load undoes just those. Entries of large pages leave a mark of their region, so that INVLPG
 * searches the tables only where a large page may have been used: kernels have their direct map in large global pages, and
 * invalidate other regions all the time.
 */
import {
  MACHINE_HEADER,
  MACHINE_HEADER_firstVcpu,
  TLB_BYTES,
  TLB_CLASS_supervisor,
  TLB_CLASS_supervisorAc,
  TLB_CLASS_user,
  TLB_EMPTY_TAG,
  TLB_ENTRIES,
  TLB_ENTRY_addend,
  TLB_ENTRY_flags,
  TLB_ENTRY_tag,
  TLB_EXEC_OFFSET,
  TLB_FLAG_global,
  TLB_FLAG_large,
  TLB_JOURNAL_ENTRIES,
  TLB_JOURNAL_OFFSET,
  TLB_READ_OFFSET,
  TLB_VICTIM_TABLES,
  TLB_VICTIMS,
  TLB_WATCHED,
  TLB_WRITE,
  TLB_WRITE_OFFSET,
  VCPU_cpl,
  VCPU_cr0,
  VCPU_cr4,
  VCPU_domain,
  VCPU_flagSys,
  VCPU_nextVcpu,
  VCPU_tlb,
  VCPU_tlbExec,
  VCPU_tlbFilled,
  VCPU_tlbJournalCount,
  VCPU_tlbLargeGlobal,
  VCPU_tlbLargeLocal,
} from '../generated/layout';
import { CR0_AM, CR4_SMAP, FLAG_AC } from '../x86';
import {
  emptyFirstVictims,
  endOfVictims,
  firstWriteVictim,
  forgetVictims,
  forgetVictimsAt,
  makeWay,
} from './victims';

/** All tables lie one after the other: three for reading, writing and watched pages each, two for execution; then victims of six. */
const TABLES: i32 = 11;
const FIRST_TABLE: usize = TLB_READ_OFFSET as usize;
const ALL_ENTRIES: i32 = TABLES * TLB_ENTRIES + TLB_VICTIM_TABLES * TLB_VICTIMS;
const PAGE_MASK: u64 = ~(0xfff as u64);

export function readTable(cpu: usize, tlbClass: i32): usize {
  return cpu + ((TLB_READ_OFFSET + tlbClass * TLB_BYTES) as usize);
}
export function writeTable(cpu: usize, tlbClass: i32): usize {
  return readTable(cpu, tlbClass) + (TLB_WRITE as usize);
}
/** Pages with code that may be written to beside it. */
function watchedTable(cpu: usize, tlbClass: i32): usize {
  return readTable(cpu, tlbClass) + (TLB_WATCHED as usize);
}
/** Execute tables: only whether the access is a user's matters. */
export function execTable(cpu: usize, user: bool): usize {
  return cpu + ((TLB_EXEC_OFFSET + (user ? TLB_BYTES : 0)) as usize);
}
/** Where `va` would be in a table. */
export function slot(table: usize, va: u64): usize {
  return table + ((((va >> 12) as usize) & (TLB_ENTRIES - 1)) << 4);
}
export function hits(entry: usize, va: u64): bool {
  return load<u64>(entry, TLB_ENTRY_tag) === (va & PAGE_MASK);
}
export function addendOf(entry: usize): usize {
  return load<u32>(entry, TLB_ENTRY_addend);
}

/** Class of the accesses the vCPU makes now. */
export function currentClass(cpu: usize): i32 {
  if (load<i32>(cpu, VCPU_cpl) === 3) return TLB_CLASS_user;
  if ((load<u64>(cpu, VCPU_cr4) & CR4_SMAP) === 0) return TLB_CLASS_supervisorAc;
  return (load<u32>(cpu, VCPU_flagSys) & FLAG_AC) !== 0 ? TLB_CLASS_supervisorAc : TLB_CLASS_supervisor;
}
/** Class of accesses the processor makes to system tables: supervisor's, and SMAP holds whatever AC says. */
export function systemClass(cpu: usize): i32 {
  return (load<u64>(cpu, VCPU_cr4) & CR4_SMAP) === 0 ? TLB_CLASS_supervisorAc : TLB_CLASS_supervisor;
}

/** Are accesses that are not aligned faults now? Programs switch that on for tests of themselves, if ever. */
export function checksAlignment(cpu: usize): bool {
  if ((load<u32>(cpu, VCPU_flagSys) & FLAG_AC) === 0) return false;
  return load<i32>(cpu, VCPU_cpl) === 3 && (load<u64>(cpu, VCPU_cr0) & CR0_AM) !== 0;
}
/** Tables in which nothing is ever found, once they are filled with empty entries: as far from each other as those of a class. */
const NEVER_BYTES: i32 = TLB_WATCHED + TLB_BYTES;
const NEVER = memory.data(NEVER_BYTES, 16);

function emptyTable(table: usize): void {
  const end = table + (NEVER_BYTES as usize);
  for (let entry = table; entry < end; entry += 16) store<u64>(entry, TLB_EMPTY_TAG, TLB_ENTRY_tag);
}

/**
 * Point the vCPU at the tables of its current class; after a change of CPL, RFLAGS.AC or CR4.SMAP. While alignment is
 * checked every access misses, because only the slow path looks at it.
 */
export function selectTlb(cpu: usize): void {
  const tlbClass = currentClass(cpu);
  if (checksAlignment(cpu)) {
    if (load<u64>(NEVER, TLB_ENTRY_tag) !== TLB_EMPTY_TAG) emptyTable(NEVER);
    store<u32>(cpu, NEVER as u32, VCPU_tlb);
  } else {
    store<u32>(cpu, readTable(cpu, tlbClass) as u32, VCPU_tlb);
  }
  store<u32>(cpu, execTable(cpu, tlbClass === TLB_CLASS_user) as u32, VCPU_tlbExec);
}

/** Enter a page that has decoded code, in the code page at `code` alone. */
export function fillWatched(
  cpu: usize,
  tlbClass: i32,
  va: u64,
  addend: usize,
  code: usize,
  global: bool,
  pageShift: i32,
): void {
  const table = watchedTable(cpu, tlbClass);
  fill(cpu, table, va, addend, global, pageShift);
  const entry = slot(table, va);
  store<i32>(entry, load<i32>(entry, TLB_ENTRY_flags) | (code as i32), TLB_ENTRY_flags);
}

/** Enter a translation. `addend` for data tables is machine page - page of `va`; for execution the code page's table. */
export function fill(cpu: usize, table: usize, va: u64, addend: usize, global: bool, pageShift: i32): void {
  const entry = slot(table, va);
  store<u32>(cpu, 1, VCPU_tlbFilled);
  makeWay(cpu, table, entry, va);
  let flags: i32 = 0;
  if (pageShift > 12) {
    flags = TLB_FLAG_large;
    if (global || pageShift === 30) {
      store<u64>(cpu, load<u64>(cpu, VCPU_tlbLargeGlobal) | regionBit(va >> 30), VCPU_tlbLargeGlobal);
    } else {
      store<u64>(cpu, load<u64>(cpu, VCPU_tlbLargeLocal) | regionBit(va >> 22), VCPU_tlbLargeLocal);
    }
  }
  if (global) flags |= TLB_FLAG_global;
  else {
    const count = load<u32>(cpu, VCPU_tlbJournalCount);
    if (count < (TLB_JOURNAL_ENTRIES as u32)) {
      const number = ((entry - cpu - FIRST_TABLE) >> 4) as u16;
      store<u16>(cpu + (count << 1), number, TLB_JOURNAL_OFFSET);
    }
    if (count <= (TLB_JOURNAL_ENTRIES as u32)) store<u32>(cpu, count + 1, VCPU_tlbJournalCount);
  }
  store<u64>(entry, va & PAGE_MASK, TLB_ENTRY_tag);
  store<u32>(entry, addend as u32, TLB_ENTRY_addend);
  store<i32>(entry, flags, TLB_ENTRY_flags);
}

/** The bit of a region in a set of large pages: the top bits of a multiplicative hash. */
function regionBit(region: u64): u64 {
  const folded = (region ^ (region >> 32)) as u32;
  return (1 as u64) << (((folded * 0x9e37_79b1) >> 26) as u64);
}

/**
 * An entry that was never filled is all zeros, and stays so: a vCPU that does little touches few pages of its tables. The tag 0 is
 * that of page 0 as well, so it is never left where a lookup may compare with that: in the first place of each table, and in the last, where
 * bytes on both sides of the end of all addresses are looked up by the first and compared by the last of them.
 */
function empty(entry: usize): void {
  if ((load<u64>(entry, TLB_ENTRY_tag) | (load<u32>(entry, TLB_ENTRY_addend) as u64)) !== 0) {
    store<u64>(entry, TLB_EMPTY_TAG, TLB_ENTRY_tag);
  }
}

/** Empty the entries of a range. Where nothing was put in nothing is looked at: that would be the first touch of memory. */
function emptyBetween(cpu: usize, first: usize, end: usize): void {
  if (load<u32>(cpu, VCPU_tlbFilled) === 0) return;
  for (let entry = first; entry < end; entry += 16) empty(entry);
}

/** Throw away everything. */
export function tlbFlushAll(cpu: usize): void {
  const first = cpu + FIRST_TABLE;
  emptyBetween(cpu, first, first + ((ALL_ENTRIES as usize) << 4));
  for (let i = 0; i < TABLES; i++) {
    const table = first + ((i * TLB_BYTES) as usize);
    store<u64>(table, TLB_EMPTY_TAG, TLB_ENTRY_tag);
    store<u64>(slot(table, PAGE_MASK), TLB_EMPTY_TAG, TLB_ENTRY_tag);
  }
  emptyFirstVictims(cpu);
  forgetVictims(cpu);
  store<u32>(cpu, 0, VCPU_tlbJournalCount);
  store<u64>(cpu, 0, VCPU_tlbLargeLocal);
  store<u64>(cpu, 0, VCPU_tlbLargeGlobal);
  store<u32>(cpu, 0, VCPU_tlbFilled);
}

/** Throw away what is not global. */
export function tlbFlushNonGlobal(cpu: usize): void {
  const first = cpu + FIRST_TABLE;
  const count = load<u32>(cpu, VCPU_tlbJournalCount);
  if (count <= (TLB_JOURNAL_ENTRIES as u32)) {
    for (let i: u32 = 0; i < count; i++) {
      clearUnlessGlobal(first + ((load<u16>(cpu + (i << 1), TLB_JOURNAL_OFFSET) as usize) << 4));
    }
  } else {
    const end = first + ((ALL_ENTRIES as usize) << 4);
    for (let entry = first; entry < end; entry += 16) clearUnlessGlobal(entry);
  }
  forgetVictims(cpu);
  store<u32>(cpu, 0, VCPU_tlbJournalCount);
  store<u64>(cpu, 0, VCPU_tlbLargeLocal);
}

function clearUnlessGlobal(entry: usize): void {
  if ((load<i32>(entry, TLB_ENTRY_flags) & TLB_FLAG_global) === 0) empty(entry);
}

/** Throw away the translations of one address, of whatever page size. */
export function tlbInvalidate(cpu: usize, va: u64): void {
  const first = slot(cpu + FIRST_TABLE, va);
  for (let i = 0; i < TABLES; i++) {
    const entry = first + ((i * TLB_BYTES) as usize);
    if (hits(entry, va)) store<u64>(entry, TLB_EMPTY_TAG, TLB_ENTRY_tag);
  }
  forgetVictimsAt(cpu, va);
  if ((load<u64>(cpu, VCPU_tlbLargeLocal) & regionBit(va >> 22)) !== 0) invalidateLarge(cpu, va, 22);
  if ((load<u64>(cpu, VCPU_tlbLargeGlobal) & regionBit(va >> 30)) !== 0) invalidateLarge(cpu, va, 30);
}

function invalidateLarge(cpu: usize, va: u64, shift: u64): void {
  let entry = cpu + FIRST_TABLE;
  const end = entry + ((ALL_ENTRIES as usize) << 4);
  for (; entry < end; entry += 16) {
    if (load<u64>(entry, TLB_ENTRY_tag) >> shift !== va >> shift) continue;
    if ((load<i32>(entry, TLB_ENTRY_flags) & TLB_FLAG_large) === 0) continue;
    store<u64>(entry, TLB_EMPTY_TAG, TLB_ENTRY_tag);
  }
}

/** Throw away what the execute tables hold: after a change of the decoder mode. */
export function flushExec(cpu: usize): void {
  const first = cpu + (TLB_EXEC_OFFSET as usize);
  emptyBetween(cpu, first, first + ((2 * TLB_BYTES) as usize));
}

export function firstVcpu(): usize {
  return load<u32>(MACHINE_HEADER as usize, MACHINE_HEADER_firstVcpu);
}
export function nextVcpu(cpu: usize): usize {
  return load<u32>(cpu, VCPU_nextVcpu);
}

/** Throw away what the tables of watched pages hold: code pages are about to vanish. */
export function flushWatched(cpu: usize): void {
  const first = watchedTable(cpu, 0);
  emptyBetween(cpu, first, first + ((3 * TLB_BYTES) as usize));
}

/** Remove a machine page from the write tables of every vCPU, so that stores to it come the slow way. */
export function flushFrame(mfn: u32): void {
  const page = mfn << 12;
  for (let cpu = firstVcpu(); cpu !== 0; cpu = nextVcpu(cpu)) {
    if (load<u32>(cpu, VCPU_tlbFilled) === 0) continue;
    flushFrameWithin(cpu + (TLB_WRITE_OFFSET as usize), cpu + (TLB_EXEC_OFFSET as usize), page);
    flushFrameWithin(firstWriteVictim(cpu), endOfVictims(cpu), page);
  }
}
function flushFrameWithin(first: usize, end: usize, page: u32): void {
  for (let entry = first; entry < end; entry += 16) {
    const tag = load<u64>(entry, TLB_ENTRY_tag);
    if ((tag as u32) + load<u32>(entry, TLB_ENTRY_addend) === page) {
      store<u64>(entry, TLB_EMPTY_TAG, TLB_ENTRY_tag);
    }
  }
}

/** Throw away everything that the vCPUs of a domain remember: its p2m changed. */
export function flushDomain(domain: u32): void {
  for (let cpu = firstVcpu(); cpu !== 0; cpu = nextVcpu(cpu)) {
    if (load<u32>(cpu, VCPU_domain) === domain) tlbFlushAll(cpu);
  }
}
