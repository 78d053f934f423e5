/**
 * What of a result is to be compared: the manual's undefined flags, exact by count and operands, fields that depend
 * on the processor's make, and the one table of differences between processors.
 */
import type { Analysis } from './analysis.ts';
import { DATA_BASE, End, type MachineCase, type MachineResult, WINDOW_BYTES } from './machine-case.ts';
import { ARITHMETIC_FLAGS, D, Flag, type MachineState, STATE_BYTES, State, W } from './machine-state.ts';
import { linearAddress } from './state.ts';

const ROTATES = /^(rol|ror|rcl|rcr)$/;
const SHIFTS = /^(shl|sal|shr|sar)$/;
const DOUBLE_SHIFTS = /^(shld|shrd)$/;

function shiftCount(analysis: Analysis, state: MachineState): number {
  const count = analysis.byCl ? state.bytes[8]! : analysis.immediate;
  return count & (analysis.operandBytes === 8 ? 63 : 31);
}

/** RFLAGS bits without a defined value after the instruction has run in `state`. */
export function undefinedFlags(analysis: Analysis, state: MachineState): number {
  const { mnemonic, operandBytes } = analysis;
  const isShift = SHIFTS.test(mnemonic);
  if (isShift || DOUBLE_SHIFTS.test(mnemonic) || ROTATES.test(mnemonic)) {
    const count = shiftCount(analysis, state);
    if (count === 0) return 0;
    let flags = count === 1 ? 0 : Flag.of;
    if (ROTATES.test(mnemonic)) return flags;
    flags |= Flag.af;
    // SAR goes on shifting in the sign; the others have nothing left to put in CF.
    if (isShift && mnemonic !== 'sar' && count > operandBytes * 8) flags |= Flag.cf;
    if (isShift && mnemonic !== 'sar' && count === operandBytes * 8 && operandBytes < 4) flags |= Flag.cf;
    if (!isShift && count > operandBytes * 8) flags |= ARITHMETIC_FLAGS;
    return flags;
  }
  return analysis.undefinedFlags;
}

/** Registers whose values are approximations: compared with a tolerance. */
export type Approximation = 'reciprocal' | 'transcendental' | undefined;

export interface HostDifference {
  readonly what: string;
  readonly reason: string;
  /**
   * skip: the case is not compared. approximate: registers within a tolerance. mask: the field is left out, see
   * DEFAULT_MASK and imageFields. host: compared all the same, processors so far do alike.
   */
  readonly treatment: 'skip' | 'approximate' | 'mask' | 'host';
  readonly approximation?: Approximation;
  applies(analysis: Analysis, test: MachineCase, expected: MachineResult): boolean;
}

/** The operand size prefix among the legacy prefixes. */
function hasOperandSizePrefix(code: Uint8Array): boolean {
  for (const byte of code) {
    if (byte === 0x66) return true;
    if (![0x67, 0xf0, 0xf2, 0xf3, 0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65].includes(byte)) return false;
  }
  return false;
}

const isInWindow = (linear: bigint, bytes: number): boolean =>
  linear >= BigInt(DATA_BASE) && linear + BigInt(bytes) <= BigInt(DATA_BASE + WINDOW_BYTES);

