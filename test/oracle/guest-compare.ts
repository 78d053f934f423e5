/**
 * The engine against the host, form by form: runs the cases of compare.ts on both and says what differs, but for the
 * differences that are accepted, each with its reason.
 */
import type { Analysis } from './analysis.ts';
import { casesOf, formatFailure, resultDifferences, shrink } from './compare.ts';
import type { InstructionForm } from './forms.ts';
import { type CaseRunner, End, type MachineCase, type MachineResult, type Mode } from './machine-case.ts';

interface AcceptedDifference {
  readonly reason: string;
  applies(analysis: Analysis, expected: MachineResult, actual: MachineResult, test: MachineCase): boolean;
}

const isFault = (result: MachineResult): boolean => result.end === End.exception;
/** Size of the largest state image: where it lies on two missing pages, some processors report the last byte. */
const IMAGE_BYTES = 512n;
const inOneImage = (a: bigint, b: bigint): boolean => (a > b ? a - b : b - a) < IMAGE_BYTES;
/** #SS or #GP. */
const isSegmentFault = (result: MachineResult): boolean =>
  isFault(result) && (result.vector === 12 || result.vector === 13);

export const ACCEPTED: readonly AcceptedDifference[] = [
  {
    reason: 'state images: which of their bytes reports the page fault is up to the processor',
    applies: (analysis, expected, actual) =>
      /^(fn?stenv|fldenv|fn?save|frstor|fxsave|fxrstor)/.test(analysis.mnemonic) &&
      isFault(expected) &&
      isFault(actual) &&
      expected.vector === 14 &&
      actual.vector === 14 &&
      expected.errorCode === actual.errorCode &&
      inOneImage(expected.faultAddress, actual.faultAddress),
  },
  {
    reason: 'state images beyond a segment limit in legacy modes: processors get as far as the fields fit',
    applies: (analysis, expected, actual) =>
      analysis.mode !== 64 &&
      /^(fn?stenv|fldenv|fn?save|frstor|fxsave|fxrstor)/.test(analysis.mnemonic) &&
      (isSegmentFault(expected) || isSegmentFault(actual)),
  },
  {
    reason: 'legacy modes: of two faults of an instruction, that of the segment comes first here',
    applies: (analysis, expected, actual) =>
      analysis.mode !== 64 &&
      isFault(expected) &&
      isSegmentFault(actual) &&
      expected.vector !== actual.vector,
  },
  {
    reason: 'ARPL through a segment that cannot be written faults here even when there is nothing to write',
    applies: (analysis, _expected, actual) => analysis.mnemonic === 'arpl' && isSegmentFault(actual),
  },
  {
    reason: 'LOOPE and LOOPNE with a repeat prefix: AMD lets the prefix choose the condition',
    applies: (analysis, _expected, _actual, test) =>
      /^loopn?e$/.test(analysis.mnemonic) && test.code.some(byte => byte === 0xf2 || byte === 0xf3),
  },
  {
    reason: 'MOVSXD with 16-bit operands: AMD reads 32 bits, Intel 16',
    applies: (analysis, expected) =>
      analysis.mnemonic === 'movsxd' && analysis.operandBytes === 2 && isFault(expected),
  },
];

export interface GuestReport {
  readonly cases: number;
  /** One for each form and mode that differs: the first difference, reduced, and how many there are. */
  readonly failures: readonly string[];
}

/** Compare `count` cases of every form in every mode. */
export async function compareGuest(
  forms: Iterable<InstructionForm>,
  host: CaseRunner,
  guest: CaseRunner,
  count: number,
  modes: readonly Mode[] = [64, 32, 16],
): Promise<GuestReport> {
  const failures: string[] = [];
  let total = 0;
  for (const form of forms) {
    for (const mode of form.modes) {
      if (!modes.includes(mode)) continue;
      const { cases, analyses } = casesOf(form, mode, count);
      const [expected, actual] = await Promise.all([host.run(cases), guest.run(cases)]);
      total += cases.length;
      const differing = cases
        .map((test, i) => ({ test, analysis: analyses[i], expected: expected[i]!, actual: actual[i]! }))
        .map(entry => ({ ...entry, differences: guestDifferences(entry, form.undefinedFlags) }))
        .filter(entry => entry.differences.length > 0);
      if (differing.length === 0) continue;
      const first = await shrink(differing[0]!, host, guest);
      failures.push(`${form.name}, ${differing.length} of ${cases.length}:\n${formatFailure(first)}`);
    }
  }
  return { cases: total, failures };
}

/** The differences of one case that are not accepted. */
export function guestDifferences(
  entry: {
    test: MachineCase;
    analysis: Analysis | undefined;
    expected: MachineResult;
    actual: MachineResult;
  },
  undefinedFlags?: number,
): string[] {
  const { test, analysis, expected, actual } = entry;
  const differences = resultDifferences(test, analysis, expected, actual, undefinedFlags);
  if (differences.length === 0) return differences;
  if (!analysis) {
    // Bytes after the opcode count for the length, but not when the opcode is of an extension that is not there.
    const tooLong = expected.vector === 13 && actual.vector === 6;
    return tooLong ? [] : differences;
  }
  return ACCEPTED.some(({ applies }) => applies(analysis, expected, actual, test)) ? [] : differences;
}
