/**
 * Segment registers: descriptors, the checks of loading one, and LDTR, TR, LAR, LSL, VERR, VERW
 * (SDM vol. 3, chapter 5; the instructions in vol. 2).
 */

import { setFlags } from './flags';
import {
  SEG_cs,
  SEG_fs,
  SEG_gs,
  SEG_ldtr,
  SEG_ss,
  SEG_tr,
  SEGMENT_attributes,
  SEGMENT_hiddenBase,
  SEGMENT_limit,
  SEGMENT_selector,
  SEGMENT_UNUSABLE,
  VCPU_gdtBase,
  VCPU_gdtLimit,
  VCPU_segBase,
  VCPU_segment,
  VCPU_temp,
} from './generated/layout';
import { systemRead, systemValue, systemWrite } from './mmu/system';
import {
  attributesOf,
  baseOf,
  cplOf,
  isCanonical,
  isCode64,
  isLong,
  isRealOrVm86,
  isVm86,
  limitOf,
  raise,
  raiseGp0,
} from './state';
import {
  ATTR_ACCESSED,
  ATTR_CODE,
  ATTR_CONFORMING,
  ATTR_DB,
  ATTR_G,
  ATTR_PRESENT,
  ATTR_RW,
  ATTR_S,
  FLAG_ZF,
  GP,
  NP,
  SS,
} from './x86';

/** Results of `readDescriptor`: the 8 bytes, where they are, and their parts. */
export let descriptor: u64 = 0;
export let descriptorAddress: u64 = 0;

export function attributesIn(d: u64): u32 {
  return ((d >> 40) as u32) & 0xf0ff;
}
export function baseIn(d: u64): u64 {
  return ((d >> 16) & 0xff_ffff) | ((d >> 56) << 24);
}
export function limitIn(d: u64): u32 {
  const limit = ((d as u32) & 0xffff) | (((d >> 32) as u32) & 0xf_0000);
  return (attributesIn(d) & ATTR_G) !== 0 ? (limit << 12) | 0xfff : limit;
}
export function dplIn(attributes: u32): i32 {
  return (attributes >> 5) & 3;
}
export function isNull(selector: i32): bool {
  return (selector & 0xfffc) === 0;
}
export function isCodeSegment(attributes: u32): bool {
  return (attributes & (ATTR_S | ATTR_CODE)) === (ATTR_S | ATTR_CODE);
}
export function isWritableData(attributes: u32): bool {
  return (attributes & (ATTR_S | ATTR_CODE | ATTR_RW)) === (ATTR_S | ATTR_RW);
}
export function isConforming(attributes: u32): bool {
  return (attributes & ATTR_CONFORMING) !== 0;
}

/**
 * Where the descriptor of a selector is, with `extra` bytes after its 8; no exception. False = beyond the limit.
 */
function locate(cpu: usize, selector: i32, extra: u32): bool {
  const last = ((selector & 0xfff8) as u32) + 7 + extra;
  if ((selector & 4) !== 0) {
    if ((attributesOf(cpu, SEG_ldtr) & (SEGMENT_UNUSABLE as u32)) !== 0) return false;
    descriptorAddress = baseOf(cpu, SEG_ldtr) + (selector & 0xfff8);
    return last <= limitOf(cpu, SEG_ldtr);
  }
  descriptorAddress = load<u64>(cpu, VCPU_gdtBase) + (selector & 0xfff8);
  return last <= load<u32>(cpu, VCPU_gdtLimit);
}

/** Read a descriptor to `descriptor`. Beyond the table's limit: the exception `vector` with the selector (and EXT). */
export function readDescriptor(cpu: usize, selector: i32, vector: i32, ext: i32): i32 {
  if (!locate(cpu, selector, 0)) return raise(cpu, vector, (selector & 0xfffc) | ext);
  if (systemRead(cpu, descriptorAddress, 8)) return 1;
  descriptor = systemValue;
  return 0;
}