/** Where processors of different makes, all right by the manual, give different results. */
export const HOST_DIFFERENCES: readonly HostDifference[] = [
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
    reason: 'the last bit is not promised, and C1 and the precision flag follow from it',
    treatment: 'approximate',
    approximation: 'transcendental',
    applies: analysis => /^(fsin|fcos|fsincos|fptan|fpatan|f2xm1|fyl2x|fyl2xp1)$/.test(analysis.mnemonic),
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
    what: 'alignment checks of operands wider than 8 bytes, and of gathered ones',
    reason: 'MOVUPS, x87 images, gathered elements and the like may or may not be checked',
    treatment: 'skip',
    applies: (analysis, test) =>
      (test.state.u32[D.rflags]! & Flag.ac) !== 0 &&
      (analysis.gather !== undefined || analysis.memory.some(use => use.size > 8)),
  },
  {
    what: 'MASKMOVQ, MASKMOVDQU where masked-out bytes cannot be written',
    reason: 'whether they fault depends on the implementation',
    treatment: 'skip',
    applies: (analysis, _test, expected) =>
      /^v?maskmov(q|dqu)$/.test(analysis.mnemonic) && expected.end !== End.completed,
  },
  {
    what: 'CMPS where neither operand can be read',
    reason:
      'which of the two is read first, and so faults, is not promised: newer AMD begins with the second',
    treatment: 'skip',
    applies: (analysis, test) =>
      analysis.string &&
      /^cmps[bwdq]$/.test(analysis.mnemonic) &&
      analysis.memory.every(use => !isInWindow(linearAddress(analysis, use, test.state), use.size)),
  },
  {
    what: 'LOCK MOV CR0',
    reason: 'AMD has it as another name for CR8: #GP instead of #UD',
    treatment: 'skip',
    applies: analysis => analysis.lock && analysis.mnemonic === 'mov' && analysis.privileged,
  },
  {
    what: 'FOP, FIP, FDP, FCS, FDS',
    reason: 'AMD sets them only while an exception is pending, newer Intel never stores the selectors',
    treatment: 'mask',
    applies: analysis => analysis.x87,
  },
  {
    what: 'RF in the flags saved by a fault',
    reason: 'the kernel between the processor and this harness may change it',
    treatment: 'mask',
    applies: (_analysis, _test, expected) => expected.end === End.exception,
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

/** Instructions that write memory in several pieces: after a page fault some may have been written. */
const PIECEWISE = /^(fx?n?save|fnsave|fnstenv|fstenv|fxsave64|xsave.*|pusha.*|enter|maskmov.*)$/;

export interface ResultMask {
  /** A byte for each byte of the state: ones where it matters. */
  readonly state: Uint8Array;
  /** Ranges of the window that do not matter. */
  readonly ignoredMemory: readonly { readonly offset: number; readonly length: number }[];
  readonly ignoreAllMemory: boolean;
  readonly approximation: Approximation;
  readonly skip: string | undefined;
}

const DEFAULT_MASK = (() => {
  const mask = new Uint8Array(STATE_BYTES).fill(0xff);
  const clear = (name: keyof typeof State.offsets) =>
    mask.fill(0, State.offsets[name], State.offsets[name] + State.fields[name].size);
  // AMD keeps these only while an exception is pending; FCS and FDS are gone altogether.
  clear('fop');
  clear('fip');
  clear('fdp');
  clear('pad');
  for (let i = 0; i < 8; i++) mask.fill(0, State.offsets.fpr + 16 * i + 10, State.offsets.fpr + 16 * i + 16);
  // RF in the saved image tells how the fault was delivered.
  mask[State.offsets.rflags + 2]! &= ~1;
  return mask;
})();

/** Fields of the images that FSTENV, FSAVE and FXSAVE write and that depend on the make. */
function imageFields(analysis: Analysis, test: MachineCase): { offset: number; length: number }[] {
  const use = analysis.memory.find(u => u.writes);
  if (!use) return [];
  const linear = linearAddress(analysis, use, test.state);
  const offset = Number(BigInt.asIntN(64, linear - BigInt(DATA_BASE)));
  if (offset < -1024 || offset >= WINDOW_BYTES) return [];
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
): ResultMask {
  const state = DEFAULT_MASK.slice();
  if (!analysis)
    return { state, ignoredMemory: [], ignoreAllMemory: false, approximation: undefined, skip: undefined };
  let flags = undefinedFlags(analysis, test.state);
  // What a division that faults does to the flags is undefined.
  if (expected.vector === 0) flags |= ARITHMETIC_FLAGS;
  for (let i = 0; i < 4; i++) state[4 * D.rflags + i]! &= ~(flags >>> (8 * i));
  let fsw = analysis.undefinedFsw;
  let approximation: Approximation;
  let skip: string | undefined;
  for (const difference of HOST_DIFFERENCES) {
    if (!difference.applies(analysis, test, expected)) continue;
    approximation ??= difference.approximation;
    if (difference.treatment === 'skip') skip = difference.reason;
  }
  if (approximation === 'transcendental') fsw |= 0x220;
  state[2 * W.fsw]! &= ~fsw;
  state[2 * W.fsw + 1]! &= ~(fsw >>> 8);
  return {
    state,
    ignoredMemory: imageFields(analysis, test),
    ignoreAllMemory: expected.vector === 14 && PIECEWISE.test(analysis.mnemonic),
    approximation,
    skip,
  };
}
