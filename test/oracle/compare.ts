/**
 * Runs the same cases on the oracle and on a processor under test and explains the first difference.
 *
 * The cases of a form depend on its name, the mode and the seed alone, so that a failure is repeated by naming them.
 */
import { type Analysis, analyse, disassemble } from './analysis.ts';
import type { InstructionForm } from './forms.ts';
import {
  type CaseRunner,
  changesBetween,
  End,
  type MachineCase,
  type MachineResult,
  type Mode,
  type Patch,
  windowOf,
} from './machine-case.ts';
import {
  B,
  copyState,
  D,
  flagNames,
  hexOf,
  initialState,
  Q,
  STATE_PARTS,
  stateDifferences,
} from './machine-state.ts';
import { resultMask } from './masks.ts';
import { hashText, random } from './random.ts';
import { leaveOutFlags, type ResultMask } from './result-mask.ts';
import { makeCase } from './state.ts';

/** The processor under test: one case in the address space that machine-case.ts describes. */
export interface GuestCpu {
  run(test: MachineCase): MachineResult | Promise<MachineResult>;
}

export const asRunner = (guest: GuestCpu): CaseRunner => ({
  run: async cases => {
    const results: MachineResult[] = [];
    for (const test of cases) results.push(await guest.run(test));
    return results;
  },
});

export interface FormCases {
  readonly form: InstructionForm;
  readonly mode: Mode;
  readonly cases: readonly MachineCase[];
  /** For each case; undefined where the bytes are no instruction. */
  readonly analyses: readonly (Analysis | undefined)[];
}

/** States tried for each encoding: analysing an encoding costs more than a state, variety of operands more still. */
const statesPerEncoding = (count: number): number => Math.max(1, Math.min(8, count >> 4));

export function casesOf(form: InstructionForm, mode: Mode, count: number, seed = 1): FormCases {
  const draw = random(hashText(`${form.name}/${mode}`, seed));
  const states = statesPerEncoding(count);
  const cases: MachineCase[] = [];
  const analyses: (Analysis | undefined)[] = [];
  for (let attempts = 0; cases.length < count && attempts < 2 * count; attempts++) {
    const encoding = form.generate(draw, mode);
    if (!encoding) continue;
    const analysis = analyse(encoding.code, mode, encoding.rip);
    // Bytes that are no instruction need no preparation: a state for NOP will do.
    const prepared = analysis ?? analyse(Uint8Array.of(0x90), mode, encoding.rip)!;
    for (let i = 0; i < states && cases.length < count; i++) {
      cases.push(makeCase(draw, prepared, encoding.code, encoding.rip));
      analyses.push(analysis);
    }
  }
  return { form, mode, cases, analyses };
}

const END_NAMES = Object.entries(End);
const endName = (end: number): string => END_NAMES.find(([, value]) => value === end)?.[0] ?? String(end);
const VECTOR_NAMES = '#DE #DB NMI #BP #OF #BR #UD #NM #DF 9 #TS #NP #SS #GP #PF 15 #MF #AC #MC #XM'.split(
  ' ',
);
const HAS_ERROR_CODE = new Set([8, 10, 11, 12, 13, 14, 17]);

export function formatEnd(result: MachineResult): string {
  if (result.end !== End.exception) return endName(result.end);
  const parts = [VECTOR_NAMES[result.vector] ?? `vector ${result.vector}`];
  if (HAS_ERROR_CODE.has(result.vector)) parts.push(`error code ${result.errorCode}`);
  if (result.vector === 14) parts.push(`address ${result.faultAddress.toString(16)}`);
  return parts.join(', ');
}

/** Addresses with bit 63 set belong to the host's kernel, which hides details of faults there. */
const isKernelAddress = (address: bigint): boolean => address >= 0x7fff_ffff_f000n;

/** Significand distance of two 80-bit values of the same sign and exponent, else infinite. */
function distance80(a: Uint8Array, b: Uint8Array, at: number): number {
  const value = (bytes: Uint8Array) => {
    let n = 0n;
    for (let i = 9; i >= 0; i--) n = (n << 8n) | BigInt(bytes[at + i]!);
    // Without the explicit integer bit neighbours across a power of two are neighbours as numbers.
    return ((n >> 64n) << 63n) | (n & 0x7fff_ffff_ffff_ffffn);
  };
  const difference = value(a) - value(b);
  return Number(difference < 0n ? -difference : difference);
}
const TRANSCENDENTAL_ULPS = 4;
const RECIPROCAL_ERROR = 3 * 2 ** -12;
const SMALLEST_NORMAL = 2 ** -126;

