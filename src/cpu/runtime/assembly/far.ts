/**
 * Far transfers: JMP, CALL and RET through CS, and IRET (SDM vol. 2, the instructions; vol. 3, 5.8 privilege).
 *
 * RIP on entry is that of the next instruction; where a function returns nonzero an exception is pending, nothing
 * has changed and RIP must go back to the instruction. Operand sizes are 2, 4 or 8 bytes.
 */

import { readLegacyTaskStack, readTaskStack, taskSp, taskSs } from './exceptions';
import { setFlags } from './flags';
import {
  SEG_cs,
  SEG_ds,
  SEG_es,
  SEG_fs,
  SEG_gs,
  SEG_ss,
  VCPU_flagSys,
  VCPU_gpr,
  VCPU_nmiBlocked,
  VCPU_rip,
} from './generated/layout';
import { systemRead, systemValue } from './mmu/system';
import { systemClass } from './mmu/tlb';
import { setCpl, updateMode } from './mode';
import {
  attributesIn,
  checkStackSegment,
  descriptor,
  descriptorAddress,
  dplIn,
  dropPrivilegedSegments,
  isCodeSegment,
  isConforming,
  isNull,
  limitIn,
  markAccessed,
  readDescriptor,
  setCode,
  setFromDescriptor,
  setNull,
  setParagraph,
} from './segments';
import {
  closeStack,
  maskOf,
  openInnerStack,
  openNewStack,
  openStack,
  peek,
  pop,
  popped,
  push,
  skip,
  stackPointer,
} from './stack';
import {
  cplOf,
  gpr,
  isCanonical,
  isCode64,
  isLong,
  isRealOrVm86,
  isVm86,
  limitOf,
  raise,
  raiseGp0,
  selectorOf,
} from './state';
import { farToTask, returnToTask } from './tasks';
import {
  ATTR_DB,
  ATTR_L,
  ATTR_PRESENT,
  ATTR_S,
  FLAG_AC,
  FLAG_AF,
  FLAG_CF,
  FLAG_DF,
  FLAG_ID,
  FLAG_IF,
  FLAG_IOPL,
  FLAG_NT,
  FLAG_OF,
  FLAG_PF,
  FLAG_RF,
  FLAG_SF,
  FLAG_TF,
  FLAG_VIF,
  FLAG_VIP,
  FLAG_VM,
  FLAG_ZF,
  GP,
  NP,
  RSP,
  TS,
} from './x86';

function sized(value: u64, operandSize: i32): u64 {
  if (operandSize === 2) return value & 0xffff;
  return operandSize === 4 ? value & 0xffff_ffff : value;
}

/** Offset allowed in the code segment of `d`: canonical in 64-bit code, else within the limit. */
function checkOffset(cpu: usize, d: u64, offset: u64): i32 {
  const wide = isLong(cpu) && (attributesIn(d) & ATTR_L) !== 0;
  if (wide ? isCanonical(offset) : offset <= limitIn(d)) return 0;
  return raiseGp0(cpu);
}

/** L and D set together mean nothing. */
function sizeIsReserved(cpu: usize, attributes: u32): bool {
  return isLong(cpu) && (attributes & (ATTR_L | ATTR_DB)) === (ATTR_L | ATTR_DB);
}

/** Checks of a code segment that JMP or CALL names directly. Its descriptor has been read. */
function checkDirect(cpu: usize, selector: i32): i32 {
  const attributes = attributesIn(descriptor);
  const error = selector & 0xfffc;
  const dpl = dplIn(attributes);
  const cpl = cplOf(cpu);
  if (isConforming(attributes) ? dpl > cpl : (selector & 3) > cpl || dpl !== cpl)
    return raise(cpu, GP, error);
  if (sizeIsReserved(cpu, attributes)) return raise(cpu, GP, error);
  if ((attributes & ATTR_PRESENT) === 0) return raise(cpu, NP, error);
  return markAccessed(cpu);
}

