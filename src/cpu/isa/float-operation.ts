/**
 * Floating-point operations of SSE and AVX on values: what they compute, apart from where operands come from and
 * results go. Each tries the host's arithmetic where that is known to give the same bits and to report nothing new
 * (float-range.ts), and calls the runtime otherwise; an unmasked exception leaves the instruction.
 *
 * Scalar operations take vectors, look at the lowest lane alone and give a scalar of the type.
 */

import { SIMD_UNMASKED } from '../vcpu/layout.ts';
import type { Type, Value } from '../wasm/code.ts';
import * as w from '../wasm/code.ts';
import type { Emitter } from './emitter.ts';
import {
  type FloatType,
  factors,
  integerOf,
  isAnyClear,
  isAtLeast,
  isNotPositiveNormal,
  isOutside,
  lanesInside,
  lanesInsideOrZero,
  lanesOf,
  lanesPositive,
  normals,
  reportsInexact,
  roundsDirected,
  roundsOtherwise,
  SINGLES,
  summands,
} from './float-range.ts';
import { checkSimd, pick, raiseSimd } from './sse-common.ts';

// ---- exceptions ----

const EXCEPTIONS = 0x3f;
/** Invalid, denormal, division by zero: they come before the computation. */
const EARLY = 7;

/** While the code for the parts of one instruction is made: where exceptions are collected. */
let collected: w.Local | undefined;
/** What the runtime function just called raised: leave, or note it until all parts are done. */
function settle(x: Emitter): void {
  if (collected) x.set(collected, w.or(collected, x.field('simdFault')));
  else checkSimd(x);
}
/**
 * The 16-byte parts of a wider operation. Exceptions of all parts are one instruction's: when one is unmasked that comes before
 * the computation, none that come after it are reported, whichever part they are from.
 */
export function inParts(x: Emitter, count: number, compute: (part: number) => Value): Value[] {
  if (count === 1) return [x.let(compute(0))];
  const before = x.let(x.field('mxcsr'));
  const raised = x.local('i32');
  x.set(raised, w.i32(0));
  collected = raised;
  const results = Array.from({ length: count }, (_, part) => x.let(compute(part)));
  collected = undefined;
  x.if(w.and(raised, w.i32(SIMD_UNMASKED)), () => {
    const early = x.let(w.and(raised, w.i32(EARLY)));
    const isEarly = w.and(early, w.not(w.shrU(before, w.i32(7))));
    x.setField('mxcsr', w.or(before, w.select(isEarly, early, w.and(raised, w.i32(EXCEPTIONS)))));
    raiseSimd(x);
  });
  return results;
}
/** A vector function of the runtime. */
export function called(x: Emitter, name: string, ...operands: Value[]): Value {
  const result = x.runtime(name, ...operands);
  settle(x);
  return result;
}

/** `fast` unless one of the conditions holds, then `slow`, which calls the runtime. */
function guarded(
  x: Emitter,
  type: Type,
  conditions: readonly Value[],
  fast: () => Value,
  slow: () => Value,
): Value {
  const result = x.local(type);
  x.code.block(done => {
    x.code.block(slowly => {
      for (const condition of conditions) x.code.brIf(slowly, condition);
      x.set(result, fast());
      x.code.br(done);
    });
    const value = slow();
    settle(x);
    x.set(result, value);
  });
  return result;
}

// ---- scalars ----

/** The lowest number of a vector. */
export const lowest = (type: FloatType, vector: Value): Value => w.extractLane(lanesOf(type), vector, 0);
/** A vector with its lowest number replaced. */
export const withLowest = (type: FloatType, vector: Value, value: Value): Value =>
  w.replaceLane(lanesOf(type), vector, 0, value);
const lowestBits = (type: FloatType, vector: Value): Value =>
  w.extractLane(type === 'f64' ? 'i64x2' : 'i32x4', vector, 0);
const fromBits = (type: FloatType, bits: Value): Value =>
  w.float(`${type}.reinterpret_${integerOf(type)}`, bits);
/** The lowest numbers of two vectors in one, as often as there is room. */
const bothLowest = (type: FloatType, a: Value, b: Value): Value =>
  type === 'f64' ? pick(a, b, i => (i < 8 ? i : i + 8)) : pick(a, b, i => (i & 4 ? 16 : 0) + (i & 3));

