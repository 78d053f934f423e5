/**
 * FXSAVE, FXRSTOR and the XSAVE family for x87, SSE and AVX state (SDM vol. 1, 10.5 and chapter 13).
 *
 * AVX state follows the header directly, so the standard and the compacted form have it at the same place.
 * Functions return nonzero with an exception pending; nothing is loaded then.
 */
import { fninit } from './float/x87-move';
import {
  VCPU_cr0,
  VCPU_cr4,
  VCPU_fcs,
  VCPU_fcw,
  VCPU_fdp,
  VCPU_fds,
  VCPU_fip,
  VCPU_fop,
  VCPU_fpr,
  VCPU_fsw,
  VCPU_ftw,
  VCPU_mxcsr,
  VCPU_xcr0,
  VCPU_ymm,
} from './generated/layout';
import { checkRead, checkWrite, pieceAddress } from './mmu/access';
import { holdsCode } from './mmu/physical';
import { classRead, classWrite, systemValue } from './mmu/system';
import { currentClass } from './mmu/tlb';
import { READ, WRITE } from './mmu/walk';
import { isCode64, raiseGp0, raiseNoError } from './state';
import { CR0_EM, CR0_TS, CR4_OSXSAVE, NM, UD } from './x86';

const X87: u64 = 1;
const SSE: u64 = 2;
const AVX: u64 = 4;
const COMPACTED: u64 = 1 << 63;
const MXCSR_MASK: u64 = 0xffff;
const MXCSR_DEFAULT: u32 = 0x1f80;

/** Offsets in the save area. */
const MXCSR: i32 = 24;
const REGISTERS: i32 = 32;
const XMM: i32 = 160;
const HEADER: i32 = 512;
const EXTENDED: i32 = 576;
const END: i32 = 832;

/**
 * The area being worked on: linear address, then where its (at most two) pages are in machine memory, as the address
 * that offset 0 would have there; 0 when accesses must take the slow way (device, code, not mapped).
 */
let area: u64 = 0;
let areaClass: i32 = 0;
let firstPage: usize = 0;
let secondPage: usize = 0;
/** Offset at which the second page begins. */
let split: i32 = 0;

function open(cpu: usize, va: u64): void {
  area = isCode64(cpu) ? va : va & 0xffff_ffff;
  areaClass = currentClass(cpu);
  split = 4096 - ((area & 0xfff) as i32);
  firstPage = 0;
  secondPage = 0;
}

/** Check `size` bytes from the start and find their pages, before anything is saved or loaded. */
function prepare(cpu: usize, size: i32, access: i32): i32 {
  if (access === WRITE ? checkWrite(cpu, area, 8) : checkRead(cpu, area, 8)) return 1;
  firstPage = pieceAddress;
  if (access === WRITE && firstPage !== 0 && holdsCode(firstPage)) firstPage = 0;
  if (size <= split) return 0;
  const second = area + split;
  if (access === WRITE ? checkWrite(cpu, second, 8) : checkRead(cpu, second, 8)) return 1;
  secondPage = pieceAddress === 0 || (access === WRITE && holdsCode(pieceAddress)) ? 0 : pieceAddress - split;
  return 0;
}

function pageOf(offset: i32): usize {
  return offset < split ? firstPage : secondPage;
}
/** The area is aligned, so that no element crosses a page. */
function put(cpu: usize, offset: i32, value: u64): i32 {
  const page = pageOf(offset);
  if (page === 0) return classWrite(cpu, area + offset, value, 8, areaClass);
  store<u64>(page + offset, value);
  return 0;
}
/** Read to `loaded`. */
let loaded: u64 = 0;
function get(cpu: usize, offset: i32): i32 {
  const page = pageOf(offset);
  if (page === 0) {
    if (classRead(cpu, area + offset, 8, areaClass)) return 1;
    loaded = systemValue;
  } else loaded = load<u64>(page + offset);
  return 0;
}
function getMxcsr(cpu: usize): i32 {
  if (get(cpu, MXCSR)) return 1;
  loaded &= 0xffff_ffff;
  return 0;
}
function xmmCount(cpu: usize): i32 {
  return isCode64(cpu) ? 16 : 8;
}
function xmm(cpu: usize, register: i32): usize {
  return cpu + VCPU_ymm + (register << 5);
}
/** Where ST(i) is among the physical registers. */
function stackRegister(cpu: usize, i: i32): usize {
  const top = (load<u16>(cpu, VCPU_fsw) >> 11) & 7;
  return cpu + VCPU_fpr + (((top + i) & 7) << 4);
}

