/** The decoder's lengths, and what it takes for an instruction, against iced-x86 in all three modes. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Code, CpuidFeature, Instruction } from 'iced-x86';
import { Decoder } from '../../src/cpu/decode/decoder.ts';
import { Mode } from '../../src/cpu/decode/mode.ts';
import { compareDecoder, formatDecodeDifference } from './decode.ts';

const full = process.env.DOMUS_TEST_FULL === '1';

/** Extensions that the processor has; instructions of all others are rightly undefined: AVX-512, VMX, SVM and many more. */
const FEATURES = new Set(
  (
    'INTEL8086 INTEL186 INTEL286 INTEL386 INTEL486 X64 PAUSE MULTIBYTENOP FPU FPU287 FPU387 CMOV CX8 CMPXCHG16B FXSR ' +
    'POPCNT CLFSH CLFLUSHOPT PREFETCHW FSGSBASE XSAVE XSAVEOPT XSAVEC CPUID MSR TSC RDTSCP RDPMC SYSCALL SEP INVPCID ' +
    'RDRAND RDSEED SMAP MMX SSE SSE2 SSE3 SSSE3 SSE4_1 SSE4_2 AES PCLMULQDQ MOVBE LZCNT BMI1 BMI2 AVX AVX2 FMA F16C'
  ).split(' '),
);

const absent = new Map<string, boolean>();
/** Does the instruction with this iced name need an extension that is not there? */
function isAbsent(name: string): boolean {
  let result = absent.get(name);
  if (result === undefined) {
    const instruction = new Instruction();
    instruction.code = Code[name as keyof typeof Code];
    result = [...instruction.cpuidFeatures()].some(feature => !FEATURES.has(CpuidFeature[feature]!));
    instruction.free();
    absent.set(name, result);
  }
  return result;
}

const MODES = [
  [64, Mode.code64],
  [32, Mode.code32],
  [16, Mode.code16],
] as const;

for (const [mode, code] of MODES) {
  test(`lengths in ${mode}-bit mode`, () => {
    const decoder = new Decoder();
    decoder.ripRelative = mode === 64;
    const length = (bytes: Uint8Array) =>
      decoder.decode(bytes, 0, bytes.length, code) ? undefined : decoder.result.length;
    const differences = compareDecoder(length, {
      mode,
      count: full ? 1_000_000 : 60_000,
      ignore: name => name !== 'INVALID' && isAbsent(name),
    });
    assert.deepEqual(differences.map(formatDecodeDifference), []);
  });
}
