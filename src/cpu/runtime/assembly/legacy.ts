/** Addresses and stacks outside 64-bit mode: segments with limits, 16 and 32-bit offsets that wrap (SDM vol. 3, 5.3). */
import { SEG_cs, SEG_ss, VCPU_ea, VCPU_gpr, VCPU_temp } from './generated/layout';
import { checkTop, closeStack, openStack, peek, popped, push, readStack, skip, stackPointer } from './stack';
import { attributesOf, baseOf, gpr, isCode64, isRealOrVm86, limitOf, raise, setGpr } from './state';
import { ATTR_DB, GP, RBP, RSP, SS } from './x86';

const WITH_SEGMENT: u32 = 1 << 8;
const WRITE: u32 = 1 << 9;
const LONG: u32 = 1 << 10;
const UNCUT: u32 = 1 << 11;
const UNUSABLE: u32 = 1 << 16;

/** Effective address of an address record (interpreter/pseudo.ts) to `Vcpu.ea`; nonzero = exception pending. */
export function legacyAddress(cpu: usize, offset: u64, info: u32): i32 {
  const width = (info & UNCUT) !== 0 ? 8 : info & 0xff;
  const cut = width === 2 ? offset & 0xffff : width === 4 ? offset & 0xffff_ffff : offset;
  if ((info & WITH_SEGMENT) === 0) {
    store<u64>(cpu, cut, VCPU_ea);
    return 0;
  }
  const segment = ((info >> 16) & 0xff) as i32;
  const base = baseOf(cpu, segment);
  if ((info & LONG) !== 0) {
    store<u64>(cpu, base + cut, VCPU_ea);
    return 0;
  }
  if (cut >> 32 !== 0 || !withinSegment(cpu, segment, cut as u32, info >> 24, (info & WRITE) !== 0)) {
    return raise(cpu, segment === SEG_ss ? SS : GP, 0);
  }
  store<u64>(cpu, (base + cut) & 0xffff_ffff, VCPU_ea);
  return 0;
}

function withinSegment(cpu: usize, segment: i32, offset: u32, size: u32, write: bool): bool {
  const attributes = attributesOf(cpu, segment);
  const limit = limitOf(cpu, segment);
  const last = offset + (size === 0 ? 0 : size - 1);
  if (last < offset) return false;
  if (isRealOrVm86(cpu)) return last <= limit;
  if ((attributes & UNUSABLE) !== 0) return false;
  const isCode = (attributes & 8) !== 0;
  if (isCode ? write || (attributes & 2) === 0 : write && (attributes & 2) === 0) return false;
  // Expand-down data: offsets above the limit, up to the segment's width.
  if (!isCode && (attributes & 4) !== 0) {
    return offset > limit && last <= ((attributes & ATTR_DB) !== 0 ? 0xffff_ffff : 0xffff);
  }
  return last <= limit;
}

/** May an element of a string instruction be there? Nonzero = exception pending. In 64-bit mode always. */
export function checkElement(cpu: usize, segment: i32, offset: u64, size: i32, write: i32): i32 {
  if (isCode64(cpu) || withinSegment(cpu, segment, offset as u32, size, write !== 0)) return 0;
  return raise(cpu, segment === SEG_ss ? SS : GP, 0);
}

/** Elements from `offset` on, in either direction, that the segment holds; 0 = not one, and the exception is pending. */
export function elementsInSegment(
  cpu: usize,
  segment: i32,
  offset: u64,
  size: i32,
  write: bool,
  down: bool,
): i64 {
  if (checkElement(cpu, segment, offset, size, write ? 1 : 0)) return 0;
  const attributes = attributesOf(cpu, segment);
  const limit = limitOf(cpu, segment) as u64;
  if (isRealOrVm86(cpu) || (attributes & 0xc) !== 4) {
    return down ? i64.MAX_VALUE : (((limit - offset + 1) / size) as i64);
  }
  // Expand-down.
  if (down) return ((offset - limit - 1) / size + 1) as i64;
  const top: u64 = (attributes & ATTR_DB) !== 0 ? 0xffff_ffff : 0xffff;
  return ((top - offset + 1) / size) as i64;
}

