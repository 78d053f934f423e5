/**
 * The page walk (SDM vol. 3, chapter 4): 4-level, PAE and two-level paging, with protection checks, error codes and
 * the accessed and dirty bits. Nothing here looks at a TLB or makes an exception pending.
 *
 * Entries are updated with compare-and-exchange, so that a vCPU that clears an entry at the same moment wins and
 * the walk sees its new value.
 */
import { invalidateCode } from '../code/invalidate';
import {
  PHYSICAL_ADDRESS_BITS,
  TLB_CLASS_supervisor,
  TLB_CLASS_user,
  VCPU_cr0,
  VCPU_cr3,
  VCPU_cr4,
  VCPU_efer,
  VCPU_pdpte,
} from '../generated/layout';
import {
  CR0_PG,
  CR0_WP,
  CR4_PAE,
  CR4_PGE,
  CR4_PSE,
  CR4_SMEP,
  EFER_LMA,
  EFER_NXE,
  PF_FETCH,
  PF_PRESENT,
  PF_RESERVED,
  PF_USER,
  PF_WRITE,
} from '../x86';
import { holdsCode, resolve, resolvedPage, resolvedWritable, resolveForWrite } from './physical';

export const READ: i32 = 0;
export const WRITE: i32 = 1;
export const FETCH: i32 = 2;

/** Results of a walk that succeeded: guest-physical address, and what the TLB may remember. */
export let walkPhysical: u64 = 0;
/** The class may write here and the entry is already dirty. */
export let walkWritable: bool = false;
export let walkGlobal: bool = false;
/** log2 of the page's size. */
export let walkShift: i32 = 12;

/** Added to the error code of a failed walk, so that 0 means success. */
export const WALK_FAILED: i32 = 0x100;

const ENTRY_PRESENT: u64 = 1;
const ENTRY_WRITE: u64 = 2;
const ENTRY_USER: u64 = 4;
const ENTRY_ACCESSED: u64 = 0x20;
const ENTRY_DIRTY: u64 = 0x40;
const ENTRY_LARGE: u64 = 0x80;
const ENTRY_GLOBAL: u64 = 0x100;
const ENTRY_NX: u64 = 1 << 63;
const ADDRESS_MASK: u64 = 0x000f_ffff_ffff_f000;
const BEYOND_PHYSICAL: u64 = 0x000f_ffff_ffff_ffff & ~(((1 as u64) << PHYSICAL_ADDRESS_BITS) - 1);
/** Also reserved in the entries of PAE paging. */
const PAE_RESERVED: u64 = 0x7ff0_0000_0000_0000;

/**
 * Translate `va` for an access of a TLB class (user; supervisor without, or with, access to user pages).
 * With `update` false no accessed or dirty bit is set: for looking without being seen.
 * Returns 0, or WALK_FAILED plus the page-fault error code.
 */
export function walk(cpu: usize, va: u64, access: i32, tlbClass: i32, update: bool): i32 {
  if ((load<u64>(cpu, VCPU_cr0) & CR0_PG) === 0) {
    walkPhysical = va & 0xffff_ffff;
    walkWritable = true;
    walkGlobal = false;
    walkShift = 12;
    return 0;
  }
  const cr4 = load<u64>(cpu, VCPU_cr4);
  const cr3 = load<u64>(cpu, VCPU_cr3);
  if ((load<u64>(cpu, VCPU_efer) & EFER_LMA) !== 0) {
    return walkWide(cpu, va, access, tlbClass, update, 3, cr3 & ADDRESS_MASK, BEYOND_PHYSICAL);
  }
  if ((cr4 & CR4_PAE) !== 0) {
    const entry = load<u64>(cpu + ((((va >> 30) & 3) as usize) << 3), VCPU_pdpte);
    if ((entry & ENTRY_PRESENT) === 0) return WALK_FAILED | errorCode(cpu, access, tlbClass, 0);
    return walkWide(
      cpu,
      va,
      access,
      tlbClass,
      update,
      1,
      entry & ADDRESS_MASK,
      BEYOND_PHYSICAL | PAE_RESERVED,
    );
  }
  return walkNarrow(cpu, va, access, tlbClass, update, cr3 & 0xffff_f000);
}

function errorCode(cpu: usize, access: i32, tlbClass: i32, cause: i32): i32 {
  let error = cause;
  if (tlbClass === TLB_CLASS_user) error |= PF_USER;
  if (access === WRITE) error |= PF_WRITE;
  if (access === FETCH) {
    const cr4 = load<u64>(cpu, VCPU_cr4);
    const nx = (cr4 & CR4_PAE) !== 0 && (load<u64>(cpu, VCPU_efer) & EFER_NXE) !== 0;
    if (nx || (cr4 & CR4_SMEP) !== 0) error |= PF_FETCH;
  }
  return error;
}

/** Protection of the page: `rights` is the conjunction of U/S and R/W over all levels, plus NX of any level. */
function permitted(cpu: usize, access: i32, tlbClass: i32, rights: u64): bool {
  const user = (rights & ENTRY_USER) !== 0;
  if (tlbClass === TLB_CLASS_user) {
    if (!user) return false;
    if (access === WRITE) return (rights & ENTRY_WRITE) !== 0;
    return access === READ || (rights & ENTRY_NX) === 0;
  }
  if (access === FETCH) {
    if (user && (load<u64>(cpu, VCPU_cr4) & CR4_SMEP) !== 0) return false;
    return (rights & ENTRY_NX) === 0;
  }
  if (user && tlbClass === TLB_CLASS_supervisor) return false;
  if (access === READ) return true;
  return (rights & ENTRY_WRITE) !== 0 || (load<u64>(cpu, VCPU_cr0) & CR0_WP) === 0;
}

