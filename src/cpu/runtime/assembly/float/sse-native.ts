// biome-ignore-all lint/correctness/noPrecisionLoss: integers have 64 bits here
/**
 * When the host's own arithmetic, which rounds to nearest and reports nothing, tells an operation's result and its
 * exceptions: predicates on patterns, and whether a rounded result is exact. docs/design/0008-floating-point.md has the argument.
 */

/** Zero, or at least the smallest normal number (infinities and NaNs pass: the result tells them). */
export function plain32(a: u32): bool {
  return (a << 1) - 1 >= 0x00ffffff;
}
export function plain64(a: u64): bool {
  return (a << 1) - 1 >= 0x001fffffffffffff;
}
/** Finite and above the smallest normal number, which a tiny result may have been rounded to. */
export function normal32(r: u32): bool {
  return (r & 0x7fffffff) - 0x00800001 < 0x7f800000 - 0x00800001;
}
export function normal64(r: u64): bool {
  return (r & 0x7fffffffffffffff) - 0x0010000000000001 < 0x7ff0000000000000 - 0x0010000000000001;
}
export function finite32(r: u32): bool {
  return r << 1 < 0xff000000;
}
export function finite64(r: u64): bool {
  return r << 1 < 0xffe0000000000000;
}

/** Error of a rounded sum that does not overflow (two-sum): is it zero? */
export function isSumExact(x: f64, y: f64, s: f64): bool {
  const t = s - x;
  return x - (s - t) + (y - t) === 0;
}

/** A normal number's significand as an odd integer. */
function odd(a: u64): u64 {
  const significand = (a & 0x000fffffffffffff) | 0x0010000000000000;
  return significand >> ctz(significand);
}
/**
 * Is the normal number r = a · b, up to a power of two? The odd parts multiply to an odd number, so the product has as
 * many significant bits as that: too many for r when the factors have more than 54 together.
 */
function isProduct(r: u64, a: u64, b: u64): bool {
  const x = odd(a);
  const y = odd(b);
  return clz(x) + clz(y) >= 128 - 54 && x * y === odd(r);
}
/** For normal operands, and results that normal64() accepts. */
export function isProductExact(a: u64, b: u64, r: u64): bool {
  return isProduct(r, a, b);
}
export function isQuotientExact(a: u64, b: u64, r: u64): bool {
  return isProduct(a, r, b);
}
export function isRootExact(a: u64, r: u64): bool {
  return isProduct(a, r, r);
}