/** Does the code segment hold the instruction at RIP whose last byte is in front of `next`? Nonzero = #GP pending. */
export function checkCode(cpu: usize, next: u64): i32 {
  return next - 1 > limitOf(cpu, SEG_cs) ? raise(cpu, GP, 0) : 0;
}

export function pushLegacy(cpu: usize, value: u64, size: i32): i32 {
  openStack(cpu);
  if (push(cpu, value, size)) return 1;
  closeStack(cpu);
  return 0;
}
/** Address of a copy of the value `below` bytes under the top of the stack; 0 = exception pending. */
export function peekLegacy(cpu: usize, size: i32, below: i32): usize {
  openStack(cpu);
  if (peek(cpu, below, size)) return 0;
  store<u64>(cpu, popped, VCPU_temp);
  return cpu + VCPU_temp;
}
export function addStackLegacy(cpu: usize, bytes: i32): void {
  openStack(cpu);
  skip(bytes);
  closeStack(cpu);
}

/** Registers of `size` bytes: a 16-bit write keeps the rest. */
function setRegister(cpu: usize, register: usize, value: u64, size: i32): void {
  if (size === 2) store<u16>(cpu + (register << 3), value as u16, VCPU_gpr);
  else setGpr(cpu, register, size === 4 ? value & 0xffff_ffff : value);
}

/** LEAVE outside 64-bit mode: the stack pointer's width is the stack's, the operand's its own. */
export function leaveLegacy(cpu: usize, size: i32): i32 {
  const kept = gpr(cpu, RSP);
  const wide = (attributesOf(cpu, SEG_ss) & ATTR_DB) !== 0;
  const frame = gpr(cpu, RBP);
  setGpr(cpu, RSP, wide ? frame & 0xffff_ffff : (kept & ~0xffff) | (frame & 0xffff));
  openStack(cpu);
  if (peek(cpu, 0, size)) {
    setGpr(cpu, RSP, kept);
    return 1;
  }
  const saved = popped;
  skip(size);
  closeStack(cpu);
  setRegister(cpu, RBP, saved, size);
  return 0;
}

/** ENTER, all modes (SDM vol. 2). Nothing changes when a push faults. */
export function enterFrame(cpu: usize, size: i32, bytes: i32, nesting: i32): i32 {
  const level = nesting & 31;
  openStack(cpu);
  if (push(cpu, gpr(cpu, RBP), size)) return 1;
  const frame = stackPointer;
  let pointer = gpr(cpu, RBP);
  for (let i = 1; i < level; i++) {
    pointer -= size;
    if (readStack(cpu, pointer, size)) return 1;
    if (push(cpu, popped, size)) return 1;
  }
  if (level > 0 && push(cpu, frame, size)) return 1;
  skip(-bytes);
  // The frame must be writable at its end, too.
  if (checkTop(cpu, size)) return 1;
  closeStack(cpu);
  setRegister(cpu, RBP, frame, size === 2 ? 2 : size);
  return 0;
}

export function pushAll(cpu: usize, size: i32): i32 {
  const before = gpr(cpu, RSP);
  openStack(cpu);
  for (let register: usize = 0; register < 8; register++) {
    if (push(cpu, register === RSP ? before : gpr(cpu, register), size)) return 1;
  }
  closeStack(cpu);
  return 0;
}
export function popAll(cpu: usize, size: i32): i32 {
  openStack(cpu);
  // All eight can be read before any register changes.
  if (peek(cpu, 7 * size, size) || peek(cpu, 0, size)) return 1;
  for (let i: usize = 0; i < 8; i++) {
    const register = 7 - i;
    if (peek(cpu, 0, size)) return 1;
    skip(size);
    if (register !== RSP) setRegister(cpu, register, popped, size);
  }
  closeStack(cpu);
  return 0;
}