/** Read the descriptor that JMP or CALL names; nonzero = exception pending. */
function readTarget(cpu: usize, selector: i32): i32 {
  if (isNull(selector)) return raiseGp0(cpu);
  return readDescriptor(cpu, selector, GP, 0);
}

/** Results of `readGate`: where a call gate leads (its code descriptor is in `descriptor`). */
let gateSelector: i32 = 0;
let gateOffset: u64 = 0;
let gateSize: i32 = 0;
let gateParameters: i32 = 0;

/** The system descriptor just read is a call gate: check it and read the code segment behind it. */
function readGate(cpu: usize, selector: i32): i32 {
  const gate = descriptor;
  const attributes = attributesIn(gate);
  const type = attributes & 0x1f;
  const error = selector & 0xfffc;
  const long = isLong(cpu);
  if (!long && (type === 1 || type === 9 || type === 5)) return farToTask(cpu, selector);
  if (type !== 12 && (type !== 4 || long)) return raise(cpu, GP, error);
  const dpl = dplIn(attributes);
  if (dpl < cplOf(cpu) || (selector & 3) > dpl) return raise(cpu, GP, error);
  if ((attributes & ATTR_PRESENT) === 0) return raise(cpu, NP, error);
  gateSelector = ((gate >> 16) & 0xffff) as i32;
  gateOffset = gate & 0xffff;
  gateSize = type === 4 ? 2 : 4;
  gateParameters = ((gate >> 32) & 31) as i32;
  if (type === 12) gateOffset |= (gate >> 32) & 0xffff_0000;
  if (long) {
    if (systemRead(cpu, descriptorAddress + 8, 8)) return 1;
    if (((systemValue >> 40) & 0x1f) !== 0) return raise(cpu, GP, error);
    gateOffset |= systemValue << 32;
    gateSize = 8;
    gateParameters = 0;
  }
  if (isNull(gateSelector)) return raiseGp0(cpu);
  if (readDescriptor(cpu, gateSelector, GP, 0)) return 1;
  const code = attributesIn(descriptor);
  const codeError = gateSelector & 0xfffc;
  if (!isCodeSegment(code) || dplIn(code) > cplOf(cpu)) return raise(cpu, GP, codeError);
  if (long && (code & (ATTR_L | ATTR_DB)) !== ATTR_L) return raise(cpu, GP, codeError);
  if ((code & ATTR_PRESENT) === 0) return raise(cpu, NP, codeError);
  return markAccessed(cpu);
}

function enterCode(cpu: usize, selector: i32, cpl: i32, code: u64, offset: u64): void {
  setCode(cpu, selector, cpl, code);
  store<u64>(cpu, offset, VCPU_rip);
  setCpl(cpu, cpl);
  updateMode(cpu);
}

/** JMP far, direct or through memory. */
export function farJump(cpu: usize, value: i32, target: u64, operandSize: i32): i32 {
  const selector = value & 0xffff;
  const offset = sized(target, operandSize);
  if (isRealOrVm86(cpu)) {
    if (offset > limitOf(cpu, SEG_cs)) return raiseGp0(cpu);
    setParagraph(cpu, SEG_cs, selector);
    store<u64>(cpu, offset, VCPU_rip);
    updateMode(cpu);
    return 0;
  }
  if (readTarget(cpu, selector)) return 1;
  if (isCodeSegment(attributesIn(descriptor))) {
    if (checkDirect(cpu, selector)) return 1;
    if (checkOffset(cpu, descriptor, offset)) return 1;
    enterCode(cpu, selector, cplOf(cpu), descriptor, offset);
    return 0;
  }
  if ((attributesIn(descriptor) & ATTR_S) !== 0) return raise(cpu, GP, selector & 0xfffc);
  if (readGate(cpu, selector)) return 1;
  const attributes = attributesIn(descriptor);
  if (!isConforming(attributes) && dplIn(attributes) !== cplOf(cpu))
    return raise(cpu, GP, gateSelector & 0xfffc);
  if (checkOffset(cpu, descriptor, gateOffset)) return 1;
  enterCode(cpu, gateSelector, cplOf(cpu), descriptor, gateOffset);
  return 0;
}

