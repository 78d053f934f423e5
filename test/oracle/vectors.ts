/**
 * Recorded results of the oracle, so that machines without a compiler or the instructions can be tested too.
 *
 * A file holds only what came of each case, as differences from the state it began with; the cases themselves are
 * made again from form name, mode and seed, and a hash of them tells when they are no longer those recorded.
 *
 * Format, brotli-compressed, all numbers unsigned LEB128 unless said otherwise: "domus vectors 1\n"; cases for each
 * form and mode; seed; then until the end: name length, name, mode, hash of the cases (u32 little-endian), number of
 * cases, and for each case: end, vector, error code, fault address, number of differing 32-bit words of the state, for
 * each the distance from the last one and the exclusive-or of old and new (u32 little-endian); number of changed runs
 * of the window, for each offset / 8, length / 8 and the bytes.
 */
import { readFileSync } from 'node:fs';
import { brotliCompressSync, brotliDecompressSync, constants } from 'node:zlib';
import { casesOf, type FormCases } from './compare.ts';
import type { InstructionForm } from './forms.ts';
import type { CaseRunner, MachineCase, MachineResult, Mode, Patch } from './machine-case.ts';
import { copyState, D, Q, STATE_BYTES, W } from './machine-state.ts';

const MAGIC = 'domus vectors 1\n';

/** FNV-1a over everything a case consists of. */
export function hashCases(cases: readonly MachineCase[]): number {
  let h = 0x811c_9dc5;
  const word = (n: number) => {
    h = Math.imul(h ^ n, 0x0100_0193);
    h ^= h >>> 15;
  };
  for (const test of cases) {
    word(test.mode);
    for (const byte of test.code) word(byte);
    for (const value of test.state.u32) word(value);
    for (const patch of test.patches) {
      word(patch.offset);
      for (const byte of patch.bytes) word(byte);
    }
  }
  return h >>> 0;
}

class Output {
  private bytes = new Uint8Array(1 << 16);
  private length = 0;
  private reserve(size: number): void {
    if (this.length + size <= this.bytes.length) return;
    const grown = new Uint8Array(2 * (this.length + size));
    grown.set(this.bytes);
    this.bytes = grown;
  }
  byte(n: number): void {
    this.reserve(1);
    this.bytes[this.length++] = n;
  }
  number(n: number | bigint): void {
    let rest = BigInt(n);
    while (rest >= 0x80n) {
      this.byte(Number(rest & 0x7fn) | 0x80);
      rest >>= 7n;
    }
    this.byte(Number(rest));
  }
  u32(n: number): void {
    for (let i = 0; i < 4; i++) this.byte((n >>> (8 * i)) & 0xff);
  }
  raw(data: Uint8Array): void {
    this.reserve(data.length);
    this.bytes.set(data, this.length);
    this.length += data.length;
  }
  take(): Uint8Array {
    return this.bytes.subarray(0, this.length);
  }
}

class Input {
  private at = 0;
  private readonly bytes: Uint8Array;
  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
  }
  get ended(): boolean {
    return this.at >= this.bytes.length;
  }
  byte(): number {
    if (this.ended) throw new RangeError('the vector file is cut short');
    return this.bytes[this.at++]!;
  }
  bigint(): bigint {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const byte = this.byte();
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
  }
  number(): number {
    return Number(this.bigint());
  }
  u32(): number {
    let value = 0;
    for (let i = 0; i < 4; i++) value |= this.byte() << (8 * i);
    return value >>> 0;
  }
  raw(length: number): Uint8Array {
    if (this.at + length > this.bytes.length) throw new RangeError('the vector file is cut short');
    const from = this.at;
    this.at += length;
    return this.bytes.slice(from, this.at);
  }
}

/** Bits of the state's words that are never compared and so not recorded: FOP, FIP, FDP and RF. */
const RECORDED = (() => {
  const mask = new Uint32Array(STATE_BYTES / 4).fill(0xffff_ffff);
  mask.fill(0, 2 * Q.fip, 2 * Q.fdp + 2);
  mask[W.fop >> 1] = 0xffff;
  mask[D.rflags] = ~0x1_0000;
  return mask;
})();
const difference = (test: MachineCase, result: MachineResult, i: number): number =>
  (test.state.u32[i]! ^ result.state.u32[i]!) & RECORDED[i]!;

