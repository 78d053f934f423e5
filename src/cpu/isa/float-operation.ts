/**
 * Floating-point operations of SSE and AVX on values: what they compute, apart from where operands come from and
 * results go. Each tries the host's arithmetic where that is known to give the same bits and to report nothing new
 * (float-range.ts), and calls the runtime otherwise; an unmasked exception leaves the instruction.
 *
 * Scalar operations take vectors, look at the lowest lane alone and give a scalar of the type.
 */

import { SIMD_UNMASKED } from '../vcpu/layout.ts';
import type { Label, Type, Value } from '../wasm/code.ts';
import * as w from '../wasm/code.ts';
import type { Emitter } from './emitter.ts';
import {
  type FloatType,
  hasLowBits,
  integerOf,
  isAnyClear,
  isAnyOutside,
  isAnySigned,
  isAtLeast,
  isOutside,
  isSigned,
  lanesInsideOrZero,
  lanesOf,
  moderate,
  NO_BITS,
  NOT_REPORTED,
  normals,
  reportsInexact,
  roundsDirected,
  roundsOtherwise,
  SINGLES,
} from './float-range.ts';
import { checkSimd, constant, pick, raiseSimd, ZERO } from './sse-common.ts';

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
  if (count === 1 || !x.mayRaiseSimd) return Array.from({ length: count }, (_, part) => x.let(compute(part)));
  const before = x.let(x.field('mxcsr'));
  const raised = x.local('i32');
  x.set(raised, w.i32(0));
  collected = raised;
  const results = Array.from({ length: count }, (_, part) => x.let(compute(part)));
  collected = undefined;
  x.if(
    w.and(raised, w.i32(SIMD_UNMASKED)),
    () => {
      const early = x.let(w.and(raised, w.i32(EARLY)));
      const isEarly = w.and(early, w.not(w.shrU(before, w.i32(7))));
      x.setField('mxcsr', w.or(before, w.select(isEarly, early, w.and(raised, w.i32(EXCEPTIONS)))));
      raiseSimd(x);
    },
    undefined,
    false,
  );
  return results;
}
/** A vector function of the runtime. */
export function called(x: Emitter, name: string, ...operands: Value[]): Value {
  const result = x.runtime(name, ...operands);
  settle(x);
  return result;
}

/** When the host's arithmetic does not do. */
type Refusal = (slowly: Label) => void;
/** Any of the conditions. */
const when =
  (x: Emitter, ...conditions: readonly Value[]): Refusal =>
  slowly => {
    for (const condition of conditions) x.code.brIf(slowly, condition, false);
  };

/** `fast` unless it is refused, then `slow`, which calls the runtime. */
function guarded(x: Emitter, type: Type, refusal: Refusal, fast: () => Value, slow: () => Value): Value {
  const result = x.local(type);
  x.code.block(done => {
    x.code.block(slowly => {
      refusal(slowly);
      x.set(result, fast());
      x.code.br(done);
    });
    const value = slow();
    settle(x);
    x.set(result, value);
  });
  return result;
}

/**
 * The same for operations that round. Programs that have not rounded anything yet have their results looked at: while
 * these are exact the host's arithmetic does for them too.
 * @param isInexact a result may be inexact (what is exact may be taken for it)
 */