/** Push the return address of a far call on the open stack. */
function pushReturn(cpu: usize, size: i32): i32 {
  if (push(cpu, selectorOf(cpu, SEG_cs), size)) return 1;
  return push(cpu, load<u64>(cpu, VCPU_rip), size);
}

/** CALL far, direct or through memory. */
export function farCall(cpu: usize, value: i32, target: u64, operandSize: i32): i32 {
  const selector = value & 0xffff;
  const offset = sized(target, operandSize);
  openStack(cpu);
  if (isRealOrVm86(cpu)) {
    if (offset > limitOf(cpu, SEG_cs)) return raiseGp0(cpu);
    if (pushReturn(cpu, operandSize)) return 1;
    closeStack(cpu);
    setParagraph(cpu, SEG_cs, selector);
    store<u64>(cpu, offset, VCPU_rip);
    updateMode(cpu);
    return 0;
  }
  if (readTarget(cpu, selector)) return 1;
  if (isCodeSegment(attributesIn(descriptor))) {
    if (checkDirect(cpu, selector)) return 1;
    const code = descriptor;
    if (pushReturn(cpu, operandSize)) return 1;
    if (checkOffset(cpu, code, offset)) return 1;
    closeStack(cpu);
    enterCode(cpu, selector, cplOf(cpu), code, offset);
    return 0;
  }
  if ((attributesIn(descriptor) & ATTR_S) !== 0) return raise(cpu, GP, selector & 0xfffc);
  if (readGate(cpu, selector)) return 1;
  const code = descriptor;
  const attributes = attributesIn(code);
  if (!isConforming(attributes) && dplIn(attributes) < cplOf(cpu)) return callInner(cpu, code);
  if (pushReturn(cpu, gateSize)) return 1;
  if (checkOffset(cpu, code, gateOffset)) return 1;
  closeStack(cpu);
  enterCode(cpu, gateSelector, cplOf(cpu), code, gateOffset);
  return 0;
}

/** CALL through a gate to more privilege: a stack from the task state, with the parameters copied. */
function callInner(cpu: usize, code: u64): i32 {
  const cpl = dplIn(attributesIn(code));
  let stackDescriptor: u64 = 0;
  if (gateSize === 8) {
    if (readTaskStack(cpu, 4 + (cpl << 3), 0)) return 1;
    openNewStack(0, systemValue, -1, systemClass(cpu), 0);
  } else {
    if (readLegacyTaskStack(cpu, cpl, 0)) return 1;
    if (isNull(taskSs)) return raise(cpu, TS, 0);
    if (checkStackSegment(cpu, taskSs, cpl, TS, 0, false)) return 1;
    stackDescriptor = descriptor;
  }
  let inner = taskSp;
  if (gateSize !== 8) openInnerStack(cpu, stackDescriptor, taskSs, inner, 0);
  if (push(cpu, selectorOf(cpu, SEG_ss), gateSize)) return 1;
  if (push(cpu, gpr(cpu, RSP), gateSize)) return 1;
  for (let i = gateParameters - 1; i >= 0; i--) {
    inner = stackPointer;
    openStack(cpu);
    if (peek(cpu, i * gateSize, gateSize)) return 1;
    openInnerStack(cpu, stackDescriptor, taskSs, inner, 0);
    if (push(cpu, popped, gateSize)) return 1;
  }
  if (pushReturn(cpu, gateSize)) return 1;
  if (checkOffset(cpu, code, gateOffset)) return 1;
  closeStack(cpu);
  if (gateSize === 8) setNull(cpu, SEG_ss, cpl);
  else setFromDescriptor(cpu, SEG_ss, taskSs, stackDescriptor);
  enterCode(cpu, gateSelector, cpl, code, gateOffset);
  return 0;
}

