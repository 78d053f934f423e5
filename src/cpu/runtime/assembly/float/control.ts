/**
 * What an operation in progress shares between its steps: the control bits in force and the exceptions raised.
 *
 * These are module globals, so private to one worker, and they are dead between two instructions: every exported
 * operation sets them from the vCPU block first and writes the outcome back last. Exception bits have the order that
 * MXCSR and the x87 status word share. Sources: SDM vol. 1, 8.1, 10.2.3 and 11.5.
 */

import { VCPU_mxcsr, VCPU_simdFault } from '../generated/layout';

export const IE: u32 = 1;
export const DE: u32 = 2;
export const ZE: u32 = 4;
export const OE: u32 = 8;
export const UE: u32 = 16;
export const PE: u32 = 32;

export const RC_NEAREST: u32 = 0;
export const RC_DOWN: u32 = 1;
export const RC_UP: u32 = 2;
export const RC_ZERO: u32 = 3;

/** Exceptions raised so far by the current instruction. */
export let raised: u32 = 0;
/** In vcpu.simdFault: one of the exceptions there is unmasked. */
const UNMASKED: u32 = 0x100;
/** Rounding control, 0..3 as encoded. */
export let rounding: u32 = 0;
/** Exception mask bits, 1 = masked. */
export let masks: u32 = 0x3f;
/** Denormal operands count as zero. */
export let denormalsAreZero: bool = false;
/** Tiny results become zero (only with underflow masked). */
export let flushToZero: bool = false;
/** SSE: tiny results that are exact stay as they are and are not reported. */
export let areTinyKept: bool = false;
/** SSE: an inexact result has nothing to report any more. */
export let isPrecisionSettled: bool = false;
/** SSE: the same for denormal operands and results. */
export let isTininessSettled: bool = false;

export function raise(exceptions: u32): void {
  raised |= exceptions;
}
export function setRounding(control: u32): void {
  rounding = control;
}
export function setRaised(exceptions: u32): void {
  raised = exceptions;
}
export function setFlush(flush: bool): void {
  flushToZero = flush;
}
export function setDenormalsAreZero(zero: bool): void {
  denormalsAreZero = zero;
}
/** Set everything for an x87 operation. */
export function beginControl(roundingControl: u32, exceptionMasks: u32): void {
  raised = 0;
  rounding = roundingControl;
  masks = exceptionMasks;
  denormalsAreZero = false;
  flushToZero = false;
}

/** Start an SSE instruction: take MXCSR apart. */
export function beginSse(cpu: usize): void {
  const mxcsr = load<u32>(cpu, VCPU_mxcsr);
  raised = 0;
  rounding = (mxcsr >> 13) & 3;
  masks = (mxcsr >> 7) & 0x3f;
  denormalsAreZero = (mxcsr & 0x40) !== 0;
  flushToZero = (mxcsr & 0x8000) !== 0 && (masks & UE) !== 0;
  areTinyKept = (mxcsr & 0x8000) === 0 && (masks & UE) !== 0;
  const settled = mxcsr & masks;
  isPrecisionSettled = (settled & PE) !== 0;
  isTininessSettled = (settled & (DE | UE | PE)) === (DE | UE | PE);
}

/**
 * End an SSE operation: report the exceptions in MXCSR, and in vcpu.simdFault whether one of them is unmasked; the caller
 * then leaves the destination alone and raises #XM. An unmasked invalid, denormal or divide exception comes before the
 * computation, which then never reports the other three.
 */
export function endSse(cpu: usize): bool {
  const unmasked = raised & ~masks;
  store<u32>(cpu, raised | (unmasked ? UNMASKED : 0), VCPU_simdFault);
  if (unmasked & (IE | DE | ZE)) raised &= IE | DE | ZE;
  if (raised) store<u32>(cpu, load<u32>(cpu, VCPU_mxcsr) | raised, VCPU_mxcsr);
  return unmasked !== 0;
}
