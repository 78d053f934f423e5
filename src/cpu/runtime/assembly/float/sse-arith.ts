// biome-ignore-all lint/correctness/noPrecisionLoss: integers have 64 bits here
/**
 * Exact SSE arithmetic on bit patterns: the slow path behind every operation, and the definition of it. Each function
 * takes and returns patterns, and raises exceptions in control.ts. Sources: SDM vol. 1, 4.8.3.5 (NaN rules), 11.5.2
 * (exceptions and their masked responses), 14.5.1 (fused operations).
 */

import { IE, RC_DOWN, raise, rounding, ZE } from './control';
import {
  defaultNan,
  exponentOf,
  flushed,
  infinity,
  isInfinite,
  isNan,
  isSignalling,
  isZero,
  magnitude,
  noteDenormal,
  quietBit,
  roundPack,
  signBit,
  significandOf,
  signOf,
} from './format';
import { addWide, divWide, mulWide, sqrtWide, zExp, zHi, zLo, zSign } from './wide';

/** Result of an operation that has a NaN operand: the first one, quieted. */
export function propagate<T>(a: u64, b: u64): u64 {
  if (isSignalling<T>(a) || isSignalling<T>(b)) raise(IE);
  return (isNan<T>(a) ? a : b) | quietBit<T>();
}

function invalid<T>(): u64 {
  raise(IE);
  return defaultNan<T>();
}
/** Zero that an exact cancellation gives. */
function cancelled<T>(): u64 {
  return rounding === RC_DOWN ? signBit<T>() : 0;
}

export function softAdd<T>(a: u64, b: u64): u64 {
  if (isNan<T>(a) || isNan<T>(b)) return propagate<T>(a, b);
  a = flushed<T>(a);
  b = flushed<T>(b);
  if (isInfinite<T>(a) && isInfinite<T>(b) && a !== b) return invalid<T>();
  noteDenormal<T>(a);
  noteDenormal<T>(b);
  if (isInfinite<T>(a)) return a;
  if (isInfinite<T>(b)) return b;
  if (isZero<T>(b)) {
    if (isZero<T>(a)) return a === b ? a : cancelled<T>();
    return roundPack<T>(signOf<T>(a), exponentOf<T>(a), significandOf<T>(a), 0);
  }
  if (isZero<T>(a)) return roundPack<T>(signOf<T>(b), exponentOf<T>(b), significandOf<T>(b), 0);
  addWide(
    signOf<T>(a),
    exponentOf<T>(a),
    significandOf<T>(a),
    0,
    signOf<T>(b),
    exponentOf<T>(b),
    significandOf<T>(b),
    0,
  );
  if (zHi === 0) return cancelled<T>();
  return roundPack<T>(zSign, zExp, zHi, zLo);
}

/** a - b. A NaN subtrahend keeps its sign. */
export function softSub<T>(a: u64, b: u64): u64 {
  if (isNan<T>(a) || isNan<T>(b)) return propagate<T>(a, b);
  return softAdd<T>(a, b ^ signBit<T>());
}

export function softMul<T>(a: u64, b: u64): u64 {
  if (isNan<T>(a) || isNan<T>(b)) return propagate<T>(a, b);
  a = flushed<T>(a);
  b = flushed<T>(b);
  const sign = (a ^ b) & signBit<T>();
  if (isInfinite<T>(a) || isInfinite<T>(b)) {
    if (isZero<T>(a) || isZero<T>(b)) return invalid<T>();
    noteDenormal<T>(a);
    noteDenormal<T>(b);
    return sign | infinity<T>();
  }
  noteDenormal<T>(a);
  noteDenormal<T>(b);
  if (isZero<T>(a) || isZero<T>(b)) return sign;
  mulWide(u32(sign !== 0), exponentOf<T>(a), significandOf<T>(a), exponentOf<T>(b), significandOf<T>(b));
  return roundPack<T>(zSign, zExp, zHi, zLo);
}

export function softDiv<T>(a: u64, b: u64): u64 {
  if (isNan<T>(a) || isNan<T>(b)) return propagate<T>(a, b);
  a = flushed<T>(a);
  b = flushed<T>(b);
  const sign = (a ^ b) & signBit<T>();
  if (isInfinite<T>(a)) {
    if (isInfinite<T>(b)) return invalid<T>();
    noteDenormal<T>(b);
    return sign | infinity<T>();
  }
  if (isZero<T>(b)) {
    if (isZero<T>(a)) return invalid<T>();
    raise(ZE);
    return sign | infinity<T>();
  }
  noteDenormal<T>(a);
  noteDenormal<T>(b);
  if (isInfinite<T>(b) || isZero<T>(a)) return sign;
  divWide(u32(sign !== 0), exponentOf<T>(a), significandOf<T>(a), exponentOf<T>(b), significandOf<T>(b));
  return roundPack<T>(zSign, zExp, zHi, zLo);
}