/** Set the accessed bit of the descriptor read last, if it is clear. */
export function markAccessed(cpu: usize): i32 {
  if ((attributesIn(descriptor) & ATTR_ACCESSED) !== 0) return 0;
  descriptor |= (ATTR_ACCESSED as u64) << 40;
  return systemWrite(cpu, descriptorAddress + 5, descriptor >> 40, 1);
}

/** Load all parts of a segment register. `base` has 64 bits for fs, gs, ldtr and tr only. */
export function setSegment(
  cpu: usize,
  seg: i32,
  selector: i32,
  base: u64,
  limit: u32,
  attributes: u32,
): void {
  const segment = cpu + (seg << 4) + VCPU_segment;
  store<u16>(segment, selector as u16, SEGMENT_selector);
  store<u32>(segment, attributes, SEGMENT_attributes);
  store<u32>(segment, limit, SEGMENT_limit);
  store<u32>(segment, base as u32, SEGMENT_hiddenBase);
  store<u64>(cpu + (seg << 3), seg < SEG_fs && isCode64(cpu) ? 0 : base, VCPU_segBase);
}
export function setFromDescriptor(cpu: usize, seg: i32, selector: i32, d: u64): void {
  setSegment(cpu, seg, selector, baseIn(d), limitIn(d), attributesIn(d));
}
export function setNull(cpu: usize, seg: i32, selector: i32): void {
  // The null SS of 64-bit mode keeps its privilege where IRET looks for it.
  setSegment(cpu, seg, selector, 0, 0, (SEGMENT_UNUSABLE as u32) | (((selector & 3) << 5) as u32));
}
/** Real-address and virtual-8086 mode: the base is the selector's paragraph; in real mode the limit stays. */
export function setParagraph(cpu: usize, seg: i32, selector: i32): void {
  if (isVm86(cpu)) {
    setSegment(cpu, seg, selector, (selector as u64) << 4, 0xffff, 0xf3);
    return;
  }
  const kept = attributesOf(cpu, seg) & (ATTR_DB | ATTR_G);
  setSegment(cpu, seg, selector, (selector as u64) << 4, limitOf(cpu, seg), 0x93 | kept);
}

/** MOV, POP, LxS to a data or stack segment register. Nonzero = exception pending, nothing loaded. */
export function loadSegment(cpu: usize, seg: i32, value: i32): i32 {
  const selector = value & 0xffff;
  if (isRealOrVm86(cpu)) {
    setParagraph(cpu, seg, selector);
    return 0;
  }
  if (seg === SEG_ss) return loadStackSegment(cpu, selector, cplOf(cpu), GP, 0);
  if (isNull(selector)) {
    setNull(cpu, seg, selector);
    return 0;
  }
  if (readDescriptor(cpu, selector, GP, 0)) return 1;
  const attributes = attributesIn(descriptor);
  const error = selector & 0xfffc;
  if ((attributes & ATTR_S) === 0) return raise(cpu, GP, error);
  const code = (attributes & ATTR_CODE) !== 0;
  if (code && (attributes & ATTR_RW) === 0) return raise(cpu, GP, error);
  if (!code || !isConforming(attributes)) {
    const dpl = dplIn(attributes);
    if ((selector & 3) > dpl || cplOf(cpu) > dpl) return raise(cpu, GP, error);
  }
  if ((attributes & ATTR_PRESENT) === 0) return raise(cpu, NP, error);
  if (markAccessed(cpu)) return 1;
  setFromDescriptor(cpu, seg, selector, descriptor);
  return 0;
}

/** SS for code of privilege `cpl`. Wrong selectors raise `vector` (#GP, or #TS for one from a task state). */
export function loadStackSegment(cpu: usize, selector: i32, cpl: i32, vector: i32, ext: i32): i32 {
  if (checkStackSegment(cpu, selector, cpl, vector, ext, isCode64(cpu))) return 1;
  if (isNull(selector)) setNull(cpu, SEG_ss, selector);
  else setFromDescriptor(cpu, SEG_ss, selector, descriptor);
  return 0;
}

