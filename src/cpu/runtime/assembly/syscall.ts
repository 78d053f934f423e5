/** SYSCALL, SYSRET, SYSENTER and SYSEXIT (SDM vol. 2). RIP on entry is that of the next instruction. */

import { getFlags, setFlags, setSystemFlags } from './flags';
import {
  SEG_cs,
  SEG_ss,
  VCPU_cstar,
  VCPU_deliveries,
  VCPU_efer,
  VCPU_flagSys,
  VCPU_fmask,
  VCPU_lstar,
  VCPU_rip,
  VCPU_star,
  VCPU_sysenterCs,
  VCPU_sysenterEip,
  VCPU_sysenterEsp,
} from './generated/layout';
import { setCpl, updateMode } from './mode';
import { isNull, setSegment } from './segments';
import {
  cplOf,
  gpr,
  isCanonical,
  isCode64,
  isLong,
  isRealOrVm86,
  raiseGp0,
  raiseNoError,
  setGpr,
} from './state';
import { EFER_SCE, FLAG_IF, FLAG_RF, FLAG_TF, FLAG_VM, R11, RCX, RDX, RSP, UD } from './x86';

/** Flat segments as these instructions load them, without looking at descriptors. */
const CODE64: u32 = 0xa09b;
const CODE32: u32 = 0xc09b;
const DATA: u32 = 0xc093;

function setFlat(cpu: usize, cs: i32, ss: i32, cpl: i32, code: u32): void {
  const dpl = (cpl << 5) as u32;
  setSegment(cpu, SEG_cs, (cs & 0xfffc) | cpl, 0, 0xffff_ffff, code | dpl);
  setSegment(cpu, SEG_ss, (ss & 0xfffc) | cpl, 0, 0xffff_ffff, DATA | dpl);
  setCpl(cpu, cpl);
  updateMode(cpu);
}

/**
 * SYSCALL; in compatibility mode too, as AMD's processors have it (APM vol. 3), because 32-bit programs use it there.
 * Nonzero = exception pending (RIP must go back to the instruction then, as for all functions here).
 */
export function syscall(cpu: usize): i32 {
  if ((load<u64>(cpu, VCPU_efer) & EFER_SCE) === 0 || !isLong(cpu)) return raiseNoError(cpu, UD);
  const flags = getFlags(cpu);
  setGpr(cpu, RCX, load<u64>(cpu, VCPU_rip));
  setGpr(cpu, R11, flags & ~(FLAG_RF as u64));
  setFlags(cpu, flags & ~load<u64>(cpu, VCPU_fmask) & ~(FLAG_RF as u64), -1);
  store<u64>(cpu, isCode64(cpu) ? load<u64>(cpu, VCPU_lstar) : load<u64>(cpu, VCPU_cstar), VCPU_rip);
  // Whether a trap follows is decided by the TF that is left: a kernel that masks it is not trapped at its entry.
  if ((load<u64>(cpu, VCPU_fmask) & FLAG_TF) !== 0) {
    store<u32>(cpu, load<u32>(cpu, VCPU_deliveries) + 1, VCPU_deliveries);
  }
  const selector = ((load<u64>(cpu, VCPU_star) >> 32) & 0xfffc) as i32;
  setFlat(cpu, selector, selector + 8, 0, CODE64);
  return 0;
}

/** Flags that SYSRET takes from R11. */
const SYSRET_FLAGS: u64 = 0x3c7fd7;

export function sysret(cpu: usize, operandSize: i32): i32 {
  if ((load<u64>(cpu, VCPU_efer) & EFER_SCE) === 0 || !isCode64(cpu)) return raiseNoError(cpu, UD);
  if (cplOf(cpu) !== 0) return raiseGp0(cpu);
  const target = gpr(cpu, RCX);
  const wide = operandSize === 8;
  if (wide && !isCanonical(target)) return raiseGp0(cpu);
  store<u64>(cpu, wide ? target : target & 0xffff_ffff, VCPU_rip);
  setFlags(cpu, gpr(cpu, R11) & SYSRET_FLAGS, -1);
  const selector = ((load<u64>(cpu, VCPU_star) >> 48) & 0xffff) as i32;
  setFlat(cpu, wide ? selector + 16 : selector, selector + 8, 3, wide ? CODE64 : CODE32);
  return 0;
}

export function sysenter(cpu: usize): i32 {
  const selector = (load<u64>(cpu, VCPU_sysenterCs) & 0xfffc) as i32;
  if (isRealOrVm86(cpu) || isNull(selector)) return raiseGp0(cpu);
  const long = isLong(cpu);
  setSystemFlags(cpu, load<u32>(cpu, VCPU_flagSys) & ~(FLAG_VM | FLAG_IF));
  const stack = load<u64>(cpu, VCPU_sysenterEsp);
  const target = load<u64>(cpu, VCPU_sysenterEip);
  setGpr(cpu, RSP, long ? stack : stack & 0xffff_ffff);
  store<u64>(cpu, long ? target : target & 0xffff_ffff, VCPU_rip);
  setFlat(cpu, selector, selector + 8, 0, long ? CODE64 : CODE32);
  return 0;
}

export function sysexit(cpu: usize, operandSize: i32): i32 {
  const selector = (load<u64>(cpu, VCPU_sysenterCs) & 0xfffc) as i32;
  if (isRealOrVm86(cpu) || isNull(selector) || cplOf(cpu) !== 0) return raiseGp0(cpu);
  const wide = operandSize === 8;
  const target = gpr(cpu, RDX);
  const stack = gpr(cpu, RCX);
  if (wide && (!isCanonical(target) || !isCanonical(stack))) return raiseGp0(cpu);
  store<u64>(cpu, wide ? target : target & 0xffff_ffff, VCPU_rip);
  setGpr(cpu, RSP, wide ? stack : stack & 0xffff_ffff);
  if (wide) setFlat(cpu, selector + 32, selector + 40, 3, CODE64);
  else setFlat(cpu, selector + 16, selector + 24, 3, CODE32);
  return 0;
}