/** Name of the runtime's function for a scalar or packed operation. */
const scalarName = (operation: string, type: FloatType): string =>
  `${operation}${type === 'f64' ? 'sd' : 'ss'}`;
const packedName = (operation: string, type: FloatType): string =>
  `${operation}${type === 'f64' ? 'pd' : 'ps'}`;

export type Arithmetic = 'add' | 'sub' | 'mul' | 'div';
const rangeOf = (operation: Arithmetic, type: FloatType) =>
  operation === 'add' || operation === 'sub' ? summands(type) : factors(type);

export function scalarArithmetic(
  x: Emitter,
  operation: Arithmetic,
  type: FloatType,
  a: Value,
  b: Value,
): Value {
  const range = rangeOf(operation, type);
  return guarded(
    x,
    type,
    [roundsOtherwise(x), isOutside(type, range, a), isOutside(type, range, b)],
    () => w.float(`${type}.${operation}`, lowest(type, a), lowest(type, b)),
    () => fromBits(type, x.runtime(scalarName(operation, type), lowestBits(type, a), lowestBits(type, b))),
  );
}

export const scalarRoot = (x: Emitter, type: FloatType, a: Value): Value =>
  guarded(
    x,
    type,
    [roundsOtherwise(x), isNotPositiveNormal(type, a)],
    () => w.float(`${type}.sqrt`, lowest(type, a)),
    () => fromBits(type, x.runtime(scalarName('sqrt', type), lowestBits(type, a))),
  );

/** What compares without exceptions, in both operands: zero or normal. */
const areOrdinary = (type: FloatType, a: Value, b: Value): Value[] => [
  isAnyClear(type, lanesInsideOrZero(type, normals(type), bothLowest(type, a, b))),
];
/** The second operand unless the first is strictly smaller (larger). */
const lesser = (operation: 'min' | 'max', type: FloatType, a: Value, b: Value): Value =>
  w.simd(`${lanesOf(type)}.p${operation}`, b, a);

export const scalarOrder = (
  x: Emitter,
  operation: 'min' | 'max',
  type: FloatType,
  a: Value,
  b: Value,
): Value =>
  guarded(
    x,
    type,
    areOrdinary(type, a, b),
    () => lowest(type, lesser(operation, type, a, b)),
    () => fromBits(type, x.runtime(scalarName(operation, type), lowestBits(type, a), lowestBits(type, b))),
  );

/**
 * A comparison of numbers that are ordered, by the low three bits of its predicate: equal, less, less or equal, none,
 * and the opposite of these. The predicates above 7 differ in what they make of NaNs.
 */
function relation(type: FloatType, predicate: Value, a: Value, b: Value): Value {
  const is = (name: string) => w.simd(`${lanesOf(type)}.${name}`, a, b);
  const low = (n: number) => w.eq(w.and(predicate, w.i32(3)), w.i32(n));
  const none = w.v128(new Array<number>(16).fill(0));
  const positive = w.select(low(0), is('eq'), w.select(low(1), is('lt'), w.select(low(2), is('le'), none)));
  const flip = w.simd('i32x4.splat', w.sub(w.i32(0), w.and(w.shrU(predicate, w.i32(2)), w.i32(1))));
  return w.simd('v128.xor', positive, flip);
}

/** CMPSS, CMPSD: a mask as a number. */
export const scalarCompare = (x: Emitter, type: FloatType, a: Value, b: Value, predicate: Value): Value =>
  guarded(
    x,
    type,
    areOrdinary(type, a, b),
    () => lowest(type, relation(type, predicate, a, b)),
    () =>
      fromBits(type, x.runtime(scalarName('cmp', type), lowestBits(type, a), lowestBits(type, b), predicate)),
  );

