/**
 * Stacks during control transfers. A transfer works on this cursor and writes RSP only when nothing can fault any
 * more. Offsets wrap at the stack's width: 16, 32 or 64 bits.
 */
import { SEG_ss, TLB_CLASS_user, VCPU_gpr } from './generated/layout';
import { checkAlignment, checkWrite } from './mmu/access';
import { classRead, classWrite, systemValue } from './mmu/system';
import { currentClass, systemClass } from './mmu/tlb';
import { attributesIn, baseIn, limitIn } from './segments';
import { attributesOf, baseOf, gpr, isCanonical, isCode64, limitOf, raise } from './state';
import { ATTR_DB, RSP, SS } from './x86';

export let stackPointer: u64 = 0;
export let popped: u64 = 0;
let stackBase: u64 = 0;
let stackMask: u64 = 0;
let stackClass: i32 = 0;
let stackExt: i32 = 0;
let stackLimit: u64 = 0;
let stackExpandsDown: bool = false;

/** The stack as the registers have it. */
export function openStack(cpu: usize): void {
  stackMask = isCode64(cpu) ? -1 : maskOf(attributesOf(cpu, SEG_ss));
  stackBase = baseOf(cpu, SEG_ss);
  stackPointer = gpr(cpu, RSP) & stackMask;
  stackClass = currentClass(cpu);
  stackExt = 0;
  stackLimit = limitOf(cpu, SEG_ss);
  stackExpandsDown = (attributesOf(cpu, SEG_ss) & 0xc) === 4;
}

/** The same, for an event whose faults have an EXT bit. */
export function openStackOfEvent(cpu: usize, ext: i32): void {
  openStack(cpu);
  stackExt = ext;
}

/** Another stack, in a segment of which nothing but the base matters. */
export function openNewStack(base: u64, pointer: u64, mask: u64, tlbClass: i32, ext: i32): void {
  stackMask = mask;
  stackBase = base;
  stackPointer = pointer & mask;
  stackClass = tlbClass;
  stackExt = ext;
  stackLimit = 0xffff_ffff;
  stackExpandsDown = false;
}
/** The stack of an inner privilege: faults on it name its selector. */
export function openInnerStack(cpu: usize, d: u64, selector: i32, pointer: u64, ext: i32): void {
  const attributes = attributesIn(d);
  openNewStack(baseIn(d), pointer, maskOf(attributes), systemClass(cpu), (selector & 0xfffc) | ext);
  stackLimit = limitIn(d);
  stackExpandsDown = (attributes & 0xc) === 4;
}
export function setStackClass(tlbClass: i32): void {
  stackClass = tlbClass;
}

/** Width of a stack, as a mask, from the attributes of SS. */
export function maskOf(attributes: u32): u64 {
  return (attributes & ATTR_DB) !== 0 ? 0xffff_ffff : 0xffff;
}

/** Does the segment hold these bytes? In 64-bit mode limits do not count. */
function isInside(pointer: u64, size: i32): bool {
  if (stackMask === -1) return true;
  const last = pointer + size - 1;
  return stackExpandsDown ? pointer > stackLimit && last <= stackMask : last <= stackLimit;
}

/** Outside of 64-bit code linear addresses have 32 bits. */
function linear(pointer: u64): u64 {
  return stackMask === -1 ? pointer : (stackBase + pointer) & 0xffff_ffff;
}

export function push(cpu: usize, value: u64, size: i32): i32 {
  const pointer = (stackPointer - size) & stackMask;
  if (stackMask === -1 && !isCanonical(pointer)) return raise(cpu, SS, stackExt);
  if (!isInside(pointer, size)) return raise(cpu, SS, stackExt);
  if (stackClass === TLB_CLASS_user && checkAlignment(cpu, linear(pointer), size)) return 1;
  if (classWrite(cpu, linear(pointer), value, size, stackClass)) return 1;
  stackPointer = pointer;
  return 0;
}

export function pop(cpu: usize, size: i32): i32 {
  if (peek(cpu, 0, size)) return 1;
  stackPointer = (stackPointer + size) & stackMask;
  return 0;
}
/** Read above the top of the stack, to `popped`. */
export function peek(cpu: usize, distance: i32, size: i32): i32 {
  return readStack(cpu, stackPointer + distance, size);
}
/** Read at any offset in the stack, to `popped`. */
export function readStack(cpu: usize, offset: u64, size: i32): i32 {
  const pointer = offset & stackMask;
  if (stackMask === -1 && !isCanonical(pointer)) return raise(cpu, SS, stackExt);
  if (!isInside(pointer, size)) return raise(cpu, SS, stackExt);
  if (stackClass === TLB_CLASS_user && checkAlignment(cpu, linear(pointer), size)) return 1;
  if (classRead(cpu, linear(pointer), size, stackClass)) return 1;
  popped = systemValue;
  return 0;
}

/** Would a write at the cursor fault? */
export function checkTop(cpu: usize, size: i32): i32 {
  if (stackMask === -1 && !isCanonical(stackPointer)) return raise(cpu, SS, stackExt);
  if (stackClass === TLB_CLASS_user && checkAlignment(cpu, stackBase + stackPointer, size)) return 1;
  return checkWrite(cpu, stackBase + stackPointer, size);
}

export function skip(bytes: i32): void {
  stackPointer = (stackPointer + bytes) & stackMask;
}

/** Make the cursor the stack pointer; a 16-bit stack leaves the upper bits. */
export function closeStack(cpu: usize): void {
  const kept = stackMask === 0xffff ? gpr(cpu, RSP) & ~stackMask : 0;
  store<u64>(cpu, kept | stackPointer, VCPU_gpr + (RSP << 3));
}
