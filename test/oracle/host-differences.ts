/** The one table of differences between processors: where makes, all right by the manual, give different results. */
import { FAULT_DIFFERENCES } from './fault-differences.ts';
import { B, type MachineState, STATE_BYTES, W } from './machine-state.ts';
import { type HostDifference, leaveOutRegister, leaveOutStatus } from './result-mask.ts';
import { DOUBLE_SHIFTS, shiftCount } from './undefined-flags.ts';

/** The operand size prefix among the legacy prefixes. */
function hasOperandSizePrefix(code: Uint8Array): boolean {
  for (const byte of code) {
    if (byte === 0x66) return true;
    if (![0x67, 0xf0, 0xf2, 0xf3, 0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65].includes(byte)) return false;
  }
  return false;
}

const isNaN32 = ({ u32 }: MachineState, i: number): boolean => (u32[i]! & 0x7fff_ffff) > 0x7f80_0000;
const isNaN64 = ({ u64 }: MachineState, i: number): boolean =>
  BigInt.asUintN(63, u64[i]!) > 0x7ff0_0000_0000_0000n;

/** Bits of FSW; UNDERFLOW is its mask in FCW, too. */
const UNDERFLOW = 0x10;
const PRECISION = 0x20;
const C1 = 0x200;
const SUMMARY = 0x8080;

/** Whether a register is next to the smallest normal number of either sign, however its exponent is written. */
function isAtSmallestNormal({ u16, u64 }: MachineState, register: number): boolean {
  const at = B.fpr + 16 * register;
  const distance = BigInt.asIntN(64, u64[at / 8]! - (1n << 63n));
  return (u16[at / 2 + 4]! & 0x7fff) <= 1 && distance >= -1n && distance <= 1n;
}

/** ST and ST(1), as numbers of registers. */
const resultRegisters = ({ u16 }: MachineState): number[] => [0, 1].map(i => ((u16[W.fsw]! >> 11) + i) & 7);

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
    leaveOut: (mask, _analysis, test, expected, actual) => {
      leaveOutStatus(mask, C1 | PRECISION);
      for (const register of resultRegisters(expected.state)) {
        if (![expected, actual].some(({ state }) => isAtSmallestNormal(state, register))) continue;
        leaveOutStatus(mask, UNDERFLOW);
        // Unmasked it gives another exponent, and waits.
        if (test.state.u16[W.fcw]! & UNDERFLOW) continue;
        leaveOutStatus(mask, SUMMARY);
        leaveOutRegister(mask, register);
      }
    },
  },
  {
    what: 'NaNs that DPPS and DPPD give of several',
    reason:
      'which of them is where depends on the implementation: AMD broadcasts one, Intel Sapphire Rapids does not',
    treatment: 'mask',
    applies: analysis => /^v?dpp[sd]$/.test(analysis.mnemonic),
    leaveOut: ({ state }, { mnemonic }, _test, ...results) => {
      const [size, isNotANumber] = mnemonic.endsWith('s') ? [4, isNaN32] : [8, isNaN64];
      for (let at = B.ymm; at < STATE_BYTES; at += size)
        if (results.every(result => isNotANumber(result.state, at / size))) state.fill(0, at, at + size);
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
