/**
 * The local APIC's state in machine memory, and operations on its vector bitmaps. One structure for each vCPU, in a row.
 *
 * TPR bits 7:4 and IA32_APIC_BASE are not here: they are `cr8` and `apicBase` of the vCPU block.
 */
import { array, i32, struct, u32, u64, u64n } from '../base/struct.ts';

export const LapicState = struct('lapic', {
  id: u32,
  /** 1 while the vCPU waits for a SIPI. */
  waitForSipi: u32,
  /** TPR bits 3:0. */
  tprLow: u32,
  ldr: u32,
  dfr: u32,
  svr: u32,
  /** What a read of ESR gives, and what the next write to it will make visible. */
  esr: u32,
  esrPending: u32,
  icrLow: u32,
  icrHigh: u32,
  /** Timer, thermal, performance, LINT0, LINT1, error: in the order of their offsets. */
  lvt: array(u32, 6),
  timerInitial: u32,
  timerDivide: u32,
  /** Non-zero while the count (not the TSC deadline) is running. */
  timerRunning: i32,
  /** When the running count was started, in domain time. */
  timerStartNs: u64n,
  tscDeadline: u64,
  /** The vector that this APIC last put into `Vcpu.pendingInterrupt`, -1 if none. */
  published: i32,
  irr: array(u32, 8),
  isr: array(u32, 8),
  tmr: array(u32, 8),
});

export const LAPIC_STATE_BYTES = Math.ceil(LapicState.size / 64) * 64;

/** Highest vector set in the bitmap whose words start at index `words`, or -1. */
export function highestVector(u32s: Uint32Array, words: number): number {
  for (let i = 7; i >= 0; i--) {
    const word = u32s[words + i]!;
    if (word !== 0) return i * 32 + 31 - Math.clz32(word);
  }
  return -1;
}

export function setVector(u32s: Uint32Array, words: number, vector: number): void {
  u32s[words + (vector >>> 5)]! |= 1 << (vector & 31);
}

export function clearVector(u32s: Uint32Array, words: number, vector: number): void {
  u32s[words + (vector >>> 5)]! &= ~(1 << (vector & 31));
}