/** One bit for each physical register that is not empty. */
function abridgedTags(cpu: usize): u64 {
  const tags: u32 = load<u16>(cpu, VCPU_ftw);
  let abridged: u64 = 0;
  for (let i = 0; i < 8; i++) {
    if (((tags >> (i << 1)) & 3) !== 3) abridged |= (1 as u64) << i;
  }
  return abridged;
}

function saveX87(cpu: usize, wide: bool): i32 {
  const control: u64 = load<u16>(cpu, VCPU_fcw);
  const status: u64 = load<u16>(cpu, VCPU_fsw);
  const opcode: u64 = load<u16>(cpu, VCPU_fop);
  if (put(cpu, 0, control | (status << 16) | (abridgedTags(cpu) << 32) | (opcode << 48))) return 1;
  let instruction = load<u64>(cpu, VCPU_fip);
  let operand = load<u64>(cpu, VCPU_fdp);
  if (!wide) {
    instruction = (instruction & 0xffff_ffff) | ((load<u16>(cpu, VCPU_fcs) as u64) << 32);
    operand = (operand & 0xffff_ffff) | ((load<u16>(cpu, VCPU_fds) as u64) << 32);
  }
  if (put(cpu, 8, instruction) || put(cpu, 16, operand)) return 1;
  for (let i = 0; i < 8; i++) {
    const register = stackRegister(cpu, i);
    if (put(cpu, REGISTERS + (i << 4), load<u64>(register))) return 1;
    if (put(cpu, REGISTERS + (i << 4) + 8, load<u16>(register, 8))) return 1;
  }
  return 0;
}

function saveMxcsr(cpu: usize): i32 {
  return put(cpu, MXCSR, (load<u32>(cpu, VCPU_mxcsr) as u64) | (MXCSR_MASK << 32));
}

function saveXmm(cpu: usize): i32 {
  for (let i = 0; i < xmmCount(cpu); i++) {
    if (put(cpu, XMM + (i << 4), load<u64>(xmm(cpu, i)))) return 1;
    if (put(cpu, XMM + (i << 4) + 8, load<u64>(xmm(cpu, i), 8))) return 1;
  }
  return 0;
}

function saveUpper(cpu: usize): i32 {
  for (let i = 0; i < xmmCount(cpu); i++) {
    if (put(cpu, EXTENDED + (i << 4), load<u64>(xmm(cpu, i), 16))) return 1;
    if (put(cpu, EXTENDED + (i << 4) + 8, load<u64>(xmm(cpu, i), 24))) return 1;
  }
  return 0;
}

function loadX87(cpu: usize, wide: bool): i32 {
  if (get(cpu, 0)) return 1;
  const first = loaded;
  if (get(cpu, 8)) return 1;
  const instruction = loaded;
  if (get(cpu, 16)) return 1;
  const operand = loaded;
  store<u16>(cpu, first as u16, VCPU_fcw);
  store<u16>(cpu, (first >> 16) as u16, VCPU_fsw);
  store<u16>(cpu, ((first >> 48) as u16) & 0x7ff, VCPU_fop);
  store<u64>(cpu, wide ? instruction : instruction & 0xffff_ffff, VCPU_fip);
  store<u64>(cpu, wide ? operand : operand & 0xffff_ffff, VCPU_fdp);
  store<u16>(cpu, wide ? 0 : ((instruction >> 32) as u16), VCPU_fcs);
  store<u16>(cpu, wide ? 0 : ((operand >> 32) as u16), VCPU_fds);
  for (let i = 0; i < 8; i++) {
    const register = stackRegister(cpu, i);
    if (get(cpu, REGISTERS + (i << 4))) return 1;
    store<u64>(register, loaded);
    if (get(cpu, REGISTERS + (i << 4) + 8)) return 1;
    store<u64>(register, loaded & 0xffff, 8);
  }
  const abridged = (first >> 32) as u32;
  let tags: u32 = 0;
  for (let i = 0; i < 8; i++) {
    if (((abridged >> i) & 1) === 0) tags |= 3 << (i << 1);
  }
  store<u16>(cpu, tags as u16, VCPU_ftw);
  return 0;
}

