/** Differences between processors in which of several faults they find, and in what an instruction that faults has done. */
import type { Analysis, MemoryUse } from './analysis.ts';
import { DATA_BASE, End, type MachineCase, type MachineResult, WINDOW_BYTES } from './machine-case.ts';
import { ARITHMETIC_FLAGS, B, D, Flag, type MachineState, W } from './machine-state.ts';
import {
  type HostDifference,
  leaveOutFlags,
  leaveOutMemory,
  leaveOutStatus,
  leaveOutUpperHalf,
} from './result-mask.ts';
import { linearAddress } from './state.ts';

/** Faults of an address: segment, page, alignment. */
const isAddressFault = ({ end, vector }: MachineResult): boolean =>
  end === End.exception && [12, 13, 14, 17].includes(vector);
/** Of two results one is an exception of the operands' values, the other one of their addresses. */
const valueBeforeAddress = (isOfValue: (result: MachineResult) => boolean, ...results: MachineResult[]) =>
  results.some(isOfValue) && results.some(isAddressFault);
const isPending = (state: MachineState): boolean => (state.u16[W.fsw]! & 0x80) !== 0;

const isStore = ({ memory }: Analysis): boolean => memory.some(use => use.writes);

/** Whether an element of a string is not in memory, or not aligned where that is checked. */
function cannotBeRead(analysis: Analysis, use: MemoryUse, { state }: MachineCase): boolean {
  const linear = linearAddress(analysis, use, state);
  const bytes = BigInt(1 << 'bwdq'.indexOf(analysis.mnemonic.at(-1)!));
  return (
    linear < BigInt(DATA_BASE) ||
    linear + bytes > BigInt(DATA_BASE + WINDOW_BYTES) ||
    ((state.u32[D.rflags]! & Flag.ac) !== 0 && linear % bytes !== 0n)
  );
}

/** Whether a page fault is for a byte of the operand in memory. */
function isInOperand(analysis: Analysis, test: MachineCase, { faultAddress }: MachineResult): boolean {
  return analysis.memory.some(use => {
    const distance = BigInt.asUintN(64, faultAddress - linearAddress(analysis, use, test.state));
    return distance < BigInt(use.size);
  });
}

/** FSW.TOP */
const STACK_TOP = 0x3800;
const RCX = 1;