/** Makes the actual state's approximations equal to the expected ones where they are close enough. */
function applyTolerance(expected: MachineResult, actual: MachineResult, mask: ResultMask): MachineResult {
  if (mask.approximation === undefined) return actual;
  const state = copyState(actual.state);
  if (mask.approximation === 'transcendental')
    for (let i = 0; i < 8; i++) {
      const at = B.fpr + 16 * i;
      if (distance80(expected.state.bytes, state.bytes, at) <= TRANSCENDENTAL_ULPS)
        state.bytes.set(expected.state.bytes.subarray(at, at + 10), at);
    }
  else {
    const want = new Float32Array(expected.state.bytes.buffer, expected.state.bytes.byteOffset + B.ymm, 128);
    const have = new Float32Array(state.bytes.buffer, state.bytes.byteOffset + B.ymm, 128);
    for (let i = 0; i < 128; i++) {
      const error = Math.abs(want[i]! - have[i]!);
      // Tiny results become zero, and whether the smallest normal number is one is up to the table.
      if (error <= Math.abs(want[i]!) * RECIPROCAL_ERROR || error <= SMALLEST_NORMAL) have[i] = want[i]!;
    }
  }
  return { ...actual, state };
}

function memoryDifferences(
  test: MachineCase,
  expected: MachineResult,
  actual: MachineResult,
  mask: ResultMask,
): string[] {
  const same =
    expected.changes.length === actual.changes.length &&
    expected.changes.every((change, i) => samePatch(change, actual.changes[i]!));
  if (same || mask.ignoreAllMemory) return [];
  const image = (result: MachineResult): Uint8Array => {
    const window = windowOf(test);
    for (const change of result.changes) window.set(change.bytes, change.offset);
    for (const { offset, length } of mask.ignoredMemory)
      window.fill(0, Math.max(0, offset), Math.max(0, offset + length));
    return window;
  };
  const want = image(expected);
  const have = image(actual);
  return changesBetween(want, have).map(({ offset, bytes }) => {
    const hex = (data: Uint8Array) => Buffer.from(data).toString('hex');
    const length = Math.min(bytes.length, 64);
    return `memory window+${offset.toString(16)}  expected ${hex(want.subarray(offset, offset + length))}  actual ${hex(have.subarray(offset, offset + length))}`;
  });
}
function samePatch(a: Patch, b: Patch): boolean {
  if (a.offset !== b.offset || a.bytes.length !== b.bytes.length) return false;
  for (let i = 0; i < a.bytes.length; i++) if (a.bytes[i] !== b.bytes[i]) return false;
  return true;
}

/** Every difference that counts, one a line; empty when the results agree. */
export function resultDifferences(
  test: MachineCase,
  analysis: Analysis | undefined,
  expected: MachineResult,
  actual: MachineResult,
  undefinedFlags = 0,
): string[] {
  const mask = resultMask(analysis, test, expected, actual);
  if (mask.skip !== undefined) return [];
  leaveOutFlags(mask, undefinedFlags);
  const lines: string[] = [];
  const hidden = expected.vector === 14 && isKernelAddress(expected.faultAddress);
  const endDiffers =
    expected.end !== actual.end ||
    (expected.end === End.exception &&
      (expected.vector !== actual.vector ||
        (HAS_ERROR_CODE.has(expected.vector) && !hidden && expected.errorCode !== actual.errorCode) ||
        (expected.vector === 14 &&
          !mask.ignoreFaultAddress &&
          expected.faultAddress !== actual.faultAddress)));
  if (endDiffers) lines.push(`end     expected ${formatEnd(expected)}  actual ${formatEnd(actual)}`);
  // States of cases that ran away or left the sandbox mean nothing.
  if (expected.end > End.exception) return lines;
  const tolerated = applyTolerance(expected, actual, mask);
  lines.push(...stateDifferences(expected.state, tolerated.state, mask.state));
  lines.push(...memoryDifferences(test, expected, tolerated, mask));
  return lines;
}

export interface Failure {
  readonly test: MachineCase;
  readonly analysis: Analysis | undefined;
  readonly expected: MachineResult;
  readonly actual: MachineResult;
  readonly differences: readonly string[];
}

