/**
 * Hardware task switches (SDM vol. 3, chapter 7), as far as Domus has them: everything that is checked before one, so that
 * programs get the faults they would get. The switch itself crashes the domain with a reason (Unsupported.taskSwitch).
 */

import { SEG_tr, UNSUPPORTED_taskSwitch } from './generated/layout';
import { systemRead, systemValue } from './mmu/system';
import { attributesIn, descriptor, dplIn, limitIn, readDescriptor } from './segments';
import { baseOf, cplOf, raise, raiseUnsupported } from './state';
import { ATTR_PRESENT, GP, NP, TS } from './x86';

/** Types of a TSS descriptor of 16 bits, available and busy, and what 32 bits add. */
const AVAILABLE: u32 = 1;
const BUSY: u32 = 3;
const WIDE: u32 = 8;
/** Smallest limits of a task state. */
const LIMIT_WIDE: u32 = 103;
const LIMIT_NARROW: u32 = 43;

/** A switch to the task `selector`, of a descriptor in the GDT with type `wanted`. Faults are `vector`. */
function switchTo(cpu: usize, selector: i32, wanted: u32, vector: i32, ext: i32): i32 {
  const error = (selector & 0xfffc) | ext;
  if ((selector & 4) !== 0) return raise(cpu, vector, error);
  if (readDescriptor(cpu, selector, vector, ext)) return 1;
  const attributes = attributesIn(descriptor);
  if ((attributes & 0x1f & ~WIDE) !== wanted) return raise(cpu, vector, error);
  if ((attributes & ATTR_PRESENT) === 0) return raise(cpu, NP, error);
  const smallest = (attributes & WIDE) !== 0 ? LIMIT_WIDE : LIMIT_NARROW;
  if (limitIn(descriptor) < smallest) return raise(cpu, TS, error);
  return raiseUnsupported(cpu, UNSUPPORTED_taskSwitch);
}

/** JMP or CALL to the descriptor just read, which is a task gate's or a task state's. */
export function farToTask(cpu: usize, selector: i32): i32 {
  const attributes = attributesIn(descriptor);
  const error = selector & 0xfffc;
  const dpl = dplIn(attributes);
  if (dpl < cplOf(cpu) || dpl < (selector & 3)) return raise(cpu, GP, error);
  if ((attributes & 0x1f) !== 5) return switchTo(cpu, selector, AVAILABLE, GP, 0);
  if ((attributes & ATTR_PRESENT) === 0) return raise(cpu, NP, error);
  return throughTaskGate(cpu, descriptor, 0);
}

/** Through a task gate whose own rights and presence have been checked. */
export function throughTaskGate(cpu: usize, gate: u64, ext: i32): i32 {
  return switchTo(cpu, ((gate >> 16) & 0xffff) as i32, AVAILABLE, GP, ext);
}

/** IRET with NT set: back to the task that the current one names. */
export function returnToTask(cpu: usize): i32 {
  if (systemRead(cpu, baseOf(cpu, SEG_tr), 2)) return 1;
  return switchTo(cpu, systemValue as i32, BUSY, TS, 0);
}
