/**
 * The IEEE binary interchange formats as bit patterns: f16, f32 and f64. The type parameter names the format (u16, f32,
 * f64); a pattern travels zero-extended in a u64. `roundPack` is the only place where a number is rounded.
 * Sources: SDM vol. 1, 4.8 and 11.5.2.
 */

import { DE, denormalsAreZero, flushToZero, masks, OE, PE, RC_NEAREST, raise, rounding, UE } from './control';

/** Bits of significand including the leading one. */
export function precision<T>(): i32 {
  return sizeof<T>() === 2 ? 11 : sizeof<T>() === 4 ? 24 : 53;
}
export function bias<T>(): i32 {
  return sizeof<T>() === 2 ? 15 : sizeof<T>() === 4 ? 127 : 1023;
}
/** Exponent field of infinities and NaNs. */
export function exponentMax<T>(): u64 {
  return sizeof<T>() === 2 ? 31 : sizeof<T>() === 4 ? 255 : 2047;
}
export function signBit<T>(): u64 {
  return (<u64>1) << (sizeof<T>() * 8 - 1);
}
export function infinity<T>(): u64 {
  return exponentMax<T>() << (precision<T>() - 1);
}
export function quietBit<T>(): u64 {
  return (<u64>1) << (precision<T>() - 2);
}
/** The NaN that stands for an invalid operation: negative and quiet. */
export function defaultNan<T>(): u64 {
  return signBit<T>() | infinity<T>() | quietBit<T>();
}
export function magnitude<T>(a: u64): u64 {
  return a & (signBit<T>() - 1);
}
export function signOf<T>(a: u64): u32 {
  return u32(a >> (sizeof<T>() * 8 - 1));
}
export function isNan<T>(a: u64): bool {
  return magnitude<T>(a) > infinity<T>();
}
export function isSignalling<T>(a: u64): bool {
  return isNan<T>(a) && (a & quietBit<T>()) === 0;
}
export function isInfinite<T>(a: u64): bool {
  return magnitude<T>(a) === infinity<T>();
}
export function isZero<T>(a: u64): bool {
  return magnitude<T>(a) === 0;
}
export function isDenormal<T>(a: u64): bool {
  return magnitude<T>(a) - 1 < ((<u64>1) << (precision<T>() - 1)) - 1;
}

/** Exponent of a finite nonzero number whose significand is taken with its leading one in bit 63. */
export function exponentOf<T>(a: u64): i32 {
  const m = magnitude<T>(a);
  const field = i32(m >> (precision<T>() - 1));
  if (field) return field - bias<T>();
  return 1 - bias<T>() - (i32(clz(m)) - (64 - precision<T>()));
}
/** Significand of a finite nonzero number, leading one in bit 63. */
export function significandOf<T>(a: u64): u64 {
  const m = magnitude<T>(a);
  if (m >> (precision<T>() - 1) === 0) return m << clz(m);
  return (m << (64 - precision<T>())) | ((<u64>1) << 63);
}

/** The operand as the operation sees it: with denormals-are-zero a denormal is a zero of its sign. */
export function flushed<T>(a: u64): u64 {
  return denormalsAreZero && isDenormal<T>(a) ? a & signBit<T>() : a;
}
/** DE when the operand is denormal. Only after NaNs have been dealt with: they take precedence. */
export function noteDenormal<T>(a: u64): void {
  if (isDenormal<T>(a)) raise(DE);
}

/** What is added to hi before truncation at `mask`, by rounding control and sign. */
export function roundIncrement(sign: u32, mask: u64): u64 {
  if (rounding === RC_NEAREST) return (mask >> 1) + 1;
  // down (1) rounds negative numbers away from zero, up (2) positive ones; toward zero never.
  return rounding === 2 - sign ? mask : 0;
}

/** Whether the last roundPack() increased the magnitude: C1 of an x87 store. */
export let roundedAway: bool = false;

/** Round sign · hi:lo (leading one in bit 127) · 2^exp to the format; raises OE, UE, PE. */
export function roundPack<T>(sign: u32, exp: i32, hi: u64, lo: u64): u64 {
  const drop = 64 - precision<T>();
  const mask = ((<u64>1) << drop) - 1;
  const half = (mask >> 1) + 1;
  const signBits = (<u64>sign) << (sizeof<T>() * 8 - 1);
  hi |= u64(lo !== 0);
  const increment = roundIncrement(sign, mask);
  let field = exp + bias<T>();
  let tiny = false;
  const fullInexact = (hi & mask) !== 0;
  if (field <= 0) {
    // Tiny when the result rounded as if the exponent had no lower bound is still below the normal range.
    tiny = field < 0 || hi + increment >= hi;
    if (tiny && flushToZero && sizeof<T>() !== 2) {
      raise(UE | PE);
      return signBits;
    }
    const n = 1 - field;
    hi = n > 63 ? 1 : (hi >> n) | u64(hi << (64 - n) !== 0);
    field = 0;
  } else {
    field--;
  }
  if (field > i32(exponentMax<T>())) field = i32(exponentMax<T>());
  const rest = hi & mask;
  const sum = hi + increment;
  let kept = sum >> drop;
  if (sum < hi) kept |= (<u64>1) << precision<T>();
  if (rounding === RC_NEAREST && rest === half) kept &= ~(<u64>1);
  const bits = ((<u64>field) << (precision<T>() - 1)) + kept;
  if (bits >= infinity<T>()) {
    // Unmasked overflow reports PE for the significand rounded without an upper bound on the exponent.
    roundedAway = increment !== 0;
    raise((masks & OE) !== 0 || fullInexact ? OE | PE : OE);
    // To infinity when rounding goes away from zero, else the largest finite number.
    return signBits | (increment !== 0 ? infinity<T>() : infinity<T>() - 1);
  }
  roundedAway = kept > hi >> drop;
  if (tiny && (masks & UE) === 0) {
    // Unmasked underflow is reported for exact results too, and PE as if the exponent had no lower bound.
    raise(fullInexact ? UE | PE : UE);
  } else if (rest !== 0) {
    raise(tiny ? UE | PE : PE);
  }
  return signBits | bits;
}
