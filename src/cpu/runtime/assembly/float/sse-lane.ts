// biome-ignore-all lint/correctness/noPrecisionLoss: integers have 64 bits here
/**
 * One lane of an arithmetic operation, as a function of bit patterns between beginSse() and endSse(): by the host's
 * arithmetic wherever that tells result and exceptions, else by the exact operations of sse-arith.ts.
 *
 * The operation is a type parameter, so that each instruction is compiled by itself: size and sign of the type name it.
 */

import {
  areTinyKept,
  denormalsAreZero,
  flushToZero,
  isPrecisionSettled,
  isTininessSettled,
  PE,
  RC_NEAREST,
  raise,
  rounding,
} from './control';
import { flushed, signBit } from './format';
import { softAdd, softDiv, softMax, softMin, softMul, softSqrt, softSub } from './sse-arith';
import {
  finite32,
  finite64,
  isProductExact,
  isQuotientExact,
  isRootExact,
  isSumExact,
  normal32,
  normal64,
  plain32,
  plain64,
} from './sse-native';

export type Add = i8;
export type Sub = i16;
export type Mul = i32;
export type Div = i64;
export type Min = u8;
export type Max = u16;
function isSum<O>(): bool {
  return isSigned<O>() && sizeof<O>() <= 2;
}
function isOrder<O>(): bool {
  return !isSigned<O>();
}

/** The host's operation. */
function native<T, O>(x: T, y: T): T {
  if (sizeof<O>() === 1) return (x + y) as T;
  if (sizeof<O>() === 2) return (x - y) as T;
  if (sizeof<O>() === 4) return (x * y) as T;
  return (x / y) as T;
}
function soft<T, O>(a: u64, b: u64): u64 {
  if (isOrder<O>()) return sizeof<O>() === 1 ? softMin<T>(a, b) : softMax<T>(a, b);
  if (sizeof<O>() === 1) return softAdd<T>(a, b);
  if (sizeof<O>() === 2) return softSub<T>(a, b);
  if (sizeof<O>() === 4) return softMul<T>(a, b);
  return softDiv<T>(a, b);
}
/** A product or quotient of zero: exact when an operand is, or else an underflow. */
function isZeroExact<O>(aIsZero: bool, bIsZero: bool): bool {
  return isSum<O>() || aIsZero || (sizeof<O>() === 4 && bIsZero);
}

function isExact64<O>(a: u64, b: u64, r: u64): bool {
  // A sum that equals an operand is not zero here, but the other operand may be.
  if (isSum<O>()) {
    const y = reinterpret<f64>(b);
    return isSumExact(reinterpret<f64>(a), sizeof<O>() === 1 ? y : -y, reinterpret<f64>(r));
  }
  return sizeof<O>() === 4 ? isProductExact(a, b, r) : isQuotientExact(a, b, r);
}
function isExact32<O>(x: f32, y: f32, r: f32): bool {
  // Sums, products and quotients times divisors of single numbers in double precision: inexact sums have too many bits.
  if (sizeof<O>() === 8) return <f64>r * <f64>y === <f64>x;
  const wide = native<f64, O>(<f64>x, <f64>y);
  if (sizeof<O>() === 4) return wide === <f64>r;
  return wide === <f64>r && isSumExact(<f64>x, sizeof<O>() === 1 ? <f64>y : -(<f64>y), wide);
}

export function lane64<O>(a: u64, b: u64): u64 {
  if (isOrder<O>()) return soft<f64, O>(a, b);
  if (rounding === RC_NEAREST) {
    if (denormalsAreZero) {
      a = flushed<f64>(a);
      b = flushed<f64>(b);
    }
    const r = reinterpret<u64>(native<f64, O>(reinterpret<f64>(a), reinterpret<f64>(b)));
    if (plain64(a) && plain64(b)) {
      if (normal64(r)) {
        if (!isPrecisionSettled && !isExact64<O>(a, b, r)) raise(PE);
        return r;
      }
      if (r << 1 === 0) {
        if (isZeroExact<O>(a << 1 === 0, b << 1 === 0)) return r;
      } else if (isSum<O>() && areTinyKept && finite64(r)) {
        // Sums below the normal range are exact, and at its edge as well.
        return r;
      }
    }
    if (isTininessSettled && finite64(r)) {
      if (!flushToZero) return r;
      if ((r & 0x7fffffffffffffff) < 0x0010000000000000) return r & signBit<f64>();
    }
  }
  return soft<f64, O>(a, b);
}

export function lane32<O>(a: u32, b: u32): u32 {
  if (isOrder<O>()) return u32(soft<f32, O>(<u64>a, <u64>b));
  if (rounding === RC_NEAREST) {
    if (denormalsAreZero) {
      a = u32(flushed<f32>(<u64>a));
      b = u32(flushed<f32>(<u64>b));
    }
    const x = reinterpret<f32>(a);
    const y = reinterpret<f32>(b);
    const result = native<f32, O>(x, y);
    const r = reinterpret<u32>(result);
    if (plain32(a) && plain32(b)) {
      if (normal32(r)) {
        if (!isPrecisionSettled && !isExact32<O>(x, y, result)) raise(PE);
        return r;
      }
      if (r << 1 === 0) {
        if (isZeroExact<O>(a << 1 === 0, b << 1 === 0)) return r;
      } else if (isSum<O>() && areTinyKept && finite32(r)) {
        return r;
      }
    }
    if (isTininessSettled && finite32(r)) {
      if (!flushToZero) return r;
      if ((r & 0x7fffffff) < 0x00800000) return r & 0x80000000;
    }
  }
  return u32(soft<f32, O>(<u64>a, <u64>b));
}

export function root64(a: u64): u64 {
  if (rounding === RC_NEAREST && plain64(a)) {
    const r = reinterpret<u64>(sqrt<f64>(reinterpret<f64>(a)));
    if (normal64(r)) {
      if (!isPrecisionSettled && !isRootExact(a, r)) raise(PE);
      return r;
    }
  }
  return softSqrt<f64>(a);
}
export function root32(a: u32): u32 {
  if (rounding === RC_NEAREST && plain32(a)) {
    const x = reinterpret<f32>(a);
    const result = sqrt<f32>(x);
    const r = reinterpret<u32>(result);
    if (normal32(r)) {
      if (!isPrecisionSettled && <f64>result * <f64>result !== <f64>x) raise(PE);
      return r;
    }
  }
  return u32(softSqrt<f32>(<u64>a));
}
