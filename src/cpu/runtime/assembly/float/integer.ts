/**
 * Rounding to integers and conversions between formats, on bit patterns. Sources: SDM vol. 1, 4.8.4, 11.5.2 and table
 * 4-14 (an integer that does not fit becomes the integer indefinite: the most negative number, with IE).
 */

import {
  IE,
  PE,
  RC_NEAREST,
  RC_ZERO,
  raise,
  rounding,
  setDenormalsAreZero,
  setFlush,
  setRounding,
} from './control';
import {
  bias,
  exponentOf,
  flushed,
  infinity,
  isInfinite,
  isNan,
  isSignalling,
  isZero,
  magnitude,
  noteDenormal,
  precision,
  quietBit,
  roundPack,
  signBit,
  significandOf,
  signOf,
} from './format';

/** Whether the last roundMagnitude() lost something. */
export let inexact: bool = false;
/** Whether it went away from zero. */
export let roundedUp: bool = false;

/** |sig · 2^(exp-63)| to an integer in the current rounding mode; exp <= 63 and sig has its leading one in bit 63. */
export function roundMagnitude(sign: u32, exp: i32, sig: u64): u64 {
  let whole: u64;
  let fraction: u64;
  if (exp < 0) {
    whole = 0;
    fraction = exp === -1 ? sig : 1;
  } else {
    whole = sig >> (63 - exp);
    fraction = exp === 63 ? 0 : sig << (exp + 1);
  }
  inexact = fraction !== 0;
  roundedUp = false;
  if (inexact) {
    if (rounding === RC_NEAREST) {
      const half = (<u64>1) << 63;
      roundedUp = fraction > half || (fraction === half && (whole & 1) !== 0);
    } else {
      roundedUp = rounding === 2 - sign;
    }
  }
  return whole + u64(roundedUp);
}

/** To a signed integer of `bits` bits (32 or 64), the result zero-extended. */
export function softToInteger<T>(a: u64, bits: i32): u64 {
  const indefinite: u64 = bits === 32 ? 0x80000000 : 0x8000000000000000;
  a = flushed<T>(a);
  if (isZero<T>(a)) return 0;
  const sign = signOf<T>(a);
  const exp = exponentOf<T>(a);
  if (magnitude<T>(a) >= infinity<T>() || exp > 63) {
    raise(IE);
    return indefinite;
  }
  const whole = roundMagnitude(sign, exp, significandOf<T>(a));
  if (whole > indefinite - u64(sign === 0)) {
    raise(IE);
    return indefinite;
  }
  if (inexact) raise(PE);
  const value = sign ? 0 - whole : whole;
  return bits === 32 ? value & 0xffffffff : value;
}
export function softTruncate<T>(a: u64, bits: i32): u64 {
  setRounding(RC_ZERO);
  return softToInteger<T>(a, bits);
}

export function softFromInteger<T>(value: i64): u64 {
  if (value === 0) return 0;
  const sign = u32(value < 0);
  const whole = sign ? 0 - <u64>value : <u64>value;
  const n = i32(clz(whole));
  return roundPack<T>(sign, 63 - n, whole << n, 0);
}

/** To a wider or narrower format; a NaN keeps the upper bits of its payload. */
export function softConvert<F, T>(a: u64): u64 {
  const sign = (<u64>signOf<F>(a)) << (sizeof<T>() * 8 - 1);
  if (isNan<F>(a)) {
    if (isSignalling<F>(a)) raise(IE);
    const payload = magnitude<F>(a) << (64 - precision<F>() + 1);
    return sign | infinity<T>() | quietBit<T>() | (payload >> (64 - precision<T>() + 1));
  }
  a = flushed<F>(a);
  if (isInfinite<F>(a)) return sign | infinity<T>();
  if (isZero<F>(a)) return sign;
  if (sizeof<F>() !== 2) noteDenormal<F>(a);
  return roundPack<T>(signOf<F>(a), exponentOf<F>(a), significandOf<F>(a), 0);
}
/** f16 to f32 knows neither denormals-are-zero nor the denormal exception. */
export function softFromHalf(a: u64): u64 {
  setDenormalsAreZero(false);
  return softConvert<u16, f32>(a);
}
/** f32 to f16, which ignores flush-to-zero. */
export function softToHalf(a: u64): u64 {
  setFlush(false);
  return softConvert<f32, u16>(a);
}

/** To an integral value in the same format. No denormal exception; PE only when `reportInexact`. */
export function softRound<T>(a: u64, reportInexact: bool): u64 {
  if (isNan<T>(a)) {
    if (isSignalling<T>(a)) raise(IE);
    return a | quietBit<T>();
  }
  a = flushed<T>(a);
  if (isInfinite<T>(a) || isZero<T>(a)) return a;
  const exp = exponentOf<T>(a);
  if (exp >= precision<T>() - 1) return a;
  const whole = roundMagnitude(signOf<T>(a), exp, significandOf<T>(a));
  if (inexact && reportInexact) raise(PE);
  const sign = a & signBit<T>();
  if (whole === 0) return sign;
  const n = i32(clz(whole));
  return (
    sign |
    (((<u64>(63 - n + bias<T>() - 1)) << (precision<T>() - 1)) + ((whole << n) >> (64 - precision<T>())))
  );
}