/** Paging structures with 8-byte entries. Levels: 3 PML4, 2 PDPT, 1 directory, 0 table. */
function walkWide(
  cpu: usize,
  va: u64,
  access: i32,
  tlbClass: i32,
  update: bool,
  top: i32,
  root: u64,
  alwaysReserved: u64,
): i32 {
  let level = top;
  let table = root;
  let rights: u64 = ENTRY_USER | ENTRY_WRITE;
  const nxEnabled = (load<u64>(cpu, VCPU_efer) & EFER_NXE) !== 0;
  const reserved = nxEnabled ? alwaysReserved : alwaysReserved | ENTRY_NX;
  while (true) {
    const shift = 12 + 9 * level;
    resolve(cpu, table);
    const address = (resolvedPage + (((va >> shift) & 511) << 3)) as usize;
    const entry: u64 = resolvedPage === 0 ? -1 : load<u64>(address);
    if ((entry & ENTRY_PRESENT) === 0) return WALK_FAILED | errorCode(cpu, access, tlbClass, 0);

    const leaf = level === 0 || ((entry & ENTRY_LARGE) !== 0 && level < 3);
    let forbidden = reserved;
    if (level === 3) forbidden |= ENTRY_LARGE;
    else if (leaf && level > 0) forbidden |= (((1 as u64) << shift) - 1) & 0xffff_ffff_ffff_e000;
    if ((entry & forbidden) !== 0) {
      return WALK_FAILED | errorCode(cpu, access, tlbClass, PF_PRESENT | PF_RESERVED);
    }
    const combined = (rights & entry & (ENTRY_USER | ENTRY_WRITE)) | ((rights | entry) & ENTRY_NX);

    let wanted = entry | ENTRY_ACCESSED;
    if (leaf) {
      if (!permitted(cpu, access, tlbClass, combined)) {
        return WALK_FAILED | errorCode(cpu, access, tlbClass, PF_PRESENT);
      }
      if (access === WRITE) wanted |= ENTRY_DIRTY;
    }
    if (wanted !== entry && update) resolveForWrite(cpu, table);
    if (wanted !== entry && update && resolvedWritable()) {
      if (atomic.cmpxchg<u64>(address, entry, wanted) !== entry) continue;
      if (holdsCode(address)) invalidateCode(address >> 12, (address & 0xfff) as i32, 8);
    }
    if (leaf) {
      const inPage = ((1 as u64) << shift) - 1;
      walkPhysical = (entry & ADDRESS_MASK & ~inPage) | (va & inPage);
      walkWritable = (wanted & ENTRY_DIRTY) !== 0 && permitted(cpu, WRITE, tlbClass, combined);
      walkGlobal = (entry & ENTRY_GLOBAL) !== 0 && (load<u64>(cpu, VCPU_cr4) & CR4_PGE) !== 0;
      walkShift = shift;
      return 0;
    }
    rights = combined;
    table = entry & ADDRESS_MASK;
    level -= 1;
  }
}

/** Two-level paging with 4-byte entries, and 4 MiB pages when CR4.PSE is set. */
function walkNarrow(cpu: usize, va: u64, access: i32, tlbClass: i32, update: bool, root: u64): i32 {
  let level = 1;
  let table = root;
  let rights: u64 = ENTRY_USER | ENTRY_WRITE;
  const cr4 = load<u64>(cpu, VCPU_cr4);
  while (true) {
    const shift = 12 + 10 * level;
    resolve(cpu, table);
    const address = (resolvedPage + (((va >> shift) & 1023) << 2)) as usize;
    const entry: u32 = resolvedPage === 0 ? -1 : load<u32>(address);
    if ((entry & (ENTRY_PRESENT as u32)) === 0) return WALK_FAILED | errorCode(cpu, access, tlbClass, 0);
    const large = level === 1 && (entry & (ENTRY_LARGE as u32)) !== 0 && (cr4 & CR4_PSE) !== 0;
    if (large && (entry & 0x20_0000) !== 0) {
      return WALK_FAILED | errorCode(cpu, access, tlbClass, PF_PRESENT | PF_RESERVED);
    }
    rights &= entry as u64;
    const leaf = large || level === 0;
    let wanted = entry | (ENTRY_ACCESSED as u32);
    if (leaf) {
      if (!permitted(cpu, access, tlbClass, rights)) {
        return WALK_FAILED | errorCode(cpu, access, tlbClass, PF_PRESENT);
      }
      if (access === WRITE) wanted |= ENTRY_DIRTY as u32;
    }
    if (wanted !== entry && update) resolveForWrite(cpu, table);
    if (wanted !== entry && update && resolvedWritable()) {
      if (atomic.cmpxchg<u32>(address, entry, wanted) !== entry) {
        // Somebody changed the entry: from the top, since `rights` already has the old one.
        level = 1;
        table = root;
        rights = ENTRY_USER | ENTRY_WRITE;
        continue;
      }
      if (holdsCode(address)) invalidateCode(address >> 12, (address & 0xfff) as i32, 4);
    }
    if (leaf) {
      // PSE-36: bits 13..20 of a 4 MiB entry are physical address bits 32..39.
      const frame: u64 = large
        ? ((entry & 0xffc0_0000) as u64) | ((((entry >> 13) & 0xff) as u64) << 32)
        : ((entry & 0xffff_f000) as u64);
      walkPhysical = frame | (va & (((1 as u64) << shift) - 1));
      walkWritable = (wanted & (ENTRY_DIRTY as u32)) !== 0 && permitted(cpu, WRITE, tlbClass, rights);
      walkGlobal = (entry & (ENTRY_GLOBAL as u32)) !== 0 && (cr4 & CR4_PGE) !== 0;
      walkShift = shift;
      return 0;
    }
    table = (entry & 0xffff_f000) as u64;
    level -= 1;
  }
}
