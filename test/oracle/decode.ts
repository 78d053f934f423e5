/**
 * Compares a decoder's idea of instruction lengths with iced-x86's, on structured and random bytes.
 *
 * Structured bytes are prefixes in all orders, every opcode of the maps 0F, 0F 38 and 0F 3A, and ModRM and SIB bytes
 * that walk through their forms; random bytes find what nobody thought of. Both are bounded and seeded.
 */
import { Code, Decoder, DecoderOptions, Instruction } from 'iced-x86';
import { codeName, disassemble } from './analysis.ts';
import type { Mode } from './machine-case.ts';
import { type Random, random } from './random.ts';

/** Length in bytes, undefined when the bytes are no instruction (also when they are more than 15). */
export type LengthDecoder = (bytes: Uint8Array, mode: Mode) => number | undefined;

const INSTRUCTION_BYTES = 15;

export interface IcedLength {
  readonly length: number | undefined;
  readonly code: string;
}

/** One decoder for each mode, fed in place of being made anew: making one costs more than decoding. */
export function icedLengthDecoder(mode: Mode, options: number = DecoderOptions.None) {
  const instruction = new Instruction();
  return (bytes: Uint8Array): IcedLength => {
    const decoder = new Decoder(mode, bytes, options);
    decoder.ip = 0x1000n;
    decoder.decodeOut(instruction);
    decoder.free();
    const { code } = instruction;
    return { length: code === Code.INVALID ? undefined : instruction.length, code: codeName(code) };
  };
}

const PREFIXES = [0x66, 0x67, 0xf2, 0xf3, 0xf0, 0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65];

function tail(draw: Random, bytes: number[]): Uint8Array {
  while (bytes.length < INSTRUCTION_BYTES)
    bytes.push(draw.oneIn(3) ? draw.pick([0, 0x7f, 0x80, 0xff]) : draw.below(256));
  return Uint8Array.from(bytes.slice(0, INSTRUCTION_BYTES));
}

const opcodeBytes = (map: number, byte: number): number[] =>
  [[], [0x0f], [0x0f, 0x38], [0x0f, 0x3a]][map]!.concat(byte);

/** Prefixes, an opcode, operands; or anything. */
export function randomInstructionBytes(draw: Random, mode: Mode): Uint8Array {
  const bytes: number[] = [];
  if (draw.oneIn(8)) return tail(draw, bytes);
  for (let n = draw.below(draw.oneIn(10) ? 15 : 4); n > 0; n--) bytes.push(draw.pick(PREFIXES));
  if (mode === 64 && draw.oneIn(2)) bytes.push(0x40 + draw.below(16));
  if (draw.oneIn(12)) bytes.push(draw.pick(PREFIXES));
  bytes.push(...opcodeBytes(draw.pick([0, 0, 1, 1, 2, 3]), draw.below(256)), draw.below(256));
  return tail(draw, bytes);
}

/** A VEX prefix, seldom with another one in front, and an opcode of its maps. */
export function randomVexBytes(draw: Random): Uint8Array {
  const bytes: number[] = [];
  if (draw.oneIn(6)) bytes.push(draw.pick(PREFIXES));
  // Few instructions leave vvvv unused: ones, so that not most are invalid for it.
  const last = draw.below(256) | (draw.oneIn(2) ? 0x78 : 0);
  if (draw.oneIn(3)) bytes.push(0xc5, last | (draw.oneIn(4) ? 0 : 0xc0));
  else bytes.push(0xc4, (draw.below(8) << 5) | (draw.oneIn(12) ? draw.below(32) : 1 + draw.below(3)), last);
  bytes.push(draw.below(256), draw.below(256));
  return tail(draw, bytes);
}

/** Endless byte strings for a mode: first every opcode, then random ones. */
export function* decoderInputs(mode: Mode, seed: number): Generator<Uint8Array> {
  const draw = random(seed);
  // Every opcode, plain and with each single prefix, with a ModRM byte of each mod and a random rest.
  const prefixes = [
    [],
    [0x66],
    [0x67],
    [0xf2],
    [0xf3],
    [0xf0],
    ...(mode === 64 ? [[0x40], [0x48], [0x4f]] : []),
  ];
  for (let map = 0; map < 4; map++)
    for (let byte = 0; byte < 256; byte++)
      for (const prefix of prefixes)
        for (let mod = 0; mod < 4; mod++)
          yield tail(draw, [...prefix, ...opcodeBytes(map, byte), (mod << 6) | draw.below(64)]);
  // Every ModRM and SIB byte of one opcode with a large immediate.
  for (let modrm = 0; modrm < 256; modrm++)
    for (let sib = 0; sib < 256; sib += 3) yield tail(draw, [0x81, modrm, sib]);
  for (;;) {
    yield randomInstructionBytes(draw, mode);
    yield randomVexBytes(draw);
  }
}

export interface DecodeDifference {
  readonly mode: Mode;
  readonly bytes: Uint8Array;
  readonly icedCode: string;
  readonly expected: number | undefined;
  readonly actual: number | undefined;
}

export interface DecodeOptions {
  readonly mode: Mode;
  readonly count: number;
  readonly seed?: number;
  /** Instructions to leave out by iced's code name: extensions that the decoder rightly does not know. */
  readonly ignore?: (icedCode: string) => boolean;
  /** Stop after this many differences. */
  readonly limit?: number;
}

/** The opcode behind the prefixes, to tell invalid encodings apart. */
function opcodeOf(bytes: Uint8Array, mode: Mode): string {
  let at = 0;
  while (PREFIXES.includes(bytes[at]!) || (mode === 64 && (bytes[at]! & 0xf0) === 0x40)) at++;
  const length = bytes[at] !== 0x0f ? 1 : [0x38, 0x3a].includes(bytes[at + 1]!) ? 3 : 2;
  return Buffer.from(bytes.subarray(at, at + length)).toString('hex');
}

/** Differences of lengths, at most one for each iced code name or invalid opcode. */
export function compareDecoder(decoder: LengthDecoder, options: DecodeOptions): DecodeDifference[] {
  const { mode, count, seed = 1, ignore = () => false, limit = 50 } = options;
  const iced = icedLengthDecoder(mode);
  const found = new Map<string, DecodeDifference>();
  let n = 0;
  for (const bytes of decoderInputs(mode, seed)) {
    if (n++ >= count || found.size >= limit) break;
    const expected = iced(bytes);
    const actual = decoder(bytes, mode);
    if (actual === expected.length || ignore(expected.code)) continue;
    const key = `${expected.length === undefined ? opcodeOf(bytes, mode) : expected.code}/${actual === undefined}`;
    if (!found.has(key))
      found.set(key, { mode, bytes, icedCode: expected.code, expected: expected.length, actual });
  }
  return [...found.values()];
}

export const formatDecodeDifference = (difference: DecodeDifference): string => {
  const { mode, bytes, icedCode, expected, actual } = difference;
  const hex = Buffer.from(bytes)
    .toString('hex')
    .replace(/..(?=.)/g, '$& ');
  const text = expected === undefined ? '' : disassemble(bytes, mode, 0x1000n, 1);
  return `${mode}-bit  ${hex}  ${icedCode} ${text}: expected ${expected ?? 'invalid'}, got ${actual ?? 'invalid'}`;
};
