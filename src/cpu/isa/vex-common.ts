/**
 * What VEX entries share (SDM vol. 1, chapter 14): an operation on 16 bytes that an SSE instruction has as well is applied to each
 * 16-byte part, with the first source in an operand of its own; the rest of the destination becomes zero.
 */

import type { Value } from '../wasm/code.ts';
import * as w from '../wasm/code.ts';
import type { Options, Semantics } from './definition.ts';
import type { Emitter, Operand } from './emitter.ts';

/** What a two-operand vector instruction computes; `x` for intermediate values. */
export type Binary = (a: Value, b: Value, x: Emitter) => Value;
export type Unary = (a: Value, x: Emitter) => Value;
/** The same with an immediate operand. */
export type BinaryImmediate = (a: Value, b: Value, immediate: Value, x: Emitter) => Value;
export type UnaryImmediate = (a: Value, immediate: Value, x: Emitter) => Value;

export const AVX: Options = { unit: 'avx' };

/**
 * The VEX encoding that goes with an SSE one: "66 0F 38 00 /r" gives "VEX.66.0F38 00 /r".
 * @param fields more fields: a length, W
 */
export function vexEncoding(encoding: string, length = '', w = ''): string {
  const [, prefix, escape38, opcode] = /^(NP|66|F3|F2) 0F( 38| 3A)?( [0-9A-F]{2} .*)$/.exec(encoding) ?? [];
  const fields = ['VEX', length, prefix === 'NP' ? '' : prefix, `0F${(escape38 ?? '').trim()}`, w];
  return `${fields.filter(field => field !== '').join('.')}${opcode}`;
}

/** The part at `i` of operands of which the second may be shorter. */
const part = (parts: readonly Value[], i: number): Value => parts[i] as Value;

export const vexMove: Semantics = (_x, destination, source) =>
  (destination as Operand).writeParts((source as Operand).readParts());
export const vexUnary =
  (compute: Unary): Semantics =>
  (x, destination, source) => {
    const parts = (source as Operand).readParts();
    (destination as Operand).writeParts(parts.map(a => x.let(compute(a, x))));
  };
export const vexBinary =
  (compute: Binary): Semantics =>
  (x, destination, first, second) => {
    const b = (second as Operand).readParts();
    const a = (first as Operand).readParts();
    (destination as Operand).writeParts(a.map((value, i) => x.let(compute(value, part(b, i), x))));
  };

/** The immediate's bits for part `i`, when each part takes `bits` of them. */
const advanced = (immediate: Value, i: number, bits: number): Value => w.shrU(immediate, w.i32(i * bits));
/** @param bits how far the immediate moves on from part to part */
export const vexUnaryImmediate =
  (compute: UnaryImmediate, bits = 0): Semantics =>
  (x, destination, source, immediate) => {
    const parts = (source as Operand).readParts();
    const control = (immediate as Operand).read();
    (destination as Operand).writeParts(
      parts.map((a, i) => x.let(compute(a, x.let(advanced(control, i, bits)), x))),
    );
  };
export const vexBinaryImmediate =
  (compute: BinaryImmediate, bits = 0): Semantics =>
  (x, destination, first, second, immediate) => {
    const b = (second as Operand).readParts();
    const a = (first as Operand).readParts();
    const control = (immediate as Operand).read();
    (destination as Operand).writeParts(
      a.map((value, i) => x.let(compute(value, part(b, i), x.let(advanced(control, i, bits)), x))),
    );
  };
