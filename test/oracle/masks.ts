/** What of a result is to be compared, by instruction: undefined flags, fields of images, differences of makes. */
import type { Analysis } from './analysis.ts';
import { HOST_DIFFERENCES } from './host-differences.ts';
import type { MachineCase, MachineResult } from './machine-case.ts';
import { ARITHMETIC_FLAGS } from './machine-state.ts';
import { defaultMask, leaveOutFlags, leaveOutStatus, type ResultMask, windowOffset } from './result-mask.ts';
import { undefinedFlags } from './undefined-flags.ts';

/** Instructions that write memory in several pieces: after a page fault some may have been written. */
const PIECEWISE = /^(fx?n?save|fnsave|fnstenv|fstenv|fxsave64|xsave.*|pusha.*|enter|maskmov.*)$/;

/** Fields of the images that FSTENV, FSAVE and FXSAVE write and that depend on the make. */
function imageFields(analysis: Analysis, test: MachineCase): { offset: number; length: number }[] {
  const use = analysis.memory.find(u => u.writes);
  if (!use) return [];
  const offset = windowOffset(analysis, use, test);
  if (offset === undefined) return [];
  const at = (from: number, to: number) => ({ offset: offset + from, length: to - from });
  if (/^f(n?stenv|n?save)$/.test(analysis.mnemonic))
    return use.size === 14 || use.size === 94 ? [at(6, 14)] : [at(2, 4), at(6, 8), at(10, 28)];
  if (/^f?xsave/.test(analysis.mnemonic))
    return [
      at(5, 24),
      at(28, 32),
      ...Array.from({ length: 8 }, (_, i) => at(42 + 16 * i, 48 + 16 * i)),
      // In 32-bit mode XMM8..15 are not written; the rest is reserved.
      at(analysis.mode === 64 ? 416 : 288, 512),
    ];
  return [];
}

export function resultMask(
  analysis: Analysis | undefined,
  test: MachineCase,
  expected: MachineResult,
  actual: MachineResult,
): ResultMask {
  const mask = defaultMask();
  if (!analysis) return mask;
  leaveOutFlags(mask, undefinedFlags(analysis, test.state));
  // What a division that faults does to the flags is undefined.
  if (expected.vector === 0) leaveOutFlags(mask, ARITHMETIC_FLAGS);
  leaveOutStatus(mask, analysis.undefinedFsw);
  mask.ignoredMemory.push(...imageFields(analysis, test));
  mask.ignoreAllMemory = expected.vector === 14 && PIECEWISE.test(analysis.mnemonic);
  for (const difference of HOST_DIFFERENCES) {
    if (!difference.applies(analysis, test, expected, actual)) continue;
    mask.approximation ??= difference.approximation;
    if (difference.treatment === 'skip') mask.skip = difference.reason;
    difference.leaveOut?.(mask, analysis, test, expected, actual);
  }
  return mask;
}