/** The checks of it; leaves the descriptor in `descriptor`. `code64`: the code that will run is 64-bit. */
export function checkStackSegment(
  cpu: usize,
  selector: i32,
  cpl: i32,
  vector: i32,
  ext: i32,
  code64: bool,
): i32 {
  const error = (selector & 0xfffc) | ext;
  if (isNull(selector)) {
    if (code64 && cpl < 3 && (selector & 3) === cpl) return 0;
    return raise(cpu, vector, ext);
  }
  if (readDescriptor(cpu, selector, vector, ext)) return 1;
  const attributes = attributesIn(descriptor);
  if ((selector & 3) !== cpl || dplIn(attributes) !== cpl || !isWritableData(attributes)) {
    return raise(cpu, vector, error);
  }
  if ((attributes & ATTR_PRESENT) === 0) return raise(cpu, SS, error);
  return markAccessed(cpu);
}

/** Load CS from `d`, with its RPL replaced by the new privilege. The caller updates CPL and mode. */
export function setCode(cpu: usize, selector: i32, cpl: i32, d: u64): void {
  setFromDescriptor(cpu, SEG_cs, (selector & 0xfffc) | cpl, d);
}

/** System segments of long mode have 16 bytes; the base's upper half is in the second 8. */
function systemBase(cpu: usize, selector: i32): i32 {
  if (!isLong(cpu)) {
    upperBase = 0;
    return 0;
  }
  if (!locate(cpu, selector, 8)) return raise(cpu, GP, selector & 0xfffc);
  if (systemRead(cpu, descriptorAddress + 8, 8)) return 1;
  if (((systemValue >> 40) & 0x1f) !== 0) return raise(cpu, GP, selector & 0xfffc);
  upperBase = systemValue << 32;
  return isCanonical(upperBase | baseIn(descriptor)) ? 0 : raise(cpu, GP, selector & 0xfffc);
}
let upperBase: u64 = 0;

/** LLDT. Nonzero = exception pending. */
export function lldt(cpu: usize, value: i32): i32 {
  const selector = value & 0xffff;
  if (cplOf(cpu) !== 0) return raiseGp0(cpu);
  if (isNull(selector)) {
    setNull(cpu, SEG_ldtr, selector);
    return 0;
  }
  if ((selector & 4) !== 0) return raise(cpu, GP, selector & 0xfffc);
  if (readDescriptor(cpu, selector, GP, 0)) return 1;
  const attributes = attributesIn(descriptor);
  if ((attributes & 0x1f) !== 2) return raise(cpu, GP, selector & 0xfffc);
  if ((attributes & ATTR_PRESENT) === 0) return raise(cpu, NP, selector & 0xfffc);
  if (systemBase(cpu, selector)) return 1;
  setSegment(cpu, SEG_ldtr, selector, upperBase | baseIn(descriptor), limitIn(descriptor), attributes);
  return 0;
}

/** LTR. Nonzero = exception pending. */
export function ltr(cpu: usize, value: i32): i32 {
  const selector = value & 0xffff;
  if (cplOf(cpu) !== 0) return raiseGp0(cpu);
  if (isNull(selector)) return raiseGp0(cpu);
  if ((selector & 4) !== 0) return raise(cpu, GP, selector & 0xfffc);
  if (readDescriptor(cpu, selector, GP, 0)) return 1;
  const attributes = attributesIn(descriptor);
  const type = attributes & 0x1f;
  if (type !== 9 && (type !== 1 || isLong(cpu))) return raise(cpu, GP, selector & 0xfffc);
  if ((attributes & ATTR_PRESENT) === 0) return raise(cpu, NP, selector & 0xfffc);
  const available = descriptor;
  if (systemBase(cpu, selector)) return 1;
  if (!locate(cpu, selector, 0)) return raiseGp0(cpu);
  // Busy from now on.
  if (systemWrite(cpu, descriptorAddress + 5, (available >> 40) | 2, 1)) return 1;
  setSegment(cpu, SEG_tr, selector, upperBase | baseIn(available), limitIn(available), attributes | 2);
  return 0;
}