function writeResult(output: Output, test: MachineCase, result: MachineResult): void {
  output.byte(result.end);
  output.byte(result.vector);
  output.number(result.errorCode);
  output.number(result.faultAddress);
  const words: number[] = [];
  if (result.end <= 1)
    for (let i = 0; i < STATE_BYTES / 4; i++) if (difference(test, result, i) !== 0) words.push(i);
  output.number(words.length);
  let last = 0;
  for (const i of words) {
    output.number(i - last);
    output.u32(difference(test, result, i));
    last = i;
  }
  output.number(result.changes.length);
  for (const { offset, bytes } of result.changes) {
    output.number(offset / 8);
    output.number(bytes.length / 8);
    output.raw(bytes);
  }
}
function readResult(input: Input, test: MachineCase): MachineResult {
  const end = input.byte();
  const vector = input.byte();
  const errorCode = input.number();
  const faultAddress = input.bigint();
  const state = copyState(test.state);
  let at = 0;
  for (let n = input.number(); n > 0; n--) {
    at += input.number();
    state.u32[at]! ^= input.u32();
  }
  const changes: Patch[] = [];
  for (let n = input.number(); n > 0; n--) {
    const offset = 8 * input.number();
    changes.push({ offset, bytes: input.raw(8 * input.number()) });
  }
  return { end, vector, errorCode, faultAddress, state, changes };
}

export interface RecordOptions {
  readonly cases: number;
  readonly seed: number;
  readonly modes?: readonly Mode[];
}

/** Runs all forms on the oracle. The result is the file's contents. */
export async function recordVectors(
  forms: Iterable<InstructionForm>,
  oracle: CaseRunner,
  options: RecordOptions,
): Promise<Uint8Array> {
  const output = new Output();
  output.raw(new TextEncoder().encode(MAGIC));
  output.number(options.cases);
  output.number(options.seed);
  for (const form of forms)
    for (const mode of form.modes) {
      if (options.modes && !options.modes.includes(mode)) continue;
      const { cases } = casesOf(form, mode, options.cases, options.seed);
      const results = await oracle.run(cases);
      const name = new TextEncoder().encode(form.name);
      output.number(name.length);
      output.raw(name);
      output.byte(mode);
      output.u32(hashCases(cases));
      output.number(cases.length);
      cases.forEach((test, i) => {
        writeResult(output, test, results[i]!);
      });
    }
  return brotliCompressSync(output.take(), {
    params: { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_LGWIN]: 22 },
  });
}

export interface RecordedForm extends FormCases {
  readonly results: readonly MachineResult[];
}

/** The cases and results of a file, form by form. Throws when a form's cases are not those recorded any more. */
export function* replayVectors(
  compressed: Uint8Array,
  forms: Iterable<InstructionForm>,
): Generator<RecordedForm> {
  const byName = new Map([...forms].map(form => [form.name, form]));
  const input = new Input(brotliDecompressSync(compressed));
  if (new TextDecoder().decode(input.raw(MAGIC.length)) !== MAGIC) throw new Error('not a vector file');
  const count = input.number();
  const seed = input.number();
  while (!input.ended) {
    const name = new TextDecoder().decode(input.raw(input.number()));
    const mode = input.byte() as Mode;
    const hash = input.u32();
    const form = byName.get(name);
    if (!form) throw new Error(`the vectors have a form that is not known: ${name}`);
    const made = casesOf(form, mode, count, seed);
    if (input.number() !== made.cases.length || hashCases(made.cases) !== hash)
      throw new Error(
        `the cases of ${name} in ${mode}-bit mode are not those recorded; record anew: node test/oracle/record.ts`,
      );
    yield { ...made, results: made.cases.map(test => readResult(input, test)) };
  }
}

export const VECTOR_FILE = new URL('vectors.bin', import.meta.url);
export const readVectorFile = (): Uint8Array => readFileSync(VECTOR_FILE);

/** A runner that answers from a recorded form. */
export const recordedRunner = (recorded: RecordedForm): CaseRunner => {
  const results = new Map(recorded.cases.map((test, i) => [test, recorded.results[i]!]));
  return {
    run: async cases =>
      cases.map(test => {
        const result = results.get(test);
        if (!result) throw new Error('this case was not recorded');
        return result;
      }),
  };
};
