/** Control and debug registers, XCR0, descriptor-table registers (SDM vol. 3, chapters 2 and 17). */
import {
  PHYSICAL_ADDRESS_BITS,
  SEG_cs,
  VCPU_cr0,
  VCPU_cr3,
  VCPU_cr4,
  VCPU_cr8,
  VCPU_dr,
  VCPU_efer,
  VCPU_gdtBase,
  VCPU_gdtLimit,
  VCPU_idtBase,
  VCPU_idtLimit,
  VCPU_pdpte,
  VCPU_temp,
  VCPU_xcr0,
} from './generated/layout';
import { resolve, resolvedPage } from './mmu/physical';
import { systemRead, systemValue } from './mmu/system';
import { selectTlb, tlbFlushAll, tlbFlushNonGlobal, tlbInvalidate } from './mmu/tlb';
import { updateMode } from './mode';
import { attributesOf, cplOf, gpr, isCanonical, isLong, raiseGp0, raiseNoError } from './state';
import {
  ATTR_L,
  CR0_AM,
  CR0_CD,
  CR0_EM,
  CR0_ET,
  CR0_MP,
  CR0_NE,
  CR0_NW,
  CR0_PE,
  CR0_PG,
  CR0_TS,
  CR0_WP,
  CR4_DE,
  CR4_FSGSBASE,
  CR4_MCE,
  CR4_OSFXSR,
  CR4_OSXMMEXCPT,
  CR4_OSXSAVE,
  CR4_PAE,
  CR4_PCE,
  CR4_PCIDE,
  CR4_PGE,
  CR4_PSE,
  CR4_SMAP,
  CR4_SMEP,
  CR4_TSD,
  DB,
  EFER_LMA,
  EFER_LME,
  RAX,
  RCX,
  RDX,
  UD,
} from './x86';

const CR0_KNOWN: u64 =
  CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_NW | CR0_CD | CR0_PG;
const CR4_TRANSLATION: u64 = CR4_PSE | CR4_PAE | CR4_PGE | CR4_PCIDE | CR4_SMEP | CR4_SMAP;
const CR4_KNOWN: u64 =
  CR4_TRANSLATION |
  CR4_TSD |
  CR4_DE |
  CR4_MCE |
  CR4_PCE |
  CR4_OSFXSR |
  CR4_OSXMMEXCPT |
  CR4_FSGSBASE |
  CR4_OSXSAVE;
const PHYSICAL_MASK: u64 = ((1 as u64) << PHYSICAL_ADDRESS_BITS) - 1;
const CR3_NO_FLUSH: u64 = 1 << 63;
const PCID_MASK: u64 = 0xfff;

/** The four entries that PAE paging keeps in the processor. #GP when one has reserved bits. */
function loadPdptes(cpu: usize, cr3: u64): i32 {
  resolve(cpu, cr3 & 0xffff_f000);
  const table = resolvedPage + ((cr3 & 0xfe0) as usize);
  const reserved = ~PHYSICAL_MASK | 0x1e6;
  for (let i: usize = 0; i < 4; i++) {
    const entry: u64 = resolvedPage === 0 ? -1 : load<u64>(table + (i << 3));
    if ((entry & 1) !== 0 && (entry & reserved) !== 0) return raiseGp0(cpu);
  }
  for (let i: usize = 0; i < 4; i++) {
    store<u64>(cpu + (i << 3), resolvedPage === 0 ? 0 : load<u64>(table + (i << 3)), VCPU_pdpte);
  }
  return 0;
}