export function softSqrt<T>(a: u64): u64 {
  if (isNan<T>(a)) return propagate<T>(a, a);
  a = flushed<T>(a);
  if (isZero<T>(a)) return a;
  if (signOf<T>(a)) return invalid<T>();
  if (isInfinite<T>(a)) return a;
  noteDenormal<T>(a);
  sqrtWide(exponentOf<T>(a), significandOf<T>(a));
  return roundPack<T>(0, zExp, zHi, zLo);
}

/** MIN: the second operand unless the first is smaller; any NaN is invalid and gives the second operand unchanged. */
export function softMin<T>(a: u64, b: u64): u64 {
  if (isNan<T>(a) || isNan<T>(b)) {
    raise(IE);
    return isNan<T>(b) ? b : flushed<T>(b);
  }
  a = flushed<T>(a);
  b = flushed<T>(b);
  noteDenormal<T>(a);
  noteDenormal<T>(b);
  return relation<T>(a, b) === LESS ? a : b;
}
export function softMax<T>(a: u64, b: u64): u64 {
  if (isNan<T>(a) || isNan<T>(b)) {
    raise(IE);
    return isNan<T>(b) ? b : flushed<T>(b);
  }
  a = flushed<T>(a);
  b = flushed<T>(b);
  noteDenormal<T>(a);
  noteDenormal<T>(b);
  return relation<T>(a, b) === GREATER ? a : b;
}

export const LESS: u32 = 1;
export const EQUAL: u32 = 2;
export const GREATER: u32 = 4;
export const UNORDERED: u32 = 8;

/** How two patterns compare, one of the four bits above. No exceptions. */
export function relation<T>(a: u64, b: u64): u32 {
  if (isNan<T>(a) || isNan<T>(b)) return UNORDERED;
  if ((magnitude<T>(a) | magnitude<T>(b)) === 0 || a === b) return EQUAL;
  const aSign = signOf<T>(a);
  if (aSign !== signOf<T>(b)) return aSign ? LESS : GREATER;
  return a < b !== (aSign !== 0) ? LESS : GREATER;
}

/** Compare with exceptions: a signalling comparison finds quiet NaNs invalid too. */
export function softRelation<T>(a: u64, b: u64, signalling: bool): u32 {
  if (isNan<T>(a) || isNan<T>(b)) {
    if (signalling || isSignalling<T>(a) || isSignalling<T>(b)) raise(IE);
    return UNORDERED;
  }
  a = flushed<T>(a);
  b = flushed<T>(b);
  noteDenormal<T>(a);
  noteDenormal<T>(b);
  return relation<T>(a, b);
}

/** Relations that satisfy predicates 0..15, four bits each from the lowest; 16..31 repeat them (SDM CMPPS). */
const PREDICATES: u64 = 0xf4650b9a7ced8312;
/** Predicates 0..15 that find quiet NaNs invalid; the upper sixteen are the opposite. */
const SIGNALLING: u32 = 0x6666;

/** CMPSS and CMPSD with any of the 32 predicates: all ones or zero. */
export function softCmp<T>(a: u64, b: u64, predicate: u32): u64 {
  const signalling = (((SIGNALLING >> (predicate & 15)) ^ (predicate >> 4)) & 1) !== 0;
  const r = softRelation<T>(a, b, signalling);
  const met = u32(PREDICATES >> ((predicate & 15) << 2)) & r;
  if (!met) return 0;
  return sizeof<T>() === 4 ? 0xffffffff : 0xffffffffffffffff;
}

/** a · b + c rounded once. */
export function softFma<T>(a: u64, b: u64, c: u64): u64 {
  if (isNan<T>(a) || isNan<T>(b) || isNan<T>(c)) {
    if (isSignalling<T>(a) || isSignalling<T>(b) || isSignalling<T>(c)) raise(IE);
    return (isNan<T>(a) ? a : isNan<T>(b) ? b : c) | quietBit<T>();
  }
  a = flushed<T>(a);
  b = flushed<T>(b);
  c = flushed<T>(c);
  const sign = (a ^ b) & signBit<T>();
  if (isInfinite<T>(a) || isInfinite<T>(b)) {
    if (isZero<T>(a) || isZero<T>(b)) return invalid<T>();
    if (isInfinite<T>(c) && (c & signBit<T>()) !== sign) return invalid<T>();
    noteDenormal<T>(a);
    noteDenormal<T>(b);
    noteDenormal<T>(c);
    return sign | infinity<T>();
  }
  noteDenormal<T>(a);
  noteDenormal<T>(b);
  noteDenormal<T>(c);
  if (isInfinite<T>(c)) return c;
  if (isZero<T>(a) || isZero<T>(b)) {
    if (isZero<T>(c)) return c === sign ? c : cancelled<T>();
    return roundPack<T>(signOf<T>(c), exponentOf<T>(c), significandOf<T>(c), 0);
  }
  mulWide(u32(sign !== 0), exponentOf<T>(a), significandOf<T>(a), exponentOf<T>(b), significandOf<T>(b));
  if (!isZero<T>(c)) {
    addWide(zSign, zExp, zHi, zLo, signOf<T>(c), exponentOf<T>(c), significandOf<T>(c), 0);
    if (zHi === 0) return cancelled<T>();
  }
  return roundPack<T>(zSign, zExp, zHi, zLo);
}