export const FAULT_DIFFERENCES: readonly HostDifference[] = [
  {
    what: 'alignment checks of operands wider than 8 bytes, of gathered ones and of half precision',
    reason:
      'MOVUPS, x87 images, gathered elements and the like may or may not be checked; half precision AMD checks, Intel does not',
    treatment: 'skip',
    applies: (analysis, test) =>
      (test.state.u32[D.rflags]! & Flag.ac) !== 0 &&
      (analysis.gather !== undefined ||
        /^vcvtp(h2ps|s2ph)$/.test(analysis.mnemonic) ||
        analysis.memory.some(use => use.size > 8)),
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
      analysis.memory.every(use => cannotBeRead(analysis, use, test)),
  },
  {
    what: 'LOCK MOV CR0',
    reason: 'AMD has it as another name for CR8: #GP instead of #UD',
    treatment: 'skip',
    applies: analysis => analysis.lock && analysis.mnemonic === 'mov' && analysis.privileged,
  },
  {
    what: 'RF in the flags saved by a fault',
    reason: 'the kernel between the processor and this harness may change it',
    treatment: 'mask',
    applies: (_analysis, _test, expected) => expected.end === End.exception,
  },
  {
    what: 'BOUND below the lower bound, where the upper one cannot be read',
    reason: 'AMD reads both before it compares, Intel Sapphire Rapids the upper one only when it needs it',
    treatment: 'skip',
    applies: (analysis, _test, expected, actual) =>
      analysis.mnemonic === 'bound' && valueBeforeAddress(({ vector }) => vector === 5, expected, actual),
  },
  {
    what: 'x87 stores to where there is no memory, of values that raise an unmasked exception',
    reason: 'AMD finds the address at fault, Intel Sapphire Rapids stores nothing and so looks at no address',
    treatment: 'skip',
    applies: (analysis, test, expected, actual) =>
      analysis.x87 &&
      isStore(analysis) &&
      !isPending(test.state) &&
      valueBeforeAddress(({ end, state }) => end === End.completed && isPending(state), expected, actual),
  },
  {
    what: 'VCVTPS2PH to where there is no memory, of values that raise an unmasked exception',
    reason: 'AMD finds the address at fault, Intel Sapphire Rapids the value',
    treatment: 'skip',
    applies: (analysis, _test, expected, actual) =>
      analysis.mnemonic === 'vcvtps2ph' &&
      valueBeforeAddress(({ vector }) => vector === 19, expected, actual),
  },
  {
    what: 'flags of VCVTPS2PH in MXCSR where the store faults',
    reason: 'Intel Sapphire Rapids has set them, AMD has not',
    treatment: 'mask',
    applies: (analysis, _test, expected) => analysis.mnemonic === 'vcvtps2ph' && isAddressFault(expected),
    leaveOut: ({ state }) => {
      state[4 * D.mxcsr]! &= ~0x3f;
    },
  },
  {
    what: 'REPE, REPNE CMPS and SCAS with a fault after some elements',
    reason: "Intel's manual has the flags of before the instruction, AMD leaves those of the last comparison",
    treatment: 'mask',
    applies: (analysis, _test, expected) =>
      analysis.repeated && /^(cmps|scas)[bwdq]$/.test(analysis.mnemonic) && isAddressFault(expected),
    leaveOut: mask => leaveOutFlags(mask, ARITHMETIC_FLAGS),
  },
  {
    what: 'repeated string instructions with 32-bit addresses in 64-bit mode that do no element',
    reason:
      'Intel Sapphire Rapids clears the upper halves of the registers before it begins, AMD with each element',
    treatment: 'mask',
    applies: (analysis, test, expected) =>
      analysis.mode === 64 &&
      analysis.repeated &&
      analysis.memory.every(use => use.addressBits === 32) &&
      (test.state.u32[2 * RCX] === 0 || isAddressFault(expected)),
    leaveOut: (mask, { memory }) => {
      for (const register of [RCX, ...memory.map(({ base }) => base)]) leaveOutUpperHalf(mask, register);
    },
  },
  {
    what: 'CALL to where there is no code',
    reason:
      'Intel Sapphire Rapids has written the return address, but not moved the stack pointer; AMD has not',
    treatment: 'mask',
    applies: (analysis, _test, expected) => analysis.mnemonic === 'call' && expected.vector === 13,
    leaveOut: (mask, analysis, test) => {
      for (const use of analysis.memory)
        if (use.implicitStack && use.writes) leaveOutMemory(mask, analysis, use, test);
    },
  },
  {
    what: 'FSTP and FBSTP of 80 bits across the end of memory',
    reason: 'Intel Sapphire Rapids may have written the first 8 bytes, AMD writes all or nothing',
    treatment: 'mask',
    applies: (analysis, _test, expected) =>
      /^fb?stp$/.test(analysis.mnemonic) && analysis.operandBytes === 10 && isAddressFault(expected),
    leaveOut: (mask, analysis, test) => {
      for (const use of analysis.memory) leaveOutMemory(mask, analysis, use, test, 8);
    },
  },
  {
    what: 'MMX stores that fault',
    reason: 'Intel Sapphire Rapids has set TOP to 0 as every MMX instruction does, AMD has not',
    treatment: 'mask',
    applies: (analysis, _test, expected) => analysis.mmx && isStore(analysis) && isAddressFault(expected),
    leaveOut: mask => leaveOutStatus(mask, STACK_TOP),
  },
  {
    what: 'VMASKMOV stores that cross into a page that is not there',
    reason: 'AMD reports the first byte that is not there, Intel Sapphire Rapids the last one',
    treatment: 'mask',
    applies: (analysis, test, expected, actual) =>
      /^v(pmaskmov[dq]|maskmovp[sd])$/.test(analysis.mnemonic) &&
      isStore(analysis) &&
      [expected, actual].every(result => result.vector === 14 && isInOperand(analysis, test, result)),
    leaveOut: mask => {
      mask.ignoreFaultAddress = true;
    },
  },
  {
    what: 'gathers that fault',
    reason:
      "Intel has extended the sign bits of the mask's elements and cleared the upper halves of mask and result, AMD has not",
    treatment: 'mask',
    applies: (analysis, _test, expected) => analysis.gather !== undefined && isAddressFault(expected),
    leaveOut: ({ state }, { gather, memory }) => {
      const { destination, mask, bytes } = gather!;
      const { size } = memory[0]!;
      const place = (register: number) => B.ymm + 32 * register;
      state.fill(0, place(destination) + bytes, place(destination + 1));
      state.fill(0, place(mask), place(mask + 1));
      for (let i = size; i <= bytes; i += size) state[place(mask) + i - 1] = 0x80;
    },
  },
];
