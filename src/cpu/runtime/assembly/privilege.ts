/** Instructions whose rights depend on CPL, IOPL and CR4: flags, ports, time, control registers by number. */

import { writeCr0, writeCr3, writeCr4, writeCr8 } from './control';
import { setFlags, setSystemFlags } from './flags';
import {
  SEG_tr,
  VCPU_cr0,
  VCPU_cr2,
  VCPU_cr3,
  VCPU_cr4,
  VCPU_cr8,
  VCPU_flagSys,
  VCPU_fuel,
  VCPU_interruptShadow,
  VCPU_pendingInterrupt,
  VCPU_sliceFuel,
  VCPU_temp,
  VCPU_xcr0,
} from './generated/layout';
import { systemRead, systemValue } from './mmu/system';
import {
  attributesOf,
  baseOf,
  cplOf,
  gpr,
  isRealOrVm86,
  isVm86,
  limitOf,
  raiseGp0,
  raiseNoError,
} from './state';
import {
  CR4_FSGSBASE,
  CR4_OSXSAVE,
  CR4_TSD,
  FLAG_AC,
  FLAG_IF,
  FLAG_IOPL,
  FLAG_NT,
  FLAG_RF,
  FLAG_TF,
  RCX,
  UD,
} from './x86';

const ARITHMETIC: u64 = 0x8d5;
const DIRECTION: u64 = 0x400;
const ID: u64 = 0x200000;

function iopl(cpu: usize): i32 {
  return ((load<u32>(cpu, VCPU_flagSys) & FLAG_IOPL) >> 12) as i32;
}
function flagIsSet(cpu: usize, flag: u32): bool {
  return (load<u32>(cpu, VCPU_flagSys) & flag) !== 0;
}

/** PUSHF, POPF in virtual-8086 mode need IOPL 3. */
export function checkVm86Iopl(cpu: usize): i32 {
  return isVm86(cpu) && iopl(cpu) < 3 ? raiseGp0(cpu) : 0;
}

/** What POPF may change (SDM vol. 2, POPF): IOPL only at CPL 0, IF only with CPL <= IOPL; never VM, VIF, VIP. */
export function popFlags(cpu: usize, value: u64, size: i32): void {
  const cpl = cplOf(cpu);
  let mask: u64 = ARITHMETIC | FLAG_TF | DIRECTION | FLAG_NT | FLAG_AC | ID;
  if (size === 2) mask &= 0xffff;
  if (cpl <= iopl(cpu)) mask |= FLAG_IF;
  if (cpl === 0 && !isVm86(cpu)) mask |= FLAG_IOPL;
  const flags = size === 2 ? value : value & ~(FLAG_RF as u64);
  setFlags(cpu, flags, size === 2 ? mask : mask | FLAG_RF);
}

/** What STAC and CLAC do at CPL 0. */
export function setAlignmentCheck(cpu: usize, on: i32): void {
  const flags = load<u32>(cpu, VCPU_flagSys);
  setSystemFlags(cpu, on !== 0 ? flags | FLAG_AC : flags & ~FLAG_AC);
}

/**
 * Cut the slice short when an interrupt waits that may now be taken, or when single-stepping was switched on:
 * at once, or after `delay` more instructions. The fuel that is not used does not count as executed.
 */
export function openInterruptWindow(cpu: usize, delay: i32): void {
  // At the end of a slice the instruction that must run first is the next slice's: the engine keeps interrupts off it.
  if (delay !== 0 && load<i32>(cpu, VCPU_fuel) <= 0) store<i32>(cpu, 1, VCPU_interruptShadow);
  const waits = load<i32>(cpu, VCPU_pendingInterrupt) >= 0 && flagIsSet(cpu, FLAG_IF);
  if (!waits && !flagIsSet(cpu, FLAG_TF)) return;
  const fuel = load<i32>(cpu, VCPU_fuel);
  if (fuel <= delay) return;
  store<i32>(cpu, load<i32>(cpu, VCPU_sliceFuel) - (fuel - delay), VCPU_sliceFuel);
  store<i32>(cpu, delay, VCPU_fuel);
}

/** IN and OUT: CPL <= IOPL, or the ports' bits in the TSS are clear (SDM vol. 1, 19.5.2). */
export function checkPort(cpu: usize, port: i32, size: i32): i32 {
  if (isRealOrVm86(cpu) ? !isVm86(cpu) : cplOf(cpu) <= iopl(cpu)) return 0;
  // Only a 32 or 64-bit TSS has a bitmap.
  if ((attributesOf(cpu, SEG_tr) & 8) === 0) return raiseGp0(cpu);
  if (limitOf(cpu, SEG_tr) < 103 || systemRead(cpu, baseOf(cpu, SEG_tr) + 102, 2)) return raiseGp0(cpu);
  const at = (systemValue as u32) + ((port as u32) >> 3);
  if (at + 1 > limitOf(cpu, SEG_tr)) return raiseGp0(cpu);
  if (systemRead(cpu, baseOf(cpu, SEG_tr) + at, 2)) return 1;
  const mask = ((1 << size) - 1) << (port & 7);
  return (systemValue as i32) & mask ? raiseGp0(cpu) : 0;
}

export function checkTsc(cpu: usize): i32 {
  return (load<u64>(cpu, VCPU_cr4) & CR4_TSD) !== 0 && cplOf(cpu) !== 0 ? raiseGp0(cpu) : 0;
}
export function checkFsgsbase(cpu: usize): i32 {
  return (load<u64>(cpu, VCPU_cr4) & CR4_FSGSBASE) === 0 ? raiseNoError(cpu, UD) : 0;
}
export function xgetbv(cpu: usize): i32 {
  if ((load<u64>(cpu, VCPU_cr4) & CR4_OSXSAVE) === 0) return raiseNoError(cpu, UD);
  if ((gpr(cpu, RCX) as u32) !== 0) return raiseGp0(cpu);
  store<u64>(cpu, load<u64>(cpu, VCPU_xcr0), VCPU_temp);
  return 0;
}

export function isControlRegister(_cpu: usize, number: i32): i32 {
  return number === 0 || number === 2 || number === 3 || number === 4 || number === 8 ? 1 : 0;
}
export function readControl(cpu: usize, number: i32): u64 {
  if (number === 0) return load<u64>(cpu, VCPU_cr0);
  if (number === 2) return load<u64>(cpu, VCPU_cr2);
  if (number === 3) return load<u64>(cpu, VCPU_cr3);
  if (number === 4) return load<u64>(cpu, VCPU_cr4);
  return load<u64>(cpu, VCPU_cr8);
}
export function writeControl(cpu: usize, number: i32, value: u64): i32 {
  if (number === 0) return writeCr0(cpu, value);
  if (number === 3) return writeCr3(cpu, value);
  if (number === 4) return writeCr4(cpu, value);
  if (number === 8) return writeCr8(cpu, value);
  store<u64>(cpu, value, VCPU_cr2);
  return 0;
}
