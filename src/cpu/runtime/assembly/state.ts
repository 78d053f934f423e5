/** Small accessors for the vCPU block, and how an exception becomes pending. */
import {
  MODE_code64,
  MODE_sizeMask,
  SEG_cs,
  SEGMENT_attributes,
  SEGMENT_limit,
  SEGMENT_selector,
  VCPU_cpl,
  VCPU_cr0,
  VCPU_efer,
  VCPU_exCr2,
  VCPU_exError,
  VCPU_exHasError,
  VCPU_exitInfo,
  VCPU_exVector,
  VCPU_flagSys,
  VCPU_gpr,
  VCPU_mode,
  VCPU_segBase,
  VCPU_segment,
} from './generated/layout';
import { CR0_PE, EFER_LMA, FLAG_VM, GP, PF, UNSUPPORTED } from './x86';

export function gpr(cpu: usize, register: usize): u64 {
  return load<u64>(cpu + (register << 3), VCPU_gpr);
}
export function setGpr(cpu: usize, register: usize, value: u64): void {
  store<u64>(cpu + (register << 3), value, VCPU_gpr);
}
export function selectorOf(cpu: usize, seg: i32): i32 {
  return load<u16>(cpu + (seg << 4), VCPU_segment + SEGMENT_selector);
}
export function attributesOf(cpu: usize, seg: i32): u32 {
  return load<u32>(cpu + (seg << 4), VCPU_segment + SEGMENT_attributes);
}
export function limitOf(cpu: usize, seg: i32): u32 {
  return load<u32>(cpu + (seg << 4), VCPU_segment + SEGMENT_limit);
}
export function baseOf(cpu: usize, seg: i32): u64 {
  return load<u64>(cpu + (seg << 3), VCPU_segBase);
}
export function cplOf(cpu: usize): i32 {
  return load<i32>(cpu, VCPU_cpl);
}
export function isLong(cpu: usize): bool {
  return (load<u64>(cpu, VCPU_efer) & EFER_LMA) !== 0;
}
/** Executing 64-bit code now. */
export function isCode64(cpu: usize): bool {
  return (load<i32>(cpu, VCPU_mode) & MODE_sizeMask) === MODE_code64;
}
export function isVm86(cpu: usize): bool {
  return (load<u32>(cpu, VCPU_flagSys) & FLAG_VM) !== 0;
}
/** Real-address mode or virtual-8086 mode: selectors are paragraphs. */
export function isRealOrVm86(cpu: usize): bool {
  return (load<u64>(cpu, VCPU_cr0) & CR0_PE) === 0 || isVm86(cpu);
}
export function isCanonical(address: u64): bool {
  return ((((address as i64) << 16) >> 16) as u64) === address;
}
/** Offset fits the code segment as it is now loaded. */
export function withinCodeLimit(cpu: usize, offset: u64): bool {
  return isCode64(cpu) ? isCanonical(offset) : offset <= limitOf(cpu, SEG_cs);
}

/** Make an exception with an error code pending. Always 1, so that callers can `return raise(...)`. */
export function raise(cpu: usize, vector: i32, error: i32): i32 {
  store<i32>(cpu, vector, VCPU_exVector);
  store<i32>(cpu, error, VCPU_exError);
  store<i32>(cpu, 1, VCPU_exHasError);
  return 1;
}
export function raiseNoError(cpu: usize, vector: i32): i32 {
  store<i32>(cpu, vector, VCPU_exVector);
  store<i32>(cpu, 0, VCPU_exError);
  store<i32>(cpu, 0, VCPU_exHasError);
  return 1;
}
export function raiseGp0(cpu: usize): i32 {
  return raise(cpu, GP, 0);
}
export function raisePageFault(cpu: usize, address: u64, error: i32): i32 {
  store<u64>(cpu, address, VCPU_exCr2);
  return raise(cpu, PF, error);
}
/** The guest did something that Domus does not implement; `what` says what (Exit.unsupported). */
export function raiseUnsupported(cpu: usize, what: i32): i32 {
  store<i32>(cpu, what, VCPU_exitInfo);
  return raiseNoError(cpu, UNSUPPORTED);
}
