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
/**
 * Products and quotients of these are normal, sums are zero or normal. One range for all operations, narrower than sums
 * would need: a number that goes through several of them is looked at once.
 */
export function moderate(type: FloatType): Range {
  const low = (BIAS[type] + 1) / 2 + 1;
  return { low, high: low + BIAS[type] - 2 };
}
/** Double precision numbers that are normal in single precision, rounded or not. */
export const SINGLES: Range = { low: BIAS.f64 - BIAS.f32 + 1, high: BIAS.f64 + BIAS.f32 - 1 };

// ---- MXCSR ----

const PE = 1 << 5;
const PM = 1 << 12;
const RC = 3 << 13;
/** What a value of MXCSR says about inexact results: 0 when they are reported already and masked, and rounded to nearest. */
export const precisionOf = (mxcsr: Value): Value => w.xor(w.and(mxcsr, w.i32(RC | PE | PM)), w.i32(PE | PM));
/** What `precisionOf` gives when it differs from 0 only in that no result has been inexact yet. */
export const NOT_REPORTED = PE;
/** Inexact results are not reported yet, or not masked. */
export const reportsInexact = (x: Emitter): Value => w.and(x.precisionState(), w.i32(PE | PM));
/** The same, or results are not rounded to nearest. */
export const roundsOtherwise = (x: Emitter): Value => x.precisionState();
/** Results are not rounded to nearest. */
export const roundsDirected = (x: Emitter): Value => w.and(x.precisionState(), w.i32(RC));

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
/** The lowest number of a vector has its sign bit set. */
export const isSigned = (type: FloatType, vector: Value): Value =>
  w.ltS(w.extractLane('i32x4', vector, EXPONENT_LANE[type]), w.i32(0));

// ---- all lanes ----

export const NO_BITS = w.v128(new Array<number>(16).fill(0));

/**
 * Exponent words moved so that a range begins at the least number, since there are signed comparisons only; and the last
 * number of the range then. Of doubles only the upper words count.
 */
const moved = (x: Emitter, type: FloatType, { low }: Range, vector: Value): Value =>
  w.simd(
    'i32x4.add',
    w.simd('i32x4.shl', vector, w.i32(1)),
    x.lanes(2 ** 31 - low * 2 ** EXPONENT_SHIFT[type]),
  );
const last = (x: Emitter, type: FloatType, { low, high }: Range): Value =>
  x.lanes(2 ** 31 + (high - low + 1) * 2 ** EXPONENT_SHIFT[type] - 1);

/** Ones in the sign bits (at least) of the lanes where some vector is not in the range. Zeros never are. */
const lanesOutside = (x: Emitter, type: FloatType, range: Range, ...vectors: Value[]): Value => {
  const all = vectors.map(vector => moved(x, type, range, vector));
  const most = all.reduce((a, b) => w.simd('i32x4.max_s', a, b));
  return w.simd('i32x4.gt_s', most, last(x, type, range));
};
const signs = (type: FloatType, vector: Value): Value =>
  w.simd(type === 'f64' ? 'i64x2.bitmask' : 'i32x4.bitmask', vector);
/** Some number of the vectors is not in the range. */
export const isAnyOutside = (x: Emitter, type: FloatType, range: Range, ...vectors: Value[]): Value =>
  signs(type, lanesOutside(x, type, range, ...vectors));
/** Some number has its sign bit set. */
export const isAnySigned = signs;
export const lanesZero = (type: FloatType, vector: Value): Value =>
  w.simd(`${lanesOf(type)}.eq`, vector, NO_BITS);
/** In the range, or zero. */
export const lanesInsideOrZero = (x: Emitter, type: FloatType, range: Range, vector: Value): Value =>
  w.simd('v128.or', w.simd('v128.not', lanesOutside(x, type, range, vector)), lanesZero(type, vector));
/** The lowest `count` lanes have not all their sign bits set. */
export function isAnyClear(type: FloatType, mask: Value, count?: number): Value {
  const lanes = type === 'f64' ? 2 : 4;
  const bits = signs(type, mask);
  const wanted = w.i32((1 << (count ?? lanes)) - 1);
  return w.ne(count === undefined || count === lanes ? bits : w.and(bits, wanted), wanted);
}

/** Some significand has bits in its lower half: two numbers without any have an exact product. */
export const hasLowBits = (type: FloatType, ...vectors: Value[]): Value => {
  const all = vectors.reduce((a, b) => w.simd('v128.or', a, b));
  return w.simd(
    'v128.any_true',
    type === 'f64' ? w.simd('i64x2.shl', all, w.i32(64 - 27)) : w.simd('i32x4.shl', all, w.i32(32 - 12)),
  );
};