function initX87(cpu: usize): void {
  fninit(cpu);
  memory.fill(cpu + VCPU_fpr, 0, 128);
}

/** 16 bytes of every register from the area, or zero: `half` 0 for XMM, 16 for the upper halves. */
function loadHalves(cpu: usize, offset: i32, half: usize): i32 {
  for (let i = 0; i < xmmCount(cpu); i++) {
    if (get(cpu, offset + (i << 4))) return 1;
    store<u64>(xmm(cpu, i) + half, loaded);
    if (get(cpu, offset + (i << 4) + 8)) return 1;
    store<u64>(xmm(cpu, i) + half, loaded, 8);
  }
  return 0;
}
function clearHalves(cpu: usize, half: usize): void {
  for (let i = 0; i < xmmCount(cpu); i++) v128.store(xmm(cpu, i) + half, i64x2.splat(0));
}
function anyHalf(cpu: usize, half: usize): bool {
  let all: u64 = 0;
  for (let i = 0; i < 16; i++) all |= load<u64>(xmm(cpu, i) + half) | load<u64>(xmm(cpu, i) + half, 8);
  return all !== 0;
}

/** #NM and alignment; for the XSAVE family #UD too. */
function checkArea(cpu: usize, va: u64, alignment: u64, extended: bool): i32 {
  if (extended && (load<u64>(cpu, VCPU_cr4) & CR4_OSXSAVE) === 0) return raiseNoError(cpu, UD);
  const disabled = extended ? CR0_TS : CR0_TS | CR0_EM;
  if ((load<u64>(cpu, VCPU_cr0) & disabled) !== 0) return raiseNoError(cpu, NM);
  if ((va & (alignment - 1)) !== 0) return raiseGp0(cpu);
  open(cpu, va);
  return 0;
}

/** FXSAVE; `wide` for the REX.W form. */
export function fxsave(cpu: usize, va: u64, wide: i32): i32 {
  if (checkArea(cpu, va, 16, false) || prepare(cpu, 512, WRITE)) return 1;
  return saveX87(cpu, wide !== 0) || saveMxcsr(cpu) || saveXmm(cpu) ? 1 : 0;
}

export function fxrstor(cpu: usize, va: u64, wide: i32): i32 {
  if (checkArea(cpu, va, 16, false) || prepare(cpu, 512, READ)) return 1;
  if (getMxcsr(cpu)) return 1;
  if ((loaded & ~MXCSR_MASK) !== 0) return raiseGp0(cpu);
  store<u32>(cpu, loaded as u32, VCPU_mxcsr);
  return loadX87(cpu, wide !== 0) || loadHalves(cpu, XMM, 0) ? 1 : 0;
}

function isX87Initial(cpu: usize): bool {
  if (load<u16>(cpu, VCPU_fcw) !== 0x37f || load<u16>(cpu, VCPU_fsw) !== 0) return false;
  if (load<u16>(cpu, VCPU_ftw) !== 0xffff || load<u16>(cpu, VCPU_fop) !== 0) return false;
  let all = load<u64>(cpu, VCPU_fip) | load<u64>(cpu, VCPU_fdp);
  for (let i = 0; i < 128; i += 8) all |= load<u64>(cpu + i, VCPU_fpr);
  return all === 0;
}
/** Components that are not in their initial state. */
function inUse(cpu: usize): u64 {
  return (isX87Initial(cpu) ? 0 : X87) | (anyHalf(cpu, 0) ? SSE : 0) | (anyHalf(cpu, 16) ? AVX : 0);
}

/** XSAVE of the components of `mask` (edx:eax). */
export function xsave(cpu: usize, va: u64, mask: u64, wide: i32): i32 {
  return save(cpu, va, mask, wide !== 0, false);
}
/** XSAVEOPT: leaves out what is in its initial state. */
export function xsaveopt(cpu: usize, va: u64, mask: u64, wide: i32): i32 {
  return save(cpu, va, mask, wide !== 0, true);
}