/** MOV to CR0. Nonzero = exception pending, as for all functions here. */
export function writeCr0(cpu: usize, value: u64): i32 {
  if (cplOf(cpu) !== 0 || value >> 32 !== 0) return raiseGp0(cpu);
  const next = (value & CR0_KNOWN) | CR0_ET;
  if ((next & CR0_PG) !== 0 && (next & CR0_PE) === 0) return raiseGp0(cpu);
  if ((next & CR0_NW) !== 0 && (next & CR0_CD) === 0) return raiseGp0(cpu);
  const before = load<u64>(cpu, VCPU_cr0);
  const changed = before ^ next;
  const cr4 = load<u64>(cpu, VCPU_cr4);
  let efer = load<u64>(cpu, VCPU_efer);
  if ((changed & CR0_PG) !== 0) {
    if ((next & CR0_PG) !== 0) {
      if ((efer & EFER_LME) !== 0) {
        if ((cr4 & CR4_PAE) === 0 || (attributesOf(cpu, SEG_cs) & ATTR_L) !== 0) return raiseGp0(cpu);
        efer |= EFER_LMA;
      } else if ((cr4 & CR4_PAE) !== 0 && loadPdptes(cpu, load<u64>(cpu, VCPU_cr3))) return 1;
    } else {
      if ((cr4 & CR4_PCIDE) !== 0) return raiseGp0(cpu);
      if (isLong(cpu) && (attributesOf(cpu, SEG_cs) & ATTR_L) !== 0) return raiseGp0(cpu);
      efer &= ~EFER_LMA;
    }
  } else if ((changed & (CR0_CD | CR0_NW)) !== 0 && usesPdptes(cpu, next, cr4)) {
    if (loadPdptes(cpu, load<u64>(cpu, VCPU_cr3))) return 1;
  }
  store<u64>(cpu, efer, VCPU_efer);
  store<u64>(cpu, next, VCPU_cr0);
  if ((changed & (CR0_PG | CR0_WP | CR0_PE)) !== 0) tlbFlushAll(cpu);
  selectTlb(cpu);
  updateMode(cpu);
  return 0;
}

function usesPdptes(cpu: usize, cr0: u64, cr4: u64): bool {
  return (cr0 & CR0_PG) !== 0 && (cr4 & CR4_PAE) !== 0 && !isLong(cpu);
}

/** MOV to CR3. */
export function writeCr3(cpu: usize, value: u64): i32 {
  if (cplOf(cpu) !== 0) return raiseGp0(cpu);
  const cr4 = load<u64>(cpu, VCPU_cr4);
  let next = value;
  let keep = false;
  if (isLong(cpu)) {
    if ((cr4 & CR4_PCIDE) !== 0) {
      // Entries are not tagged with a PCID, so they may be kept only when it stays the same.
      const same = ((next ^ load<u64>(cpu, VCPU_cr3)) & PCID_MASK) === 0;
      keep = (next & CR3_NO_FLUSH) !== 0 && same;
      next &= ~CR3_NO_FLUSH;
    }
    if ((next & ~PHYSICAL_MASK) !== 0) return raiseGp0(cpu);
  } else next &= 0xffff_ffff;
  if (usesPdptes(cpu, load<u64>(cpu, VCPU_cr0), cr4) && loadPdptes(cpu, next)) return 1;
  store<u64>(cpu, next, VCPU_cr3);
  if (!keep) tlbFlushNonGlobal(cpu);
  return 0;
}

/** MOV to CR4. */
export function writeCr4(cpu: usize, value: u64): i32 {
  if (cplOf(cpu) !== 0 || (value & ~CR4_KNOWN) !== 0) return raiseGp0(cpu);
  const before = load<u64>(cpu, VCPU_cr4);
  const changed = before ^ value;
  const long = isLong(cpu);
  if (long && (value & CR4_PAE) === 0) return raiseGp0(cpu);
  const cr3 = load<u64>(cpu, VCPU_cr3);
  if ((changed & value & CR4_PCIDE) !== 0 && (!long || (cr3 & PCID_MASK) !== 0)) return raiseGp0(cpu);
  if ((changed & (CR4_PSE | CR4_PAE | CR4_PGE | CR4_SMEP)) !== 0) {
    if (usesPdptes(cpu, load<u64>(cpu, VCPU_cr0), value) && loadPdptes(cpu, cr3)) return 1;
  }
  store<u64>(cpu, value, VCPU_cr4);
  if ((changed & CR4_TRANSLATION) !== 0) tlbFlushAll(cpu);
  selectTlb(cpu);
  updateMode(cpu);
  return 0;
}

/** MOV to CR8. The caller looks for interrupts that may be accepted now. */
export function writeCr8(cpu: usize, value: u64): i32 {
  if (cplOf(cpu) !== 0 || value > 15) return raiseGp0(cpu);
  store<u64>(cpu, value, VCPU_cr8);
  return 0;
}

export function clts(cpu: usize): i32 {
  if (cplOf(cpu) !== 0) return raiseGp0(cpu);
  store<u64>(cpu, load<u64>(cpu, VCPU_cr0) & ~CR0_TS, VCPU_cr0);
  updateMode(cpu);
  return 0;
}

/** LMSW writes PE, MP, EM and TS; it cannot clear PE. */
export function lmsw(cpu: usize, value: i32): i32 {
  const cr0 = load<u64>(cpu, VCPU_cr0);
  return writeCr0(cpu, (cr0 & ~(0xe as u64)) | ((value & 0xf) as u64));
}