function rounding(
  x: Emitter,
  type: Type,
  refusal: Refusal,
  fast: () => Value,
  slow: () => Value,
  isInexact: (result: Value) => Value,
): Value {
  const result = x.local(type);
  x.code.block(done => {
    x.code.block(slowly => {
      refusal(slowly);
      x.set(result, fast());
      x.code.brIf(done, w.eqz(x.precisionState()), true);
      x.code.brIf(slowly, w.ne(x.precisionState(), w.i32(NOT_REPORTED)));
      x.code.brIf(done, w.eqz(isInexact(result)), true);
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

/** Name of the runtime's function for a scalar or packed operation. */
const scalarName = (operation: string, type: FloatType): string =>
  `${operation}${type === 'f64' ? 'sd' : 'ss'}`;
const packedName = (operation: string, type: FloatType): string =>
  `${operation}${type === 'f64' ? 'pd' : 'ps'}`;

export type Arithmetic = 'add' | 'sub' | 'mul' | 'div';

/** Numbers out of the range for arithmetic; zeros pass unless they divide. */
const refuseScalar =
  (x: Emitter, type: FloatType, ...operands: { value: Value; divides?: boolean }[]): Refusal =>
  slowly => {
    for (const { value, divides } of operands) {
      const outside = isOutside(type, moderate(type), value);
      if (divides) x.code.brIf(slowly, outside, false);
      else x.if(outside, () => x.code.brIf(slowly, isNotZero(type, value)), undefined, false);
    }
  };
const isNotZero = (type: FloatType, value: Value): Value =>
  w.float(`${type}.ne`, lowest(type, value), fromBits(type, w.integer(integerOf(type), 0)));

/** The rounded result of an operation on such numbers is not the true one, or that is not easy to tell. */
function isScalarInexact(operation: Arithmetic, type: FloatType, a: Value, b: Value, r: Value): Value {
  const of = (name: string, p: Value, q: Value) => w.float(`${type}.${name}`, p, q);
  const [x, y] = [lowest(type, a), lowest(type, b)];
  // Of a sum without the larger summand nothing is lost: it is the smaller one when the sum is exact.
  if (operation === 'add') return w.or(of('ne', of('sub', r, x), y), of('ne', of('sub', r, y), x));
  if (operation === 'sub') return w.or(of('ne', of('sub', x, r), y), of('ne', of('add', r, y), x));
  const low = (...values: Value[]) =>
    w.and(
      values.map(value => w.extractLane('i32x4', value, 0)).reduce(w.or),
      w.i32(type === 'f64' ? 0x07ffffff : 0x0fff),
    );
  if (operation === 'mul') return low(a, b);
  return w.or(of('ne', of('mul', r, y), x), low(withLowest(type, NO_BITS, r), b));
}

export const scalarArithmetic = (
  x: Emitter,
  operation: Arithmetic,
  type: FloatType,
  a: Value,
  b: Value,
): Value =>
  rounding(
    x,
    type,
    refuseScalar(x, type, { value: a }, { value: b, divides: operation === 'div' }),
    () => w.float(`${type}.${operation}`, lowest(type, a), lowest(type, b)),
    () => fromBits(type, x.runtime(scalarName(operation, type), lowestBits(type, a), lowestBits(type, b))),
    result => isScalarInexact(operation, type, a, b, result),
  );

export const scalarRoot = (x: Emitter, type: FloatType, a: Value): Value =>
  guarded(
    x,
    type,
    when(x, roundsOtherwise(x), isOutside(type, moderate(type), a), isSigned(type, a)),
    () => w.float(`${type}.sqrt`, lowest(type, a)),
    () => fromBits(type, x.runtime(scalarName('sqrt', type), lowestBits(type, a))),
  );

/** What does not compare without exceptions: neither zero nor normal. Most numbers have gone through arithmetic before. */
const refuseUnordinary =
  (x: Emitter, type: FloatType, ...operands: Value[]): Refusal =>
  slowly => {
    for (const value of operands) {
      const ordinary = lanesInsideOrZero(x, type, normals(type), value);
      x.if(
        isOutside(type, moderate(type), value),
        () => x.code.brIf(slowly, isAnyClear(type, ordinary, 1), false),
        undefined,
        false,
      );
    }
  };
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
    refuseUnordinary(x, type, a, b),
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
    refuseUnordinary(x, type, a, b),
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
      refuseUnordinary(x, type, a, b)(slowly);
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
    when(x, truncates ? reportsInexact(x) : roundsOtherwise(x), isAtLeast(type, limit, a)),
    () => w.float(`${integer}.trunc_sat_${type}_s`, number),
    () => x.runtime(name, lowestBits(type, a)),
  );
}
export function fromInteger(x: Emitter, type: FloatType, value: Value): Value {
  const convert = () => w.float(`${type}.convert_${value.type}_s`, value);
  if (type === 'f64' && value.type === 'i32') return x.let(convert());
  const name = `cvtsi${value.type === 'i64' ? 64 : 32}${type === 'f64' ? 'sd' : 'ss'}`;
  return guarded(x, type, when(x, roundsOtherwise(x)), convert, () => fromBits(type, x.runtime(name, value)));
}
export const singleToDouble = (x: Emitter, a: Value): Value =>
  guarded(
    x,
    'f64',
    when(x, isAnyClear('f32', lanesInsideOrZero(x, 'f32', normals('f32'), a), 1)),
    () => w.float('f64.promote_f32', lowest('f32', a)),
    () => fromBits('f64', x.runtime('cvtss2sd', lowestBits('f32', a))),
  );
export const doubleToSingle = (x: Emitter, a: Value): Value =>
  guarded(
    x,
    'f32',
    when(x, roundsOtherwise(x), isOutside('f64', SINGLES, a)),
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
  const ordinary = isAnyClear(type, lanesInsideOrZero(x, type, normals(type), a), 1);
  if (known)
    return guarded(
      x,
      type,
      when(x, ...known.conditions, ordinary),
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
  const ordinary = isAnyClear(type, lanesInsideOrZero(x, type, normals(type), a));
  if (known)
    return guarded(
      x,
      'v128',
      when(x, ...known.conditions, ordinary),
      () => w.simd(`${lanesOf(type)}.${known.operator}`, a),
      slow,
    );
  const result = slow();
  settle(x);
  return result;
}

// ---- vectors ----

const both = (a: Value, b: Value): Value => w.simd('v128.and', a, b);

/** As `refuseScalar`, with zeros in some lanes. */
const refusePacked =
  (x: Emitter, type: FloatType, ...operands: { value: Value; divides?: boolean }[]): Refusal =>
  slowly => {
    const range = moderate(type);
    const outside = isAnyOutside(x, type, range, ...operands.map(({ value }) => value));
    const zeros = () => {
      for (const { value, divides } of operands) {
        const refused = divides
          ? isAnyOutside(x, type, range, value)
          : isAnyClear(type, lanesInsideOrZero(x, type, range, value));
        x.code.brIf(slowly, refused, false);
      }
    };
    x.if(outside, zeros, undefined, false);
  };

/** As `isScalarInexact`, for some lane. */
function isPackedInexact(operation: Arithmetic, type: FloatType, a: Value, b: Value, r: Value): Value {
  const of = (name: string, p: Value, q: Value) => w.simd(`${lanesOf(type)}.${name}`, p, q);
  const some = (...masks: Value[]) =>
    w.simd(
      'v128.any_true',
      masks.reduce((p, q) => w.simd('v128.or', p, q)),
    );
  if (operation === 'add') return some(of('ne', of('sub', r, a), b), of('ne', of('sub', r, b), a));
  if (operation === 'sub') return some(of('ne', of('sub', a, r), b), of('ne', of('add', r, b), a));
  if (operation === 'mul') return hasLowBits(type, a, b);
  return w.or(some(of('ne', of('mul', r, b), a)), hasLowBits(type, r, b));
}

export function packedArithmetic(
  x: Emitter,
  operation: Arithmetic,
  type: FloatType,
  a: Value,
  b: Value,
): Value {
  return rounding(
    x,
    'v128',
    refusePacked(x, type, { value: a }, { value: b, divides: operation === 'div' }),
    () => w.simd(`${lanesOf(type)}.${operation}`, a, b),
    () => x.runtime(packedName(operation, type), a, b),
    result => isPackedInexact(operation, type, a, b, result),
  );
}
export const packedRoot = (x: Emitter, type: FloatType, a: Value): Value =>
  guarded(
    x,
    'v128',
    when(x, roundsOtherwise(x), isAnyOutside(x, type, moderate(type), a), isAnySigned(type, a)),
    () => w.simd(`${lanesOf(type)}.sqrt`, a),
    () => x.runtime(packedName('sqrt', type), a),
  );

const refuseUnordinaryLanes =
  (x: Emitter, type: FloatType, a: Value, b: Value): Refusal =>
  slowly => {
    const ordinary = (value: Value) => lanesInsideOrZero(x, type, normals(type), value);
    x.if(
      isAnyOutside(x, type, moderate(type), a, b),
      () => x.code.brIf(slowly, isAnyClear(type, both(ordinary(a), ordinary(b))), false),
      undefined,
      false,
    );
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
    refuseUnordinaryLanes(x, type, a, b),
    () => lesser(operation, type, a, b),
    () => x.runtime(packedName(operation, type), a, b),
  );
export const packedCompare = (x: Emitter, type: FloatType, a: Value, b: Value, predicate: Value): Value =>
  guarded(
    x,
    'v128',
    refuseUnordinaryLanes(x, type, a, b),
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
  return guarded(
    x,
    'v128',
    slowly => {
      when(x, roundsOtherwise(x))(slowly);
      refusePacked(x, type, { value: a }, { value: b })(slowly);
    },
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
    when(x, roundingCondition(x, truncates), isAnyClear('f32', allBelow('f32', 2 ** 31, a))),
    () => w.simd('i32x4.trunc_sat_f32x4_s', truncates ? a : w.simd('f32x4.nearest', a)),
    () => x.runtime(truncates ? 'cvttps2dq' : 'cvtps2dq', a),
  );
/** Two integers, and zeros above. */
export const doublesToIntegers = (x: Emitter, truncates: boolean, a: Value): Value =>
  guarded(
    x,
    'v128',
    // Nothing below this limit rounds up to 2^31.
    when(x, roundingCondition(x, truncates), isAnyClear('f64', allBelow('f64', 2 ** 31 - 1, a))),
    () => w.simd('i32x4.trunc_sat_f64x2_s_zero', truncates ? a : w.simd('f64x2.nearest', a)),
    () => x.runtime(truncates ? 'cvttpd2dq' : 'cvtpd2dq', a),
  );
export const integersToSingles = (x: Emitter, a: Value): Value =>
  guarded(
    x,
    'v128',
    when(x, roundsOtherwise(x)),
    () => w.simd('f32x4.convert_i32x4_s', a),
    () => x.runtime('cvtdq2ps', a),
  );
/** Exact, whatever they are. */
export const integersToDoubles = (a: Value): Value => w.simd('f64x2.convert_low_i32x4_s', a);
export const doublesToSingles = (x: Emitter, a: Value): Value =>
  guarded(
    x,
    'v128',
    when(x, roundsOtherwise(x), isAnyClear('f64', lanesInsideOrZero(x, 'f64', SINGLES, a))),
    () => w.simd('f32x4.demote_f64x2_zero', a),
    () => x.runtime('cvtpd2ps', a),
  );
export const singlesToDoubles = (x: Emitter, a: Value): Value =>
  guarded(
    x,
    'v128',
    when(x, isAnyClear('f32', lanesInsideOrZero(x, 'f32', normals('f32'), a), 2)),
    () => w.simd('f64x2.promote_low_f32x4', a),
    () => x.runtime('cvtps2pd', a),
  );

/**
 * DPPS, DPPD: products that the upper bits of the immediate choose, added by pairs, in the lanes that the lower ones choose. Each step
 * reports the exceptions of all parts before the next one begins. Zeros are where there is no product: they report nothing.
 */
export function dotProducts(
  x: Emitter,
  type: FloatType,
  a: readonly Value[],
  b: readonly Value[],
  immediate: Value,
): Value[] {
  const size = type === 'f64' ? 8 : 4;
  const bits = x.let(w.simd('i32x4.splat', immediate));
  /** Ones in the lanes whose bits are set, that of the lowest being `first`. */
  const chosen = (first: number): Value => {
    const places = constant(i => (i % 4 === 0 ? first << Math.floor(i / size) : 0));
    return x.let(w.simd('i32x4.eq', both(bits, places), places));
  };
  const factors = chosen(0x10);
  const product = (i: number) =>
    packedArithmetic(
      x,
      'mul',
      type,
      x.let(both(a[i] as Value, factors)),
      x.let(both(b[i] as Value, factors)),
    );
  let sums = inParts(x, a.length, product);
  for (let lanes = 16 / size; lanes > 1; lanes /= 2) {
    const addends = sums;
    sums = inParts(x, a.length, i => horizontal(x, 'add', type, addends[i] as Value, ZERO));
  }
  const targets = chosen(1);
  return sums.map(sum =>
    both(
      pick(sum, sum, i => i % size),
      targets,
    ),
  );
}

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