/** Replaces everything that does not matter by plain values, as long as the results go on to differ. */
export async function shrink(failure: Failure, oracle: CaseRunner, guest: CaseRunner): Promise<Failure> {
  let best = failure;
  const attempt = async (test: MachineCase): Promise<void> => {
    const [[expected], [actual]] = await Promise.all([oracle.run([test]), guest.run([test])]);
    const differences = resultDifferences(test, best.analysis, expected!, actual!);
    // The same kind of failure only: zeroed pointers fail as well, but differently.
    if (
      differences.length > 0 &&
      expected!.end === failure.expected.end &&
      expected!.vector === failure.expected.vector
    )
      best = { test, analysis: best.analysis, expected: expected!, actual: actual!, differences };
  };
  const plain = initialState();
  for (const part of STATE_PARTS) {
    if (part.name === 'rip') continue;
    const state = copyState(best.test.state);
    state.bytes.set(plain.bytes.subarray(part.offset, part.offset + part.size), part.offset);
    if (hexOf(state, part) !== hexOf(best.test.state, part)) await attempt({ ...best.test, state });
  }
  for (let i = best.test.patches.length - 1; i >= 0; i--)
    await attempt({ ...best.test, patches: best.test.patches.filter((_, j) => j !== i) });
  return best;
}

/** Everything needed to understand a failure, as text. */
export function formatFailure({ test, expected, actual, differences }: Failure): string {
  const plain = initialState();
  const inputs = STATE_PARTS.filter(
    part => part.name !== 'rip' && hexOf(test.state, part) !== hexOf(plain, part),
  ).map(part =>
    part.name === 'rflags'
      ? `rflags=${flagNames(test.state.u32[D.rflags]!).replaceAll(' ', '|')}`
      : `${part.name}=${hexOf(test.state, part)}`,
  );
  const hex = Buffer.from(test.code)
    .toString('hex')
    .replace(/..(?=.)/g, '$& ');
  return [
    `${test.mode}-bit  ${hex}  ${disassemble(test.code, test.mode, test.state.u64[Q.rip]!)}  at ${test.state.u64[Q.rip]!.toString(16)}`,
    `  given   ${inputs.join(' ') || 'the initial state'}`,
    ...test.patches.map(
      p =>
        `  memory  window+${p.offset.toString(16)}: ${Buffer.from(p.bytes.subarray(0, 64)).toString('hex')}`,
    ),
    `  expected to end: ${formatEnd(expected)}; ended: ${formatEnd(actual)}`,
    ...differences.map(line => `  ${line}`),
  ].join('\n');
}

export interface FormReport {
  readonly form: InstructionForm;
  readonly mode: Mode;
  readonly cases: number;
  readonly failures: number;
  /** The first failure, shrunk. */
  readonly first: Failure | undefined;
}

export interface CompareOptions {
  /** Cases for each form and mode. */
  readonly cases: number;
  readonly seed?: number;
  readonly modes?: readonly Mode[];
  readonly shrink?: boolean;
}

export async function compareForm(
  form: InstructionForm,
  mode: Mode,
  oracle: CaseRunner,
  guest: CaseRunner,
  options: CompareOptions,
): Promise<FormReport> {
  const { cases, analyses } = casesOf(form, mode, options.cases, options.seed);
  const [expected, actual] = await Promise.all([oracle.run(cases), guest.run(cases)]);
  let failures = 0;
  let first: Failure | undefined;
  cases.forEach((test, i) => {
    const differences = resultDifferences(test, analyses[i], expected[i]!, actual[i]!, form.undefinedFlags);
    if (differences.length === 0) return;
    failures++;
    first ??= { test, analysis: analyses[i], expected: expected[i]!, actual: actual[i]!, differences };
  });
  if (first && options.shrink !== false) first = await shrink(first, oracle, guest);
  return { form, mode, cases: cases.length, failures, first };
}

/** Compares all forms that the host has; yields a report for each form and mode. */
export async function* compareForms(
  forms: Iterable<InstructionForm>,
  oracle: CaseRunner,
  guest: CaseRunner,
  options: CompareOptions & { readonly hostFeatures?: ReadonlySet<string> },
): AsyncGenerator<FormReport> {
  const modes = options.modes ?? [64, 32, 16];
  for (const form of forms) {
    if (options.hostFeatures && !form.hostFeatures.every(name => options.hostFeatures!.has(name))) continue;
    for (const mode of form.modes)
      if (modes.includes(mode)) yield compareForm(form, mode, oracle, guest, options);
  }
}
