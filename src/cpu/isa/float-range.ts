/**
 * When a floating-point operation may be left to the host's arithmetic, which rounds to nearest and reports nothing:
 * conditions on MXCSR and on the operands' exponents, as few instructions as can be.
 *
 * A range is one of exponents, chosen so that no operation on numbers within it can overflow, be tiny, or involve a
 * denormal, an infinity or a NaN. What is left is rounding, which MXCSR decides about. docs/design/0008-floating-point.md
 * has the argument for each range.
 */

import type { Value } from '../wasm/code.ts';
import * as w from '../wasm/code.ts';
import type { Emitter } from './emitter.ts';

export type FloatType = 'f32' | 'f64';
export const lanesOf = (type: FloatType): 'f32x4' | 'f64x2' => (type === 'f64' ? 'f64x2' : 'f32x4');
export const integerOf = (type: FloatType): 'i32' | 'i64' => (type === 'f64' ? 'i64' : 'i32');

const PRECISION = { f32: 24, f64: 53 } as const;
export const BIAS = { f32: 127, f64: 1023 } as const;
/** Where the exponent begins in the number's upper 32 bits once these are moved up by one, the sign out of the way. */
const EXPONENT_SHIFT = { f32: 24, f64: 21 } as const;
/** The 32-bit lane that has the exponent of the lowest number. */
const EXPONENT_LANE = { f32: 0, f64: 1 } as const;

/** Biased exponents, both inclusive. */
export interface Range {
  readonly low: number;
  readonly high: number;
}
/** All normal numbers. */
export const normals = (type: FloatType): Range => ({ low: 1, high: 2 * BIAS[type] });
/** Sums of these are zero or normal: their last bits are normal numbers themselves, and they leave room for a carry. */
export const summands = (type: FloatType): Range => ({ low: PRECISION[type], high: 2 * BIAS[type] - 1 });
/** Products and quotients of these are normal. */
export function factors(type: FloatType): Range {
  const low = (BIAS[type] + 1) / 2 + 1;
  return { low, high: low + BIAS[type] - 2 };
}
/** Double precision numbers that are normal in single precision, rounded or not. */
export const SINGLES: Range = { low: BIAS.f64 - BIAS.f32 + 1, high: BIAS.f64 + BIAS.f32 - 1 };

// ---- MXCSR ----

const PE = 1 << 5;
const PM = 1 << 12;
const RC = 3 << 13;
const mxcsrIsNot = (x: Emitter, mask: number, value: number): Value =>
  w.ne(w.and(x.field('mxcsr'), w.i32(mask)), w.i32(value));
/** Inexact results are reported already, and masked: nothing to do for one more. */
export const reportsInexact = (x: Emitter): Value => mxcsrIsNot(x, PE | PM, PE | PM);
/** The same, or results are not rounded to nearest. */
export const roundsOtherwise = (x: Emitter): Value => mxcsrIsNot(x, RC | PE | PM, PE | PM);
/** Results are not rounded to nearest. */
export const roundsDirected = (x: Emitter): Value => mxcsrIsNot(x, RC, 0);

// ---- one number ----

const exponentWord = (type: FloatType, vector: Value): Value =>
  w.shl(w.extractLane('i32x4', vector, EXPONENT_LANE[type]), w.i32(1));
/** The lowest number of a vector is not in the range. Zeros, denormals, infinities and NaNs never are. */
export function isOutside(type: FloatType, { low, high }: Range, vector: Value): Value {
  const shift = EXPONENT_SHIFT[type];
  const span = (high - low + 1) * 2 ** shift;
  return w.geU(w.sub(exponentWord(type, vector), w.i32(low * 2 ** shift)), w.i32(span));
}
/** The magnitude is 2^exponent or more, or it is a NaN. */
export const isAtLeast = (type: FloatType, exponent: number, vector: Value): Value =>
  w.geU(exponentWord(type, vector), w.i32((BIAS[type] + exponent) * 2 ** EXPONENT_SHIFT[type]));
/** It has a sign, or is no normal number. */
export function isNotPositiveNormal(type: FloatType, vector: Value): Value {
  const shift = EXPONENT_SHIFT[type] - 1;
  const word = w.extractLane('i32x4', vector, EXPONENT_LANE[type]);
  const { low, high } = normals(type);
  return w.geU(w.sub(word, w.i32(low * 2 ** shift)), w.i32((high - low + 1) * 2 ** shift));
}

// ---- all lanes ----

/** A vector constant with the same 32 bits in all exponent words. */
const words = (type: FloatType, word: number): Value => {
  const low = type === 'f64' ? 0 : word;
  return w.v128([...new Uint8Array(Uint32Array.of(low, word, low, word).buffer)]);
};
export const NO_BITS = w.v128(new Array<number>(16).fill(0));

/** Ones in the sign bits (at least) of the lanes that are in the range. */
export function lanesInside(type: FloatType, { low, high }: Range, vector: Value): Value {
  const shift = EXPONENT_SHIFT[type];
  // There are signed comparisons only: the range is moved to begin at the least number.
  const moved = w.simd(
    'i32x4.add',
    w.simd('i32x4.shl', vector, w.i32(1)),
    words(type, 2 ** 31 - low * 2 ** shift),
  );
  return w.simd('i32x4.gt_s', words(type, 2 ** 31 + (high - low + 1) * 2 ** shift), moved);
}
export const lanesZero = (type: FloatType, vector: Value): Value =>
  w.simd(`${lanesOf(type)}.eq`, vector, NO_BITS);
/** In the range, or zero. */
export const lanesInsideOrZero = (type: FloatType, range: Range, vector: Value): Value =>
  w.simd('v128.or', lanesInside(type, range, vector), lanesZero(type, vector));
/** Positive and normal, or zero. */
export function lanesPositive(type: FloatType, vector: Value): Value {
  const shift = EXPONENT_SHIFT[type] - 1;
  const { low, high } = normals(type);
  const above = w.simd('i32x4.gt_s', vector, words(type, low * 2 ** shift - 1));
  const below = w.simd('i32x4.gt_s', words(type, (high + 1) * 2 ** shift), vector);
  return w.simd('v128.or', w.simd('v128.and', above, below), lanesZero(type, vector));
}
/** The lowest `count` lanes have not all their sign bits set. */
export function isAnyClear(type: FloatType, mask: Value, count?: number): Value {
  const lanes = type === 'f64' ? 2 : 4;
  const bits = w.simd(type === 'f64' ? 'i64x2.bitmask' : 'i32x4.bitmask', mask);
  const wanted = w.i32((1 << (count ?? lanes)) - 1);
  return w.ne(count === undefined || count === lanes ? bits : w.and(bits, wanted), wanted);
}
