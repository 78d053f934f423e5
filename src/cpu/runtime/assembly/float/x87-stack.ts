/**
 * The x87 register stack and the frame of every x87 instruction: begin, compute, end. TOP lives in FSW, tags in the full
 * 16-bit FTW; between instructions a tag tells empty (3) from not empty (0) only, the other values are worked out when
 * an image is stored. Sources: SDM vol. 1, 8.1 and 8.5.
 */

import { VCPU_fcw, VCPU_fpr, VCPU_fsw, VCPU_ftw } from '../generated/layout';
import { beginControl, DE, IE, masks, raise, raised, setRaised, ZE } from './control';
import { indefinite, roundedUp, rSe, rSig, setMemoryDenormal, setPrecisionDrop, setRoundedUp } from './f80';

export const C0: u32 = 0x100;
export const C1: u32 = 0x200;
export const C2: u32 = 0x400;
export const C3: u32 = 0x4000;
export const SF: u32 = 0x40;
export const ES_B: u32 = 0x8080;

export function status(cpu: usize): u32 {
  return <u32>load<u16>(cpu, VCPU_fsw);
}
export function setStatus(cpu: usize, value: u32): void {
  store<u16>(cpu, <u16>value, VCPU_fsw);
}
function physical(cpu: usize, i: u32): u32 {
  return ((status(cpu) >> 11) + i) & 7;
}
/** Address of ST(i). */
export function slot(cpu: usize, i: u32): usize {
  return cpu + VCPU_fpr + (physical(cpu, i) << 4);
}
export function stSe(cpu: usize, i: u32): u32 {
  return <u32>load<u16>(slot(cpu, i), 8);
}
export function stSig(cpu: usize, i: u32): u64 {
  return load<u64>(slot(cpu, i));
}
export function isEmpty(cpu: usize, i: u32): bool {
  return ((<u32>load<u16>(cpu, VCPU_ftw) >> (physical(cpu, i) << 1)) & 3) === 3;
}
export function setTag(cpu: usize, i: u32, tag: u32): void {
  const shift = physical(cpu, i) << 1;
  const tags = <u32>load<u16>(cpu, VCPU_ftw);
  store<u16>(cpu, <u16>((tags & ~(3 << shift)) | (tag << shift)), VCPU_ftw);
}
export function moveTop(cpu: usize, by: u32): void {
  const s = status(cpu);
  setStatus(cpu, (s & ~(<u32>0x3800)) | ((((s >> 11) + by) & 7) << 11));
}
export function popStack(cpu: usize): void {
  setTag(cpu, 0, 3);
  moveTop(cpu, 1);
}
/** Write the result to ST(i). */
export function put(cpu: usize, i: u32): void {
  const at = slot(cpu, i);
  store<u64>(at, rSig);
  store<u16>(at, <u16>rSe, 8);
  setTag(cpu, i, 0);
}

/** Start an instruction: take the control word apart. */
export function begin(cpu: usize): void {
  const fcw = <u32>load<u16>(cpu, VCPU_fcw);
  beginControl((fcw >> 10) & 3, fcw & 0x3f);
  const pc = (fcw >> 8) & 3;
  setPrecisionDrop(pc === 0 ? 40 : pc === 2 ? 11 : 0);
  setMemoryDenormal(false);
  setRoundedUp(false);
}

/** Recompute ES and B after flags or masks have changed. */
export function summarize(cpu: usize): void {
  const s = status(cpu);
  const unmasked = s & 0x3f & ~(<u32>load<u16>(cpu, VCPU_fcw));
  setStatus(cpu, unmasked ? s | ES_B : s & ~ES_B);
}

/** An exception that comes before the computation is unmasked: the instruction has no other effect. */
export function blocked(): bool {
  return (raised & ~masks & (IE | DE | ZE)) !== 0;
}
export function anyUnmasked(exceptions: u32): bool {
  return (raised & ~masks & exceptions) !== 0;
}

/** Report exceptions and C1. Nothing else of the state is touched. */
export function report(cpu: usize): void {
  if (blocked()) {
    setRaised(raised & (IE | DE | ZE | SF));
    setRoundedUp(false);
  }
  let s = (status(cpu) & ~C1) | raised | (roundedUp ? C1 : 0);
  if (raised & ~masks & 0x3f) s |= ES_B;
  setStatus(cpu, s);
}
/** Set condition codes C0, C2, C3. */
export function setConditions(cpu: usize, conditions: u32): void {
  setStatus(cpu, (status(cpu) & ~(C0 | C2 | C3)) | conditions);
}

/** Result to ST(i), then pops; unless an exception blocks it. */
export function finish(cpu: usize, i: u32, pops: u32): void {
  if (!blocked()) {
    put(cpu, i);
    while (pops--) popStack(cpu);
  }
  report(cpu);
}
/** An operand is missing: the indefinite is the result. */
export function underflow(): void {
  raise(IE | SF);
  setRoundedUp(false);
  indefinite();
}
/** Push the result; a full stack makes it the indefinite. */
export function push(cpu: usize): void {
  if (!isEmpty(cpu, 7)) {
    setRaised(IE | SF);
    indefinite();
    if (!blocked()) {
      moveTop(cpu, 7);
      put(cpu, 0);
    }
    report(cpu);
    setStatus(cpu, status(cpu) | C1);
    return;
  }
  if (!anyUnmasked(IE)) {
    moveTop(cpu, 7);
    put(cpu, 0);
  }
  report(cpu);
}
