/**
 * Repeated string instructions, page by page: REP MOVS and STOS as block copies and fills, REPE/REPNE CMPS and SCAS.
 *
 * RCX, RSI and RDI are exact whenever a function returns: 0 = the instruction is complete; 1 = exception pending,
 * RIP stays at the instruction; 2 = a bounded part is done, RIP stays and interrupts may be taken.
 * `size` is an element's, `addressSize` 2, 4 or 8; `sourceSegment` is the number of the source's segment.
 */
import { invalidateCode } from './code/invalidate';
import {
  MODE_code64,
  MODE_sizeMask,
  SEG_es,
  VCPU_flagAux,
  VCPU_flagRes,
  VCPU_flagSys,
  VCPU_fuel,
  VCPU_mode,
  VCPU_scratch,
} from './generated/layout';
import { checkElement, elementsInSegment } from './legacy';
import { commit, pieceAddress, readSlow, translatePage, writeSlow } from './mmu/access';
import { holdsCode } from './mmu/physical';
import { loadSized, storeSized } from './mmu/system';
import { checksAlignment, currentClass } from './mmu/tlb';
import { READ, WRITE } from './mmu/walk';
import { baseOf, gpr, isCanonical, isCode64, raiseGp0, setGpr } from './state';
import { FLAG_AF, FLAG_CF, FLAG_DF, FLAG_OF, FLAG_TF, RAX, RCX, RDI, RSI } from './x86';

const DONE: i32 = 0;
const FAULT: i32 = 1;
const MORE: i32 = 2;
/** Bytes that one call may handle: how long an interrupt may wait. */
const BUDGET: i64 = 0x1_0000;
/** What an element costs that is accessed by itself (device, page boundary), as if it were so many. */
const SINGLE_COST: i64 = 64;

/** The slice pays for long repetitions, a unit of fuel for 64 bytes' worth: one instruction must not hold the pCPU. */
function settle(cpu: usize, budget: i64, full: i64, size: i32, mask: u64): i32 {
  const cost = (((full - budget) * size) >> 6) as i32;
  store<i32>(cpu, max(0, load<i32>(cpu, VCPU_fuel) - cost), VCPU_fuel);
  return (gpr(cpu, RCX) & mask) === 0 ? DONE : MORE;
}

/** Elements that one call may handle: with TF set there is a trap after each. */
function budgetOf(cpu: usize, bytes: i32): i64 {
  return (load<u32>(cpu, VCPU_flagSys) & FLAG_TF) !== 0 ? 1 : BUDGET / bytes;
}

function addressMask(addressSize: i32): u64 {
  if (addressSize === 8) return -1;
  return addressSize === 4 ? 0xffff_ffff : 0xffff;
}
function setCounter(cpu: usize, register: usize, value: u64, addressSize: i32): void {
  if (addressSize === 2) setGpr(cpu, register, (gpr(cpu, register) & ~(0xffff as u64)) | (value & 0xffff));
  else setGpr(cpu, register, value & addressMask(addressSize));
}
function advance(cpu: usize, register: usize, distance: i64, addressSize: i32): void {
  setCounter(cpu, register, gpr(cpu, register) + distance, addressSize);
}
function backwards(cpu: usize): bool {
  return (load<u32>(cpu, VCPU_flagSys) & FLAG_DF) !== 0;
}
function linear(cpu: usize, base: u64, offset: u64): u64 {
  const va = base + offset;
  return (load<i32>(cpu, VCPU_mode) & MODE_sizeMask) === MODE_code64 ? va : va & 0xffff_ffff;
}
/** Elements from `va` on (in either direction) that lie wholly in its page; 0 when the first crosses its end. */
function elementsInPage(va: u64, size: i32, down: bool): i64 {
  const offset = (va & 0xfff) as i64;
  if (offset + size > 4096) return 0;
  return (down ? offset / size + 1 : (4096 - offset) / size) as i64;
}
/** Elements before the offset wraps around its register's width. */
function elementsBeforeWrap(offset: u64, size: i32, mask: u64, down: bool): i64 {
  if (mask === -1) return i64.MAX_VALUE;
  return (down ? offset / size + 1 : (mask - offset + 1) / size) as i64;
}

/** Machine address for an access inside one page: 0 = go element by element, -1 = exception pending. */
const FAULTED: usize = -1;
function direct(cpu: usize, va: u64, access: i32): usize {
  if (!isCanonical(va)) {
    raiseGp0(cpu);
    return FAULTED;
  }
  if (checksAlignment(cpu)) return 0;
  return translatePage(cpu, va, access, currentClass(cpu)) ? FAULTED : pieceAddress;
}

