/**
 * Exceptions and interrupts through the IDT (SDM vol. 3, chapter 6; vol. 2, INT n).
 *
 * The saved RIP is `Vcpu.rip`: of the faulting instruction for faults, of the next one for traps and interrupts.
 * Nothing of the vCPU changes until everything that can fault has been done.
 */

import { getFlags, setSystemFlags } from './flags';
import {
  EXIT_exclusive,
  EXIT_tripleFault,
  EXIT_unsupported,
  PENDING_EXCLUSIVE,
  SEG_cs,
  SEG_ds,
  SEG_es,
  SEG_fs,
  SEG_gs,
  SEG_ss,
  SEG_tr,
  VCPU_cr0,
  VCPU_cr2,
  VCPU_cr4,
  VCPU_deliveries,
  VCPU_dr,
  VCPU_exCr2,
  VCPU_exDelivering,
  VCPU_exError,
  VCPU_exHasError,
  VCPU_exVector,
  VCPU_flagSys,
  VCPU_idtBase,
  VCPU_idtLimit,
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
  dplIn,
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
import { closeStack, openInnerStack, openNewStack, openStack, openStackOfEvent, push } from './stack';
import {
  attributesOf,
  baseOf,
  cplOf,
  gpr,
  isCanonical,
  isLong,
  isVm86,
  limitOf,
  raise,
  raiseNoError,
  selectorOf,
} from './state';
import { throughTaskGate } from './tasks';
import {
  ATTR_DB,
  ATTR_L,
  ATTR_PRESENT,
  BP,
  CR0_PE,
  CR4_OSXMMEXCPT,
  DB,
  DE,
  DF,
  FLAG_AC,
  FLAG_IF,
  FLAG_IOPL,
  FLAG_NT,
  FLAG_RF,
  FLAG_TF,
  FLAG_VM,
  GP,
  NMI,
  NP,
  OF,
  PF,
  RSP,
  SS,
  TS,
  UD,
  UNSUPPORTED,
  XM,
} from './x86';

/** Kinds of `interrupt`. */
const KIND_EXTERNAL: i32 = 0;
const KIND_INT_N: i32 = 1;
/** 3 is INT1, which is not checked. INT3 and INTO: like INT n, but the vector is fixed. */
const KIND_TRAP: i32 = 2;

/** Exception classes for double faults: SDM table 6-5. */
function isContributory(vector: i32): bool {
  return vector === DE || (vector >= TS && vector <= GP);
}

/**
 * Deliver the pending exception. 0 = RIP is at the handler; otherwise an exit reason: the processor shut down, or
 * needs what is not implemented. A fault on the way is delivered in its turn, as a double fault where it must be.
 */
export function deliver(cpu: usize): i32 {
  let vector = load<i32>(cpu, VCPU_exVector);
  while (true) {
    if (vector === UNSUPPORTED) return finish(cpu, EXIT_unsupported);
    if (vector === PENDING_EXCLUSIVE) return finish(cpu, EXIT_exclusive);
    if (vector === PF) store<u64>(cpu, load<u64>(cpu, VCPU_exCr2), VCPU_cr2);
    store<i32>(cpu, vector, VCPU_exDelivering);
    const hasError = load<i32>(cpu, VCPU_exHasError) !== 0;
    const trap = vector === DB || vector === NMI || vector === BP || vector === OF || vector === DF;
    if (deliverVector(cpu, vector, hasError, load<i32>(cpu, VCPU_exError), false, !trap) === 0) {
      countDelivery(cpu);
      return finish(cpu, 0);
    }
    const second = load<i32>(cpu, VCPU_exVector);
    if (second === UNSUPPORTED) return finish(cpu, EXIT_unsupported);
    if (vector === DF) return finish(cpu, EXIT_tripleFault);
    const secondIsBad = isContributory(second) || second === PF;
    if ((isContributory(vector) && isContributory(second)) || (vector === PF && secondIsBad)) {
      raise(cpu, DF, 0);
      vector = DF;
    } else vector = second;
  }
}

function countDelivery(cpu: usize): void {
  store<u32>(cpu, load<u32>(cpu, VCPU_deliveries) + 1, VCPU_deliveries);
}
function finish(cpu: usize, result: i32): i32 {
  store<i32>(cpu, -1, VCPU_exVector);
  store<i32>(cpu, -1, VCPU_exDelivering);
  return result;
}

/**
 * Deliver an interrupt: kind 0 external, 1 INT n, 2 INT3 or INTO, 3 INT1; RIP is the one to return to. Nonzero =
 * an exception is pending instead, and for the software kinds RIP must go back to the instruction.
 */
export function interrupt(cpu: usize, vector: i32, kind: i32): i32 {
  const software = kind === KIND_INT_N || kind === KIND_TRAP;
  if (kind === KIND_INT_N && isVm86(cpu) && (load<u32>(cpu, VCPU_flagSys) & FLAG_IOPL) !== FLAG_IOPL) {
    return raise(cpu, GP, 0);
  }
  if (deliverVector(cpu, vector, false, 0, software, false)) return 1;
  if (kind === KIND_EXTERNAL && vector === NMI) store<i32>(cpu, 1, VCPU_nmiBlocked);
  countDelivery(cpu);
  return 0;
}

/** The trap after an instruction that ran with RFLAGS.TF set: #DB with DR6.BS. RIP is after it. */
export function singleStep(cpu: usize): i32 {
  store<u64>(cpu, load<u64>(cpu, VCPU_dr + 48) | 0x4000, VCPU_dr + 48);
  raiseNoError(cpu, DB);
  return deliver(cpu);
}

function deliverVector(
  cpu: usize,
  vector: i32,
  hasError: bool,
  error: i32,
  software: bool,
  fault: bool,
): i32 {
  let status: i32;
  if (isLong(cpu)) status = throughLongGate(cpu, vector, hasError, error, software, fault);
  else if ((load<u64>(cpu, VCPU_cr0) & CR0_PE) !== 0)
    status = throughGate(cpu, vector, hasError, error, software, fault);
  else status = throughVectorTable(cpu, vector);
  if (status !== 0) return status;
  // General detect is off in a debug handler.
  if (vector === DB) store<u64>(cpu, load<u64>(cpu, VCPU_dr + 56) & ~(0x2000 as u64), VCPU_dr + 56);
  return 0;
}

/** RFLAGS as saved for the handler to return with. Faults set RF, so that a code breakpoint does not hit again. */
function savedFlags(cpu: usize, fault: bool): u64 {
  const flags = getFlags(cpu);
  return fault ? flags | FLAG_RF : flags;
}

/** The handler's RFLAGS. */
function enterHandler(cpu: usize, interruptGate: bool): void {
  let cleared = FLAG_TF | FLAG_NT | FLAG_RF | FLAG_VM;
  if (interruptGate) cleared |= FLAG_IF;
  setSystemFlags(cpu, load<u32>(cpu, VCPU_flagSys) & ~cleared);
}

/** The code segment a gate leads to, read to `descriptor`, and the privilege it runs with to `targetCpl`. */
let targetCpl: i32 = 0;
function checkTarget(cpu: usize, selector: i32, ext: i32): i32 {
  if (isNull(selector)) return raise(cpu, GP, ext);
  const error = (selector & 0xfffc) | ext;
  if (readDescriptor(cpu, selector, GP, ext)) return 1;
  const attributes = attributesIn(descriptor);
  const cpl = cplOf(cpu);
  if (!isCodeSegment(attributes) || dplIn(attributes) > cpl) return raise(cpu, GP, error);
  if (isLong(cpu) && (attributes & (ATTR_L | ATTR_DB)) !== ATTR_L) return raise(cpu, GP, error);
  if ((attributes & ATTR_PRESENT) === 0) return raise(cpu, NP, error);
  targetCpl = isConforming(attributes) ? cpl : dplIn(attributes);
  return markAccessed(cpu);
}

function throughLongGate(
  cpu: usize,
  vector: i32,
  hasError: bool,
  error: i32,
  software: bool,
  fault: bool,
): i32 {
  const ext = software ? 0 : 1;
  const gateError = (vector << 3) | 2 | ext;
  if (((vector << 4) as u32) + 15 > load<u32>(cpu, VCPU_idtLimit)) return raise(cpu, GP, gateError);
  const address = load<u64>(cpu, VCPU_idtBase) + (vector << 4);
  if (systemRead(cpu, address, 8)) return 1;
  const low = systemValue;
  if (systemRead(cpu, address + 8, 8)) return 1;
  const high = systemValue;
  const attributes = attributesIn(low);
  const type = attributes & 0x1f;
  if (type !== 14 && type !== 15) return raise(cpu, GP, gateError);
  if (software && dplIn(attributes) < cplOf(cpu)) return raise(cpu, GP, gateError);
  if ((attributes & ATTR_PRESENT) === 0) return raise(cpu, NP, gateError);

  const selector = ((low >> 16) & 0xffff) as i32;
  if (checkTarget(cpu, selector, ext)) return 1;
  const code = descriptor;
  const cpl = targetCpl;
  const inner = cpl < cplOf(cpu);
  const ist = ((low >> 32) & 7) as i32;
  let pointer = gpr(cpu, RSP);
  if (ist !== 0) {
    if (readTaskStack(cpu, 28 + (ist << 3), ext)) return 1;
    pointer = systemValue;
  } else if (inner) {
    if (readTaskStack(cpu, 4 + (cpl << 3), ext)) return 1;
    pointer = systemValue;
  }
  const target = (low & 0xffff) | ((low >> 32) & 0xffff_0000) | (high << 32);
  if (!isCanonical(pointer)) return raise(cpu, SS, ext);
  if (!isCanonical(target)) return raise(cpu, GP, ext);

  const stackClass = cpl === 3 ? 1 : systemClass(cpu);
  openNewStack(0, pointer & ~(15 as u64), -1, stackClass, ext);
  if (push(cpu, selectorOf(cpu, SEG_ss), 8)) return 1;
  if (push(cpu, gpr(cpu, RSP), 8)) return 1;
  if (push(cpu, savedFlags(cpu, fault), 8)) return 1;
  if (push(cpu, selectorOf(cpu, SEG_cs), 8)) return 1;
  if (push(cpu, load<u64>(cpu, VCPU_rip), 8)) return 1;
  if (hasError && push(cpu, error as u64, 8)) return 1;

  closeStack(cpu);
  store<u64>(cpu, target, VCPU_rip);
  setCode(cpu, selector, cpl, code);
  if (inner) setNull(cpu, SEG_ss, cpl);
  enterHandler(cpu, type === 14);
  setCpl(cpu, cpl);
  updateMode(cpu);
  return 0;
}

/** A stack pointer of the 64-bit task state, to `systemValue`. */
export function readTaskStack(cpu: usize, offset: i32, ext: i32): i32 {
  if ((offset as u32) + 7 > limitOf(cpu, SEG_tr))
    return raise(cpu, TS, (selectorOf(cpu, SEG_tr) & 0xfffc) | ext);
  return systemRead(cpu, baseOf(cpu, SEG_tr) + offset, 8);
}

/** Stack for an inner privilege from a 32 or 16-bit task state: results of `readLegacyTaskStack`. */
export let taskSs: i32 = 0;
export let taskSp: u64 = 0;
export function readLegacyTaskStack(cpu: usize, cpl: i32, ext: i32): i32 {
  const wide = (attributesOf(cpu, SEG_tr) & 8) !== 0;
  const offset = wide ? 4 + (cpl << 3) : 2 + (cpl << 2);
  const size = wide ? 4 : 2;
  if (((offset + size + 1) as u32) > limitOf(cpu, SEG_tr)) {
    return raise(cpu, TS, (selectorOf(cpu, SEG_tr) & 0xfffc) | ext);
  }
  if (systemRead(cpu, baseOf(cpu, SEG_tr) + offset, size)) return 1;
  taskSp = systemValue;
  if (systemRead(cpu, baseOf(cpu, SEG_tr) + offset + size, 2)) return 1;
  taskSs = systemValue as i32;
  return 0;
}

/** Protected mode without long mode: 8-byte gates of 16 or 32 bits. */
function throughGate(cpu: usize, vector: i32, hasError: bool, error: i32, software: bool, fault: bool): i32 {
  const ext = software ? 0 : 1;
  const gateError = (vector << 3) | 2 | ext;
  if (((vector << 3) as u32) + 7 > load<u32>(cpu, VCPU_idtLimit)) return raise(cpu, GP, gateError);
  if (systemRead(cpu, load<u64>(cpu, VCPU_idtBase) + (vector << 3), 8)) return 1;
  const gate = systemValue;
  const attributes = attributesIn(gate);
  const type = attributes & 0x1f;
  const isTask = type === 5;
  if (!isTask && (type & 0x16) !== 6) return raise(cpu, GP, gateError);
  if (software && dplIn(attributes) < cplOf(cpu)) return raise(cpu, GP, gateError);
  if ((attributes & ATTR_PRESENT) === 0) return raise(cpu, NP, gateError);
  if (isTask) return throughTaskGate(cpu, gate, ext);

  const selector = ((gate >> 16) & 0xffff) as i32;
  if (checkTarget(cpu, selector, ext)) return 1;
  const code = descriptor;
  const cpl = targetCpl;
  const size = (type & 8) !== 0 ? 4 : 2;
  const target = (gate & 0xffff) | (size === 4 ? (gate >> 32) & 0xffff_0000 : 0);
  const vm86 = isVm86(cpu);
  if (vm86 && cpl !== 0) return raise(cpu, GP, (selector & 0xfffc) | ext);
  const inner = cpl < cplOf(cpu);
  const flags = savedFlags(cpu, fault);
  let stackDescriptor: u64 = 0;
  if (inner) {
    if (readLegacyTaskStack(cpu, cpl, ext)) return 1;
    if (isNull(taskSs)) return raise(cpu, TS, ext);
    if (checkStackSegment(cpu, taskSs, cpl, TS, ext, false)) return 1;
    stackDescriptor = descriptor;
    openInnerStack(cpu, stackDescriptor, taskSs, taskSp, ext);
    if (vm86) {
      if (push(cpu, selectorOf(cpu, SEG_gs), size)) return 1;
      if (push(cpu, selectorOf(cpu, SEG_fs), size)) return 1;
      if (push(cpu, selectorOf(cpu, SEG_ds), size)) return 1;
      if (push(cpu, selectorOf(cpu, SEG_es), size)) return 1;
    }
    if (push(cpu, selectorOf(cpu, SEG_ss), size)) return 1;
    if (push(cpu, gpr(cpu, RSP), size)) return 1;
  } else openStackOfEvent(cpu, ext);
  if (target > limitIn(code)) return raise(cpu, GP, ext);
  if (push(cpu, flags, size)) return 1;
  if (push(cpu, selectorOf(cpu, SEG_cs), size)) return 1;
  if (push(cpu, load<u64>(cpu, VCPU_rip), size)) return 1;
  if (hasError && push(cpu, error as u64, size)) return 1;

  enterHandler(cpu, (type & 1) === 0);
  if (inner) setFromDescriptor(cpu, SEG_ss, taskSs, stackDescriptor);
  if (vm86) {
    setNull(cpu, SEG_gs, 0);
    setNull(cpu, SEG_fs, 0);
    setNull(cpu, SEG_ds, 0);
    setNull(cpu, SEG_es, 0);
  }
  closeStack(cpu);
  store<u64>(cpu, target, VCPU_rip);
  setCode(cpu, selector, cpl, code);
  setCpl(cpu, cpl);
  updateMode(cpu);
  return 0;
}

/** Real-address mode: four bytes of offset and segment for each vector, no error codes. */
function throughVectorTable(cpu: usize, vector: i32): i32 {
  if (((vector << 2) as u32) + 3 > load<u32>(cpu, VCPU_idtLimit)) return raise(cpu, GP, (vector << 3) | 2);
  if (systemRead(cpu, load<u64>(cpu, VCPU_idtBase) + (vector << 2), 4)) return 1;
  const target = systemValue;
  openStack(cpu);
  if (push(cpu, getFlags(cpu), 2)) return 1;
  if (push(cpu, selectorOf(cpu, SEG_cs), 2)) return 1;
  if (push(cpu, load<u64>(cpu, VCPU_rip), 2)) return 1;
  closeStack(cpu);
  setParagraph(cpu, SEG_cs, (target >> 16) as i32);
  store<u64>(cpu, target & 0xffff, VCPU_rip);
  setSystemFlags(cpu, load<u32>(cpu, VCPU_flagSys) & ~(FLAG_IF | FLAG_TF | FLAG_AC | FLAG_RF));
  updateMode(cpu);
  return 0;
}

/** An SSE or AVX exception that is not masked is to be delivered: #XM, or #UD when the operating system does not handle these. */
export function raiseSimd(cpu: usize): void {
  raiseNoError(cpu, (load<u64>(cpu, VCPU_cr4) & CR4_OSXMMEXCPT) !== 0 ? XM : UD);
}