/** COMIS and UCOMIS: flags that the comparison leaves. */
export function scalarFlags(x: Emitter, name: 'comi' | 'ucomi', type: FloatType, a: Value, b: Value): void {
  const less = x.local('i32');
  const differs = x.local('i32');
  const unordered = x.local('i32');
  x.code.block(done => {
    x.code.block(slowly => {
      for (const condition of areOrdinary(type, a, b)) x.code.brIf(slowly, condition);
      x.set(less, w.float(`${type}.lt`, lowest(type, a), lowest(type, b)));
      x.set(differs, w.float(`${type}.ne`, lowest(type, a), lowest(type, b)));
      x.set(unordered, w.i32(0));
      x.code.br(done);
    });
    const bits = x.runtime(scalarName(name, type), lowestBits(type, a), lowestBits(type, b));
    checkSimd(x);
    x.set(less, w.and(bits, w.i32(1)));
    x.set(differs, w.and(w.shrU(bits, w.i32(1)), w.i32(1)));
    x.set(unordered, w.shrU(bits, w.i32(2)));
  });
  // PF follows from the result, which is 0 or 1: it has to be turned around for numbers that are equal.
  const turnParity = w.shl(w.eqz(w.or(differs, unordered)), w.i32(2));
  x.setFlagState({ size: 4, result: differs, aux: w.or(less, turnParity), carry: less });
}

// ---- conversions of scalars ----

/** The result is an integer of `bits` bits. */
export function toInteger(x: Emitter, type: FloatType, bits: 32 | 64, truncates: boolean, a: Value): Value {
  const integer = bits === 64 ? 'i64' : 'i32';
  const name = `cvt${truncates ? 't' : ''}${type === 'f64' ? 'sd' : 'ss'}2si${bits}`;
  // Only a double can round up to the first number that does not fit 32 bits.
  const limit = bits === 32 && type === 'f64' && !truncates ? 30 : bits - 1;
  const number = truncates ? lowest(type, a) : w.float(`${type}.nearest`, lowest(type, a));
  return guarded(
    x,
    integer,
    [truncates ? reportsInexact(x) : roundsOtherwise(x), isAtLeast(type, limit, a)],
    () => w.float(`${integer}.trunc_sat_${type}_s`, number),
    () => x.runtime(name, lowestBits(type, a)),
  );
}
export function fromInteger(x: Emitter, type: FloatType, value: Value): Value {
  const convert = () => w.float(`${type}.convert_${value.type}_s`, value);
  if (type === 'f64' && value.type === 'i32') return x.let(convert());
  const name = `cvtsi${value.type === 'i64' ? 64 : 32}${type === 'f64' ? 'sd' : 'ss'}`;
  return guarded(x, type, [roundsOtherwise(x)], convert, () => fromBits(type, x.runtime(name, value)));
}
export const singleToDouble = (x: Emitter, a: Value): Value =>
  guarded(
    x,
    'f64',
    [isAnyClear('f32', lanesInsideOrZero('f32', normals('f32'), a), 1)],
    () => w.float('f64.promote_f32', lowest('f32', a)),
    () => fromBits('f64', x.runtime('cvtss2sd', lowestBits('f32', a))),
  );
export const doubleToSingle = (x: Emitter, a: Value): Value =>
  guarded(
    x,
    'f32',
    [roundsOtherwise(x), isOutside('f64', SINGLES, a)],
    () => w.float('f32.demote_f64', lowest('f64', a)),
    () => fromBits('f32', x.runtime('cvtsd2ss', lowestBits('f64', a))),
  );

// ---- rounding to integral values ----

const ROUNDINGS = ['nearest', 'floor', 'ceil', 'trunc'];
/** The conditions and the operator of ROUND with an immediate that is known; else it is the runtime's. */
function roundingOf(x: Emitter, immediate: Value): { conditions: Value[]; operator: string } | undefined {
  if (immediate.constant === undefined) return undefined;
  const bits = Number(immediate.constant);
  const current = (bits & 4) !== 0;
  const conditions: Value[] = [];
  if ((bits & 8) === 0) conditions.push(current ? roundsOtherwise(x) : reportsInexact(x));
  else if (current) conditions.push(roundsDirected(x));
  return { conditions, operator: ROUNDINGS[current ? 0 : bits & 3] as string };
}
export function scalarRound(x: Emitter, type: FloatType, a: Value, immediate: Value): Value {
  const slow = () => fromBits(type, x.runtime(scalarName('round', type), lowestBits(type, a), immediate));
  const known = roundingOf(x, immediate);
  const ordinary = isAnyClear(type, lanesInsideOrZero(type, normals(type), a), 1);
  if (known)
    return guarded(
      x,
      type,
      [...known.conditions, ordinary],
      () => w.float(`${type}.${known.operator}`, lowest(type, a)),
      slow,
    );
  const result = x.let(slow());
  settle(x);
  return result;
}
export function packedRound(x: Emitter, type: FloatType, a: Value, immediate: Value): Value {
  const slow = () => x.runtime(packedName('round', type), a, immediate);
  const known = roundingOf(x, immediate);
  const ordinary = isAnyClear(type, lanesInsideOrZero(type, normals(type), a));
  if (known)
    return guarded(
      x,
      'v128',
      [...known.conditions, ordinary],
      () => w.simd(`${lanesOf(type)}.${known.operator}`, a),
      slow,
    );
  const result = slow();
  settle(x);
  return result;
}