/** One element, wherever it lies. Nonzero = exception pending. */
let element: u64 = 0;
function readElement(cpu: usize, va: u64, size: i32): i32 {
  const address = readSlow(cpu, va, size);
  if (address === 0) return 1;
  element = loadSized(address, size);
  return 0;
}
function writeElement(cpu: usize, va: u64, value: u64, size: i32): i32 {
  const address = writeSlow(cpu, va, size);
  if (address === 0) return 1;
  storeSized(address, value, size);
  if (address === cpu + VCPU_scratch) commit(cpu);
  return 0;
}

export function repMovs(cpu: usize, size: i32, addressSize: i32, sourceSegment: i32): i32 {
  const sourceBase = baseOf(cpu, sourceSegment);
  const mask = addressMask(addressSize);
  const down = backwards(cpu);
  const step: i64 = down ? -size : size;
  const full = budgetOf(cpu, size);
  let budget = full;
  while (budget > 0) {
    const count = gpr(cpu, RCX) & mask;
    if (count === 0) break;
    const sourceOffset = gpr(cpu, RSI) & mask;
    const targetOffset = gpr(cpu, RDI) & mask;
    const source = linear(cpu, sourceBase, sourceOffset);
    const target = linear(cpu, baseOf(cpu, SEG_es), targetOffset);
    let elements = min(elementsInPage(source, size, down), elementsInPage(target, size, down));
    elements = min(elements, elementsBeforeWrap(sourceOffset, size, mask, down));
    elements = min(elements, elementsBeforeWrap(targetOffset, size, mask, down));
    if (!isCode64(cpu)) {
      const readable = elementsInSegment(cpu, sourceSegment, sourceOffset, size, false, down);
      if (readable === 0) return FAULT;
      const writable = elementsInSegment(cpu, SEG_es, targetOffset, size, true, down);
      if (writable === 0) return FAULT;
      elements = min(elements, min(readable, writable));
    }
    elements = min(elements, budget);
    if (count < (elements as u64)) elements = count as i64;
    let from: usize = 0;
    let to: usize = 0;
    if (elements > 0) {
      from = direct(cpu, source, READ);
      if (from === FAULTED) return FAULT;
      if (from !== 0) to = direct(cpu, target, WRITE);
      if (to === FAULTED) return FAULT;
    }
    if (from !== 0 && to !== 0) {
      copy(from, to, elements as usize, size, down);
      const first = down ? to - ((elements as usize) - 1) * size : to;
      if (holdsCode(first)) invalidateCode(first >> 12, (first & 0xfff) as i32, (elements as i32) * size);
    } else {
      elements = 1;
      if (readElement(cpu, source, size)) return FAULT;
      if (writeElement(cpu, target, element, size)) return FAULT;
      budget -= SINGLE_COST;
    }
    advance(cpu, RSI, elements * step, addressSize);
    advance(cpu, RDI, elements * step, addressSize);
    advance(cpu, RCX, -elements, addressSize);
    budget -= elements;
  }
  return settle(cpu, budget, full, size, mask);
}

/** Copy elements in the instruction's order: where they overlap ahead, what was written is read again. */
function copy(from: usize, to: usize, elements: usize, size: i32, down: bool): void {
  const bytes = elements * size;
  if (down) {
    const tail = bytes - size;
    if (to < from && from - to < bytes) {
      for (let i: usize = 0; i < bytes; i += size) storeSized(to - i, loadSized(from - i, size), size);
    } else memory.copy(to - tail, from - tail, bytes);
  } else if (to > from && to - from < bytes) {
    for (let i: usize = 0; i < bytes; i += size) storeSized(to + i, loadSized(from + i, size), size);
  } else memory.copy(to, from, bytes);
}

export function repStos(cpu: usize, size: i32, addressSize: i32): i32 {
  const mask = addressMask(addressSize);
  const down = backwards(cpu);
  const step: i64 = down ? -size : size;
  const value = gpr(cpu, RAX);
  const full = budgetOf(cpu, size);
  let budget = full;
  while (budget > 0) {
    const count = gpr(cpu, RCX) & mask;
    if (count === 0) break;
    const offset = gpr(cpu, RDI) & mask;
    const target = linear(cpu, baseOf(cpu, SEG_es), offset);
    let elements = min(elementsInPage(target, size, down), elementsBeforeWrap(offset, size, mask, down));
    if (!isCode64(cpu)) {
      const writable = elementsInSegment(cpu, SEG_es, offset, size, true, down);
      if (writable === 0) return FAULT;
      elements = min(elements, writable);
    }
    elements = min(elements, budget);
    if (count < (elements as u64)) elements = count as i64;
    let to: usize = 0;
    if (elements > 0) {
      to = direct(cpu, target, WRITE);
      if (to === FAULTED) return FAULT;
    }
    if (to !== 0) {
      const bytes = (elements as usize) * size;
      const first = down ? to - (bytes - size) : to;
      fillElements(first, value, bytes, size);
      if (holdsCode(first)) invalidateCode(first >> 12, (first & 0xfff) as i32, bytes as i32);
    } else {
      elements = 1;
      if (writeElement(cpu, target, value, size)) return FAULT;
      budget -= SINGLE_COST;
    }
    advance(cpu, RDI, elements * step, addressSize);
    advance(cpu, RCX, -elements, addressSize);
    budget -= elements;
  }
  return settle(cpu, budget, full, size, mask);
}