/** Checks of the CS that RET or IRET found on the stack; leaves its descriptor in `descriptor`. */
function checkReturnCode(cpu: usize, selector: i32, offset: u64): i32 {
  if (isNull(selector)) return raiseGp0(cpu);
  const error = selector & 0xfffc;
  if (readDescriptor(cpu, selector, GP, 0)) return 1;
  const attributes = attributesIn(descriptor);
  const rpl = selector & 3;
  if (!isCodeSegment(attributes) || rpl < cplOf(cpu)) return raise(cpu, GP, error);
  const dpl = dplIn(attributes);
  if (isConforming(attributes) ? dpl > rpl : dpl !== rpl) return raise(cpu, GP, error);
  if (sizeIsReserved(cpu, attributes)) return raise(cpu, GP, error);
  if ((attributes & ATTR_PRESENT) === 0) return raise(cpu, NP, error);
  if (markAccessed(cpu)) return 1;
  return checkOffset(cpu, descriptor, offset);
}

/**
 * The last part of RET and IRET to another stack: check SS, then load everything. `extra` bytes are released on
 * the new stack.
 */
function leaveTo(cpu: usize, offset: u64, cs: i32, code: u64, pointer: u64, ss: i32, extra: i32): i32 {
  const rpl = cs & 3;
  const code64 = isLong(cpu) && (attributesIn(code) & ATTR_L) !== 0;
  if (checkStackSegment(cpu, ss, rpl, GP, 0, code64)) return 1;
  const stack = descriptor;
  const outer = rpl > cplOf(cpu);
  enterCode(cpu, cs, rpl, code, offset);
  let mask: u64 = -1;
  if (isNull(ss)) setNull(cpu, SEG_ss, ss);
  else {
    setFromDescriptor(cpu, SEG_ss, ss, stack);
    if (!code64) mask = maskOf(attributesIn(stack));
  }
  openNewStack(0, pointer, mask, 0, 0);
  skip(extra);
  closeStack(cpu);
  if (outer) dropPrivilegedSegments(cpu, rpl);
  return 0;
}

/** RET far, releasing `popBytes` of parameters. */
export function farReturn(cpu: usize, operandSize: i32, popBytes: i32): i32 {
  openStack(cpu);
  if (pop(cpu, operandSize)) return 1;
  const offset = popped;
  if (pop(cpu, operandSize)) return 1;
  const selector = (popped & 0xffff) as i32;
  if (isRealOrVm86(cpu)) {
    if (offset > limitOf(cpu, SEG_cs)) return raiseGp0(cpu);
    skip(popBytes);
    closeStack(cpu);
    setParagraph(cpu, SEG_cs, selector);
    store<u64>(cpu, offset, VCPU_rip);
    updateMode(cpu);
    return 0;
  }
  if (checkReturnCode(cpu, selector, offset)) return 1;
  const code = descriptor;
  skip(popBytes);
  if ((selector & 3) === cplOf(cpu)) {
    closeStack(cpu);
    enterCode(cpu, selector, selector & 3, code, offset);
    return 0;
  }
  if (pop(cpu, operandSize)) return 1;
  const pointer = popped;
  if (pop(cpu, operandSize)) return 1;
  return leaveTo(cpu, offset, selector, code, pointer, (popped & 0xffff) as i32, popBytes);
}

/** RFLAGS bits that IRET may write at the current privilege, apart from VM. */
function returnFlags(cpu: usize, operandSize: i32): u64 {
  let mask: u32 = FLAG_CF | FLAG_PF | FLAG_AF | FLAG_ZF | FLAG_SF | FLAG_TF | FLAG_DF | FLAG_OF | FLAG_NT;
  if (operandSize > 2) mask |= FLAG_RF | FLAG_AC | FLAG_ID;
  const cpl = cplOf(cpu);
  const iopl = ((load<u32>(cpu, VCPU_flagSys) & FLAG_IOPL) >> 12) as i32;
  if (cpl <= iopl) mask |= FLAG_IF;
  if (cpl === 0) {
    mask |= FLAG_IOPL;
    if (operandSize > 2) mask |= FLAG_VIF | FLAG_VIP;
  }
  return mask;
}