/** What LAR, LSL, VERR and VERW ask of a selector: its descriptor is in the table and may be looked at. */
function inspect(cpu: usize, selector: i32): i32 {
  if (isNull(selector) || !locate(cpu, selector, 0)) return NOT_VISIBLE;
  if (systemRead(cpu, descriptorAddress, 8)) return FAULTED;
  descriptor = systemValue;
  const attributes = attributesIn(descriptor);
  if (isCodeSegment(attributes) && isConforming(attributes)) return VISIBLE;
  const dpl = dplIn(attributes);
  return cplOf(cpu) > dpl || (selector & 3) > dpl ? NOT_VISIBLE : VISIBLE;
}
const VISIBLE: i32 = 0;
const NOT_VISIBLE: i32 = 1;
const FAULTED: i32 = 2;

function setZero(cpu: usize, zero: bool): i32 {
  setFlags(cpu, zero ? FLAG_ZF : 0, FLAG_ZF);
  return 0;
}

/** System descriptor types that LAR, and LSL (segments with a limit only), accept: bit n for type n. */
const LAR_TYPES_LEGACY: u32 = 0b0001_1010_0011_1110;
const LAR_TYPES_LONG: u32 = 0b0001_1010_0000_0100;
const LSL_TYPES_LEGACY: u32 = 0b0000_1010_0000_1110;
const LSL_TYPES_LONG: u32 = 0b0000_1010_0000_0100;

/** LAR: ZF, and the access rights to temp[0] when it is set. Nonzero = exception pending. */
export function lar(cpu: usize, value: i32): i32 {
  const seen = inspect(cpu, value & 0xffff);
  if (seen === FAULTED) return 1;
  if (seen === NOT_VISIBLE || !typeAllowed(isLong(cpu) ? LAR_TYPES_LONG : LAR_TYPES_LEGACY))
    return setZero(cpu, false);
  store<u64>(cpu, (descriptor >> 32) & 0x00ff_ff00, VCPU_temp);
  return setZero(cpu, true);
}

/** LSL: ZF, and the limit in bytes to temp[0] when it is set. Nonzero = exception pending. */
export function lsl(cpu: usize, value: i32): i32 {
  const seen = inspect(cpu, value & 0xffff);
  if (seen === FAULTED) return 1;
  if (seen === NOT_VISIBLE || !typeAllowed(isLong(cpu) ? LSL_TYPES_LONG : LSL_TYPES_LEGACY))
    return setZero(cpu, false);
  store<u64>(cpu, limitIn(descriptor), VCPU_temp);
  return setZero(cpu, true);
}

function typeAllowed(types: u32): bool {
  const attributes = attributesIn(descriptor);
  return (attributes & ATTR_S) !== 0 || ((types >> (attributes & 15)) & 1) !== 0;
}

/** VERR: ZF tells whether the segment can be read. Nonzero = exception pending. */
export function verr(cpu: usize, value: i32): i32 {
  const seen = inspect(cpu, value & 0xffff);
  if (seen === FAULTED) return 1;
  const attributes = attributesIn(descriptor);
  const readable = (attributes & ATTR_CODE) === 0 || (attributes & ATTR_RW) !== 0;
  return setZero(cpu, seen === VISIBLE && (attributes & ATTR_S) !== 0 && readable);
}

/** VERW: ZF tells whether the segment can be written. Nonzero = exception pending. */
export function verw(cpu: usize, value: i32): i32 {
  const seen = inspect(cpu, value & 0xffff);
  if (seen === FAULTED) return 1;
  return setZero(cpu, seen === VISIBLE && isWritableData(attributesIn(descriptor)));
}

/** After a return to less privilege: data segments that the new privilege may not use become null. */
export function dropPrivilegedSegments(cpu: usize, cpl: i32): void {
  for (let seg = 0; seg <= SEG_gs; seg++) {
    if (seg === SEG_cs || seg === SEG_ss) continue;
    const attributes = attributesOf(cpu, seg);
    if ((attributes & (SEGMENT_UNUSABLE as u32)) !== 0) continue;
    if (isCodeSegment(attributes) && isConforming(attributes)) continue;
    if (dplIn(attributes) < cpl) setNull(cpu, seg, 0);
  }
}