function save(cpu: usize, va: u64, mask: u64, wide: bool, skipInitial: bool): i32 {
  if (checkArea(cpu, va, 64, true)) return 1;
  const wanted = mask & load<u64>(cpu, VCPU_xcr0);
  if (prepare(cpu, (wanted & AVX) !== 0 ? END : EXTENDED, WRITE)) return 1;
  const used = inUse(cpu);
  const written = skipInitial ? wanted & used : wanted;
  if (get(cpu, HEADER)) return 1;
  const before = loaded;
  if ((written & X87) !== 0 && saveX87(cpu, wide)) return 1;
  if ((wanted & (SSE | AVX)) !== 0 && saveMxcsr(cpu)) return 1;
  if ((written & SSE) !== 0 && saveXmm(cpu)) return 1;
  if ((written & AVX) !== 0 && saveUpper(cpu)) return 1;
  return put(cpu, HEADER, (before & ~wanted) | (wanted & used));
}

/** XSAVEC: the compacted form. */
export function xsavec(cpu: usize, va: u64, mask: u64, wide: i32): i32 {
  if (checkArea(cpu, va, 64, true)) return 1;
  const wanted = mask & load<u64>(cpu, VCPU_xcr0);
  if (prepare(cpu, (wanted & AVX) !== 0 ? END : EXTENDED, WRITE)) return 1;
  let written = wanted & inUse(cpu);
  if ((wanted & SSE) !== 0 && load<u32>(cpu, VCPU_mxcsr) !== MXCSR_DEFAULT) written |= SSE;
  if ((written & X87) !== 0 && saveX87(cpu, wide !== 0)) return 1;
  if ((written & SSE) !== 0 && (saveMxcsr(cpu) || saveXmm(cpu))) return 1;
  if ((written & AVX) !== 0 && saveUpper(cpu)) return 1;
  if (put(cpu, HEADER, written)) return 1;
  return put(cpu, HEADER + 8, wanted | COMPACTED);
}

/** XRSTOR of the components of `mask`, from either form; those not in the area get their initial state. */
export function xrstor(cpu: usize, va: u64, mask: u64, wide: i32): i32 {
  if (checkArea(cpu, va, 64, true)) return 1;
  const xcr0 = load<u64>(cpu, VCPU_xcr0);
  if (prepare(cpu, EXTENDED, READ)) return 1;
  if (get(cpu, HEADER)) return 1;
  const present = loaded;
  if (get(cpu, HEADER + 8)) return 1;
  const layout = loaded;
  const compacted = (layout & COMPACTED) !== 0;
  if (compacted ? (layout & ~COMPACTED & ~xcr0) !== 0 || (present & ~layout) !== 0 : layout !== 0) {
    return raiseGp0(cpu);
  }
  if ((present & ~xcr0) !== 0) return raiseGp0(cpu);
  const checkedEnd = compacted ? 64 : 24;
  for (let offset = 16; offset < checkedEnd; offset += 8) {
    if (get(cpu, HEADER + offset)) return 1;
    if (loaded !== 0) return raiseGp0(cpu);
  }
  const wanted = mask & xcr0;
  if ((wanted & present & AVX) !== 0 && prepare(cpu, END, READ)) return 1;

  const readsMxcsr = compacted ? (wanted & present & SSE) !== 0 : (wanted & (SSE | AVX)) !== 0;
  if (readsMxcsr) {
    if (getMxcsr(cpu)) return 1;
    if ((loaded & ~MXCSR_MASK) !== 0) return raiseGp0(cpu);
    store<u32>(cpu, loaded as u32, VCPU_mxcsr);
  } else if ((wanted & SSE) !== 0) store<u32>(cpu, MXCSR_DEFAULT, VCPU_mxcsr);

  if ((wanted & X87) !== 0) {
    if ((present & X87) === 0) initX87(cpu);
    else if (loadX87(cpu, wide !== 0)) return 1;
  }
  if ((wanted & SSE) !== 0) {
    if ((present & SSE) === 0) clearHalves(cpu, 0);
    else if (loadHalves(cpu, XMM, 0)) return 1;
  }
  if ((wanted & AVX) !== 0) {
    if ((present & AVX) === 0) clearHalves(cpu, 16);
    else if (loadHalves(cpu, EXTENDED, 16)) return 1;
  }
  return 0;
}