// ---- vectors ----

const both = (a: Value, b: Value): Value => w.simd('v128.and', a, b);

export function packedArithmetic(
  x: Emitter,
  operation: Arithmetic,
  type: FloatType,
  a: Value,
  b: Value,
): Value {
  const range = rangeOf(operation, type);
  // Zeros add and multiply without exceptions, and may be divided, but not divide.
  const second = operation === 'div' ? lanesInside(type, range, b) : lanesInsideOrZero(type, range, b);
  return guarded(
    x,
    'v128',
    [roundsOtherwise(x), isAnyClear(type, both(lanesInsideOrZero(type, range, a), second))],
    () => w.simd(`${lanesOf(type)}.${operation}`, a, b),
    () => x.runtime(packedName(operation, type), a, b),
  );
}
export const packedRoot = (x: Emitter, type: FloatType, a: Value): Value =>
  guarded(
    x,
    'v128',
    [roundsOtherwise(x), isAnyClear(type, lanesPositive(type, a))],
    () => w.simd(`${lanesOf(type)}.sqrt`, a),
    () => x.runtime(packedName('sqrt', type), a),
  );

const areAllOrdinary = (type: FloatType, a: Value, b: Value): Value[] => {
  const range = normals(type);
  return [isAnyClear(type, both(lanesInsideOrZero(type, range, a), lanesInsideOrZero(type, range, b)))];
};
export const packedOrder = (
  x: Emitter,
  operation: 'min' | 'max',
  type: FloatType,
  a: Value,
  b: Value,
): Value =>
  guarded(
    x,
    'v128',
    areAllOrdinary(type, a, b),
    () => lesser(operation, type, a, b),
    () => x.runtime(packedName(operation, type), a, b),
  );
export const packedCompare = (x: Emitter, type: FloatType, a: Value, b: Value, predicate: Value): Value =>
  guarded(
    x,
    'v128',
    areAllOrdinary(type, a, b),
    () => relation(type, predicate, a, b),
    () => x.runtime(packedName('cmp', type), a, b, predicate),
  );

/** HADD, HSUB: neighbours of a, then neighbours of b. */
export function horizontal(x: Emitter, operation: 'add' | 'sub', type: FloatType, a: Value, b: Value): Value {
  const size = type === 'f64' ? 8 : 4;
  /** Every other lane of a and b, from lane `first` on. */
  const every = (first: number) => pick(a, b, i => (Math.floor(i / size) * 2 + first) * size + (i % size));
  return packedArithmetic(x, operation, type, x.let(every(0)), x.let(every(1)));
}
/** ADDSUB: even lanes subtract, odd lanes add. */
export function alternating(x: Emitter, type: FloatType, a: Value, b: Value): Value {
  const size = type === 'f64' ? 8 : 4;
  const lanes = lanesOf(type);
  const range = summands(type);
  const inside = both(lanesInsideOrZero(type, range, a), lanesInsideOrZero(type, range, b));
  return guarded(
    x,
    'v128',
    [roundsOtherwise(x), isAnyClear(type, inside)],
    () => pick(w.simd(`${lanes}.sub`, a, b), w.simd(`${lanes}.add`, a, b), i => (i & size ? i + 16 : i)),
    () => x.runtime(packedName('addsub', type), a, b),
  );
}

// ---- conversions of vectors ----

