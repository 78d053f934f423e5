/** The manual's undefined flags, exact by count and operands. */
import type { Analysis } from './analysis.ts';
import { ARITHMETIC_FLAGS, Flag, type MachineState } from './machine-state.ts';

const ROTATES = /^(rol|ror|rcl|rcr)$/;
const SHIFTS = /^(shl|sal|shr|sar)$/;
export const DOUBLE_SHIFTS = /^(shld|shrd)$/;

export function shiftCount(analysis: Analysis, state: MachineState): number {
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
