/** The one table of differences between processors: where makes, all right by the manual, give different results. */
import { FAULT_DIFFERENCES } from './fault-differences.ts';
import { B, type MachineState, STATE_BYTES, W } from './machine-state.ts';
import { type HostDifference, leaveOutStatus } from './result-mask.ts';
import { DOUBLE_SHIFTS, shiftCount } from './undefined-flags.ts';

/** The operand size prefix among the legacy prefixes. */
function hasOperandSizePrefix(code: Uint8Array): boolean {
  for (const byte of code) {
    if (byte === 0x66) return true;
    if (![0x67, 0xf0, 0xf2, 0xf3, 0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65].includes(byte)) return false;
  }
  return false;
}

const isNaN32 = (bits: number): boolean => (bits & 0x7fff_ffff) > 0x7f80_0000;

/** FSW.UE */
const UNDERFLOW = 0x10;

/** Whether ST is the smallest normal number of either sign, however its exponent is written. */
function isSmallestNormal({ u16 }: MachineState): boolean {
  const at = B.fpr / 2 + 8 * ((u16[W.fsw]! >> 11) & 7);
  const [significand, exponent] = [u16.subarray(at, at + 4), u16[at + 4]! & 0x7fff];
  return exponent <= 1 && significand.every((word, i) => word === (i === 3 ? 0x8000 : 0));
}

/** Differences of what an instruction does. */
const RESULT_DIFFERENCES: readonly HostDifference[] = [
  {
    what: 'SHLD, SHRD of 16 bits by more than 16',
    reason: 'the result is undefined: AMD shifts the doubled operand, Intel rotates through the source',
    treatment: 'skip',
    applies: (analysis, test) =>
      DOUBLE_SHIFTS.test(analysis.mnemonic) &&
      analysis.operandBytes === 2 &&
      shiftCount(analysis, test.state) > 16,
  },
  {
    what: 'RCPPS, RCPSS, RSQRTPS, RSQRTSS',
    reason: 'only a relative error of 1.5 * 2^-12 is promised; tables differ',
    treatment: 'approximate',
    approximation: 'reciprocal',
    applies: analysis => /^v?(rcp|rsqrt)[ps]s$/.test(analysis.mnemonic),
  },
  {
    what: 'FSIN, FCOS, FSINCOS, FPTAN, FPATAN, F2XM1, FYL2X, FYL2XP1',
    reason:
      'the last bit is not promised, and C1 and the precision flag follow from it, at the smallest normal number underflow too',
    treatment: 'approximate',
    approximation: 'transcendental',
    applies: analysis => /^(fsin|fcos|fsincos|fptan|fpatan|f2xm1|fyl2x|fyl2xp1)$/.test(analysis.mnemonic),
    leaveOut: (mask, _analysis, { state }) => {
      leaveOutStatus(mask, 0x220);
      if (isSmallestNormal(state)) leaveOutStatus(mask, UNDERFLOW);
    },
  },
  {
    what: 'NaNs that DPPS and VDPPS give of several',
    reason:
      'the order of the additions, and so which NaN is the first, differs between AMD and Intel Sapphire Rapids',
    treatment: 'mask',
    applies: analysis => /^v?dpps$/.test(analysis.mnemonic),
    leaveOut: ({ state }, _analysis, _test, ...results) => {
      for (let at = B.ymm; at < STATE_BYTES; at += 4)
        if (results.every(result => isNaN32(result.state.u32[at / 4]!))) state.fill(0, at, at + 4);
    },
  },
  {
    what: 'near branches and RET with an operand size prefix in 64-bit mode',
    reason: 'Intel ignores the prefix, AMD truncates RIP to 16 bits',
    treatment: 'skip',
    applies: (analysis, test) =>
      analysis.mode === 64 &&
      /^(j|call$|loop|ret$)/.test(analysis.mnemonic) &&
      hasOperandSizePrefix(test.code),
  },
  {
    what: 'FOP, FIP, FDP, FCS, FDS',
    reason: 'AMD sets them only while an exception is pending, newer Intel never stores the selectors',
    treatment: 'mask',
    applies: analysis => analysis.x87,
  },
  {
    what: 'reserved parts of the FXSAVE image and MXCSR_MASK',
    reason: 'written or not, by make; AMD has MXCSR bit 17',
    treatment: 'mask',
    applies: analysis => /^fxsave/.test(analysis.mnemonic),
  },
  {
    what: 'BSF, BSR with a source of zero',
    reason:
      'Intel leaves the destination undefined, AMD documents that it is not changed; no processor differs',
    treatment: 'host',
    applies: analysis => /^bs[fr]$/.test(analysis.mnemonic),
  },
];

export const HOST_DIFFERENCES: readonly HostDifference[] = [...RESULT_DIFFERENCES, ...FAULT_DIFFERENCES];