/** A vector whose every number is below `limit` in magnitude. */
const allBelow = (type: FloatType, limit: number, a: Value): Value => {
  const bytes = type === 'f64' ? Float64Array.of(limit, limit) : Float32Array.of(limit, limit, limit, limit);
  const lanes = lanesOf(type);
  return w.simd(`${lanes}.lt`, w.simd(`${lanes}.abs`, a), w.v128([...new Uint8Array(bytes.buffer)]));
};
const roundingCondition = (x: Emitter, truncates: boolean): Value =>
  truncates ? reportsInexact(x) : roundsOtherwise(x);

export const singlesToIntegers = (x: Emitter, truncates: boolean, a: Value): Value =>
  guarded(
    x,
    'v128',
    [roundingCondition(x, truncates), isAnyClear('f32', allBelow('f32', 2 ** 31, a))],
    () => w.simd('i32x4.trunc_sat_f32x4_s', truncates ? a : w.simd('f32x4.nearest', a)),
    () => x.runtime(truncates ? 'cvttps2dq' : 'cvtps2dq', a),
  );
/** Two integers, and zeros above. */
export const doublesToIntegers = (x: Emitter, truncates: boolean, a: Value): Value =>
  guarded(
    x,
    'v128',
    // Nothing below this limit rounds up to 2^31.
    [roundingCondition(x, truncates), isAnyClear('f64', allBelow('f64', 2 ** 31 - 1, a))],
    () => w.simd('i32x4.trunc_sat_f64x2_s_zero', truncates ? a : w.simd('f64x2.nearest', a)),
    () => x.runtime(truncates ? 'cvttpd2dq' : 'cvtpd2dq', a),
  );
export const integersToSingles = (x: Emitter, a: Value): Value =>
  guarded(
    x,
    'v128',
    [roundsOtherwise(x)],
    () => w.simd('f32x4.convert_i32x4_s', a),
    () => x.runtime('cvtdq2ps', a),
  );
/** Exact, whatever they are. */
export const integersToDoubles = (a: Value): Value => w.simd('f64x2.convert_low_i32x4_s', a);
export const doublesToSingles = (x: Emitter, a: Value): Value =>
  guarded(
    x,
    'v128',
    [roundsOtherwise(x), isAnyClear('f64', lanesInsideOrZero('f64', SINGLES, a))],
    () => w.simd('f32x4.demote_f64x2_zero', a),
    () => x.runtime('cvtpd2ps', a),
  );
export const singlesToDoubles = (x: Emitter, a: Value): Value =>
  guarded(
    x,
    'v128',
    [isAnyClear('f32', lanesInsideOrZero('f32', normals('f32'), a), 2)],
    () => w.simd('f64x2.promote_low_f32x4', a),
    () => x.runtime('cvtps2pd', a),
  );

/** DPPS, DPPD: products that the upper bits of the immediate choose, added, in the lanes that the lower ones choose. */
export const dotProduct = (x: Emitter, type: FloatType, a: Value, b: Value, immediate: Value): Value =>
  called(x, packedName('dp', type), a, b, immediate);

/** Approximations of 1/x and 1/sqrt(x): nothing is reported. */
export const approximate = (x: Emitter, name: 'rcp' | 'rsqrt', a: Value): Value => x.runtime(`${name}ps`, a);
export const approximateLowest = (x: Emitter, name: 'rcp' | 'rsqrt', a: Value): Value =>
  fromBits('f32', x.runtime(`${name}ss`, lowestBits('f32', a)));

/**
 * a · b + c, rounded once.
 * @param kind bit 0 negates the product, bit 1 the addend, bit 2 turns bit 1 around in the odd lanes
 */
export const packedFused = (x: Emitter, type: FloatType, a: Value, b: Value, c: Value, kind: number): Value =>
  called(x, packedName('fma', type), a, b, c, w.i32(kind));
export const scalarFused = (
  x: Emitter,
  type: FloatType,
  a: Value,
  b: Value,
  c: Value,
  kind: number,
): Value => {
  const operands = [a, b, c].map(value => lowestBits(type, value));
  return fromBits(type, called(x, scalarName('fma', type), ...operands, w.i32(kind)));
};