/** A byte times this is that byte eight times. */
const BYTE_IN_EACH: u64 = ((0x0101_0101 as u64) << 32) | 0x0101_0101;

function fillElements(first: usize, value: u64, bytes: usize, size: i32): void {
  let pattern = value;
  if (size === 1) pattern = (value & 0xff) * BYTE_IN_EACH;
  else if (size === 2) pattern = (value & 0xffff) * 0x0001_0001_0001_0001;
  else if (size === 4) pattern = (value & 0xffff_ffff) * 0x0000_0001_0000_0001;
  if (pattern === (pattern & 0xff) * BYTE_IN_EACH) {
    memory.fill(first, pattern as u8, bytes);
    return;
  }
  let i: usize = 0;
  for (; i + 8 <= bytes; i += 8) store<u64>(first + i, pattern);
  for (; i < bytes; i += size) storeSized(first + i, pattern, size);
}

/** Flags of left - right, as CMP leaves them in the lazy pair. */
function compare(cpu: usize, left: u64, right: u64, size: i32): void {
  const unused = 64 - (size << 3);
  const a = (left << unused) as i64;
  const b = (right << unused) as i64;
  const difference = a - b;
  const overflow = ((a ^ b) & (a ^ difference)) < 0;
  let aux: u32 = (((left ^ right ^ (left - right)) as u32) & FLAG_AF) | (overflow ? FLAG_OF : 0);
  if ((a as u64) < (b as u64)) aux |= FLAG_CF;
  store<i64>(cpu, difference >> unused, VCPU_flagRes);
  store<u32>(cpu, aux, VCPU_flagAux);
}

function lowBits(value: u64, size: i32): u64 {
  return size === 8 ? value : value & (((1 as u64) << (size << 3)) - 1);
}

/** REPE (whileEqual = 1) or REPNE CMPS: RSI's elements with RDI's. */
export function repCmps(cpu: usize, size: i32, addressSize: i32, sourceSegment: i32, whileEqual: i32): i32 {
  const sourceBase = baseOf(cpu, sourceSegment);
  const mask = addressMask(addressSize);
  const down = backwards(cpu);
  const step: i64 = down ? -size : size;
  const full = budgetOf(cpu, size * 4);
  let budget = full;
  while (budget > 0) {
    if ((gpr(cpu, RCX) & mask) === 0) break;
    if (checkElement(cpu, sourceSegment, gpr(cpu, RSI) & mask, size, 0)) return FAULT;
    if (readElement(cpu, linear(cpu, sourceBase, gpr(cpu, RSI) & mask), size)) return FAULT;
    const left = element;
    if (checkElement(cpu, SEG_es, gpr(cpu, RDI) & mask, size, 0)) return FAULT;
    if (readElement(cpu, linear(cpu, baseOf(cpu, SEG_es), gpr(cpu, RDI) & mask), size)) return FAULT;
    compare(cpu, left, element, size);
    advance(cpu, RSI, step, addressSize);
    advance(cpu, RDI, step, addressSize);
    advance(cpu, RCX, -1, addressSize);
    if ((left === element) !== (whileEqual !== 0)) return DONE;
    budget -= 1;
  }
  // These go element by element.
  return settle(cpu, budget, full, SINGLE_COST as i32, mask);
}

/** REPE (whileEqual = 1) or REPNE SCAS: the accumulator with RDI's elements. */
export function repScas(cpu: usize, size: i32, addressSize: i32, whileEqual: i32): i32 {
  const mask = addressMask(addressSize);
  const down = backwards(cpu);
  const step: i64 = down ? -size : size;
  const wanted = lowBits(gpr(cpu, RAX), size);
  const full = budgetOf(cpu, size * 4);
  let budget = full;
  while (budget > 0) {
    if ((gpr(cpu, RCX) & mask) === 0) break;
    if (checkElement(cpu, SEG_es, gpr(cpu, RDI) & mask, size, 0)) return FAULT;
    if (readElement(cpu, linear(cpu, baseOf(cpu, SEG_es), gpr(cpu, RDI) & mask), size)) return FAULT;
    compare(cpu, wanted, element, size);
    advance(cpu, RDI, step, addressSize);
    advance(cpu, RCX, -1, addressSize);
    if ((wanted === element) !== (whileEqual !== 0)) return DONE;
    budget -= 1;
  }
  // These go element by element.
  return settle(cpu, budget, full, SINGLE_COST as i32, mask);
}