/** Number of the debug register behind DR4 and DR5, checked; -1 = exception pending. */
function debugRegister(cpu: usize, number: i32): i32 {
  if (cplOf(cpu) !== 0) {
    raiseGp0(cpu);
    return -1;
  }
  if (number > 7 || ((number === 4 || number === 5) && (load<u64>(cpu, VCPU_cr4) & CR4_DE) !== 0)) {
    raiseNoError(cpu, UD);
    return -1;
  }
  const dr7 = load<u64>(cpu, VCPU_dr + 56);
  if ((dr7 & 0x2000) !== 0) {
    store<u64>(cpu, load<u64>(cpu, VCPU_dr + 48) | 0x2000, VCPU_dr + 48);
    raiseNoError(cpu, DB);
    return -1;
  }
  return number === 4 || number === 5 ? number + 2 : number;
}

/** MOV from a debug register: value to temp[0]. */
export function readDr(cpu: usize, number: i32): i32 {
  const register = debugRegister(cpu, number);
  if (register < 0) return 1;
  store<u64>(cpu, load<u64>(cpu + (register << 3), VCPU_dr), VCPU_temp);
  return 0;
}

/** MOV to a debug register. Breakpoints are kept, not acted on. */
export function writeDr(cpu: usize, number: i32, value: u64): i32 {
  const register = debugRegister(cpu, number);
  if (register < 0) return 1;
  let next = value;
  if (register >= 6) {
    if (value >> 32 !== 0) return raiseGp0(cpu);
    next = register === 6 ? (value & 0xe00f) | 0xffff_0ff0 : (value & 0xffff_2bff) | 0x400;
  }
  store<u64>(cpu + (register << 3), next, VCPU_dr);
  return 0;
}

/** XSETBV: XCR[ecx] = edx:eax. */
export function xsetbv(cpu: usize): i32 {
  if ((load<u64>(cpu, VCPU_cr4) & CR4_OSXSAVE) === 0) return raiseNoError(cpu, UD);
  const value = (gpr(cpu, RAX) & 0xffff_ffff) | (gpr(cpu, RDX) << 32);
  if (cplOf(cpu) !== 0 || (gpr(cpu, RCX) as u32) !== 0) return raiseGp0(cpu);
  // x87 always; AVX only with SSE; nothing else exists.
  if ((value & 1) === 0 || (value & ~(7 as u64)) !== 0 || (value & 6) === 4) return raiseGp0(cpu);
  store<u64>(cpu, value, VCPU_xcr0);
  updateMode(cpu);
  return 0;
}

/** LGDT and LIDT, with the base as the operand size left it. */
export function lgdt(cpu: usize, base: u64, limit: i32): i32 {
  if (cplOf(cpu) !== 0 || !isCanonical(base)) return raiseGp0(cpu);
  store<u64>(cpu, base, VCPU_gdtBase);
  store<u32>(cpu, limit & 0xffff, VCPU_gdtLimit);
  return 0;
}
export function lidt(cpu: usize, base: u64, limit: i32): i32 {
  if (cplOf(cpu) !== 0 || !isCanonical(base)) return raiseGp0(cpu);
  store<u64>(cpu, base, VCPU_idtBase);
  store<u32>(cpu, limit & 0xffff, VCPU_idtLimit);
  return 0;
}

/** INVLPG. A non-canonical address does nothing. */
export function invlpg(cpu: usize, va: u64): i32 {
  if (cplOf(cpu) !== 0) return raiseGp0(cpu);
  tlbInvalidate(cpu, va);
  return 0;
}

/** INVPCID with the descriptor at linear address `va`. */
export function invpcid(cpu: usize, type: u64, va: u64): i32 {
  if (cplOf(cpu) !== 0 || type > 3) return raiseGp0(cpu);
  if (systemRead(cpu, va, 8)) return 1;
  const pcid = systemValue;
  if (systemRead(cpu, va + 8, 8)) return 1;
  if (type < 2) {
    if ((pcid & ~PCID_MASK) !== 0) return raiseGp0(cpu);
    if (pcid !== 0 && (load<u64>(cpu, VCPU_cr4) & CR4_PCIDE) === 0) return raiseGp0(cpu);
  }
  if (type === 0) {
    if (!isCanonical(systemValue)) return raiseGp0(cpu);
    tlbInvalidate(cpu, systemValue);
  } else if (type === 2) tlbFlushAll(cpu);
  else tlbFlushNonGlobal(cpu);
  return 0;
}