/** IRET, IRETD, IRETQ. */
export function iret(cpu: usize, operandSize: i32): i32 {
  const status = returnFromInterrupt(cpu, operandSize);
  if (status === 0) store<i32>(cpu, 0, VCPU_nmiBlocked);
  return status;
}

function returnFromInterrupt(cpu: usize, operandSize: i32): i32 {
  const system = load<u32>(cpu, VCPU_flagSys);
  if (isVm86(cpu) && (system & FLAG_IOPL) !== FLAG_IOPL) return raiseGp0(cpu);
  const real = isRealOrVm86(cpu);
  if (!real && (system & FLAG_NT) !== 0) {
    return isLong(cpu) ? raiseGp0(cpu) : returnToTask(cpu);
  }
  openStack(cpu);
  if (pop(cpu, operandSize)) return 1;
  const offset = popped;
  if (pop(cpu, operandSize)) return 1;
  const selector = (popped & 0xffff) as i32;
  if (pop(cpu, operandSize)) return 1;
  const flags = popped;
  let mask = returnFlags(cpu, operandSize);
  if (real) {
    if (offset > limitOf(cpu, SEG_cs)) return raiseGp0(cpu);
    closeStack(cpu);
    if (isVm86(cpu)) mask &= ~(FLAG_IOPL as u64);
    setFlags(cpu, flags, mask);
    setParagraph(cpu, SEG_cs, selector);
    store<u64>(cpu, offset, VCPU_rip);
    updateMode(cpu);
    return 0;
  }
  if ((flags & FLAG_VM) !== 0 && cplOf(cpu) === 0 && !isLong(cpu) && operandSize === 4) {
    return returnToVm86(cpu, offset, selector, flags, mask);
  }
  if (checkReturnCode(cpu, selector, offset)) return 1;
  const code = descriptor;
  if (isCode64(cpu) || (selector & 3) !== cplOf(cpu)) {
    if (pop(cpu, operandSize)) return 1;
    const pointer = popped;
    if (pop(cpu, operandSize)) return 1;
    if (leaveTo(cpu, offset, selector, code, pointer, (popped & 0xffff) as i32, 0)) return 1;
  } else {
    closeStack(cpu);
    enterCode(cpu, selector, selector & 3, code, offset);
  }
  setFlags(cpu, flags, mask);
  return 0;
}

function returnToVm86(cpu: usize, offset: u64, selector: i32, flags: u64, mask: u64): i32 {
  if (pop(cpu, 4)) return 1;
  const pointer = popped;
  let selectors: u64 = 0;
  // SS, ES, DS, FS in 16 bits each, then GS.
  for (let i = 0; i < 4; i++) {
    if (pop(cpu, 4)) return 1;
    selectors |= (popped & 0xffff) << (i << 4);
  }
  if (pop(cpu, 4)) return 1;
  const gs = (popped & 0xffff) as i32;
  setFlags(cpu, flags, mask | FLAG_VM);
  setParagraph(cpu, SEG_cs, selector);
  setParagraph(cpu, SEG_ss, (selectors & 0xffff) as i32);
  setParagraph(cpu, SEG_es, ((selectors >> 16) & 0xffff) as i32);
  setParagraph(cpu, SEG_ds, ((selectors >> 32) & 0xffff) as i32);
  setParagraph(cpu, SEG_fs, (selectors >> 48) as i32);
  setParagraph(cpu, SEG_gs, gs);
  store<u64>(cpu, pointer, VCPU_gpr + (RSP << 3));
  store<u64>(cpu, offset & 0xffff, VCPU_rip);
  setCpl(cpu, 3);
  updateMode(cpu);
  return 0;
}
