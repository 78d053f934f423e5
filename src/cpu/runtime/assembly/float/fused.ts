// biome-ignore-all lint/correctness/noPrecisionLoss: integers have 64 bits here
/**
 * Fused multiplication and addition by the host's arithmetic, for numbers of ordinary size: rounded to nearest, and
 * inexact without saying so. The sum of the exact product and the addend is rounded to odd before the last rounding, which
 * makes the two roundings one (Boldo and Melquiond, "Emulation of a FMA and correctly rounded sums: proved algorithms using
 * rounding to odd", 2008).
 *
 * Results come with a mask in `fusedGood`: all ones in the lanes where they hold.
 */

export let fusedGood: v128 = i64x2.splat(0);

/** Of a + b: the rounded sum, and what is missing from it. */
let sum: v128 = i64x2.splat(0);
let rest: v128 = i64x2.splat(0);
function twoSum(a: v128, b: v128): void {
  const s = f64x2.add(a, b);
  const t = f64x2.sub(s, a);
  rest = f64x2.add(f64x2.sub(a, f64x2.sub(s, t)), f64x2.sub(b, t));
  sum = s;
}
/** a + b rounded to odd: an inexact sum that is even moves to the neighbour on the other side of the true value. */
function addToOdd(a: v128, b: v128): v128 {
  twoSum(a, b);
  const s = sum;
  const inexact = f64x2.ne(rest, f64x2.splat(0));
  const even = i64x2.eq(v128.and(s, i64x2.splat(1)), i64x2.splat(0));
  // Away from zero when the rest has the sum's sign, else toward it.
  const direction = v128.or(i64x2.shr_s(v128.xor(s, rest), 63), i64x2.splat(1));
  return i64x2.add(s, v128.and(direction, v128.and(inexact, even)));
}

function magnitude64(a: v128): v128 {
  return v128.and(a, i64x2.splat(0x7fffffffffffffff));
}
function isZero64(a: v128): v128 {
  return i64x2.eq(magnitude64(a), i64x2.splat(0));
}
/** 2^low <= |a| < 2^high. */
function isBetween(a: v128, low: i64, high: i64): v128 {
  const m = magnitude64(a);
  return v128.and(
    i64x2.ge_s(m, i64x2.splat((low + 1023) << 52)),
    i64x2.lt_s(m, i64x2.splat((high + 1023) << 52)),
  );
}

/** The upper half of a significand (Veltkamp). */
function upper(a: v128): v128 {
  const c = f64x2.mul(a, f64x2.splat(134217729.0));
  return f64x2.sub(c, f64x2.sub(c, a));
}

/** a · b + c for two doubles. Holds while nothing comes near the ends of the exponent, errors of products included. */
function fusedDoubles(a: v128, b: v128, c: v128): v128 {
  const noProduct = v128.or(isZero64(a), isZero64(b));
  const single = v128.or(noProduct, isZero64(c));
  const ordinary = v128.and(
    v128.and(v128.or(isZero64(a), isBetween(a, -400, 400)), v128.or(isZero64(b), isBetween(b, -400, 400))),
    v128.or(isZero64(c), isBetween(c, -800, 800)),
  );
  fusedGood = ordinary;
  const p = f64x2.mul(a, b);
  // The product's error (Dekker).
  const ah = upper(a);
  const al = f64x2.sub(a, ah);
  const bh = upper(b);
  const bl = f64x2.sub(b, bh);
  const e0 = f64x2.sub(f64x2.mul(ah, bh), p);
  const e1 = f64x2.add(f64x2.add(e0, f64x2.mul(ah, bl)), f64x2.mul(al, bh));
  const e = f64x2.add(e1, f64x2.mul(al, bl));
  twoSum(c, e);
  const low = rest;
  twoSum(p, sum);
  const high = sum;
  const fused = f64x2.add(high, addToOdd(low, rest));
  // With a zero there is one rounding anyway, and the zero's sign counts.
  return v128.bitselect(f64x2.add(p, c), fused, single);
}

/** Two of the four lanes: a double has room for the product, and more than twice a single's precision for the sum. */
function twoSingles(a: v128, b: v128, c: v128): v128 {
  return addToOdd(
    f64x2.mul(f64x2.promote_low_f32x4(a), f64x2.promote_low_f32x4(b)),
    f64x2.promote_low_f32x4(c),
  );
}
/** Zero, or at least the smallest normal number (infinities and NaNs pass: the result tells them). */
function isPlain32(a: v128): v128 {
  return i32x4.ge_u(i32x4.sub(i32x4.shl(a, 1), i32x4.splat(1)), i32x4.splat(0x00ffffff));
}
/** a · b + c for four singles. Results have to be normal, or exact zeros. */
function fusedSingles(a: v128, b: v128, c: v128): v128 {
  const low = twoSingles(a, b, c);
  const high = twoSingles(
    i8x16.shuffle(a, a, 8, 9, 10, 11, 12, 13, 14, 15, 8, 9, 10, 11, 12, 13, 14, 15),
    i8x16.shuffle(b, b, 8, 9, 10, 11, 12, 13, 14, 15, 8, 9, 10, 11, 12, 13, 14, 15),
    i8x16.shuffle(c, c, 8, 9, 10, 11, 12, 13, 14, 15, 8, 9, 10, 11, 12, 13, 14, 15),
  );
  const r = i64x2.shuffle(f32x4.demote_f64x2_zero(low), f32x4.demote_f64x2_zero(high), 0, 2);
  const m = v128.and(r, i32x4.splat(0x7fffffff));
  const normal = i32x4.lt_u(i32x4.sub(m, i32x4.splat(0x00800001)), i32x4.splat(0x7f800000 - 0x00800001));
  const zeros = i8x16.shuffle(
    isZero64(low),
    isZero64(high),
    0,
    1,
    2,
    3,
    8,
    9,
    10,
    11,
    16,
    17,
    18,
    19,
    24,
    25,
    26,
    27,
  );
  fusedGood = v128.and(v128.or(normal, zeros), v128.and(isPlain32(a), v128.and(isPlain32(b), isPlain32(c))));
  return r;
}

/** The sign bits that a kind of fused operation (see fmaps) turns around in the addend, of 4 or 8 bytes. */
function addendSigns<T>(kind: u32): v128 {
  const even = kind & 2;
  const odd = kind & 4 ? even ^ 2 : even;
  if (sizeof<T>() === 8) return i64x2.replace_lane(i64x2.splat((<i64>even) << 62), 1, (<i64>odd) << 62);
  return i64x2.splat(((<i64>odd) << 62) | ((<i64>even) << 30));
}
/** a · b + c of a kind; `fusedGood` says where it holds. */
export function fusedLanes<T>(a: v128, b: v128, c: v128, kind: u32): v128 {
  const product = sizeof<T>() === 8 ? i64x2.splat((<i64>(kind & 1)) << 63) : i32x4.splat((kind & 1) << 31);
  const x = v128.xor(a, product);
  const z = v128.xor(c, addendSigns<T>(kind));
  return sizeof<T>() === 8 ? fusedDoubles(x, b, z) : fusedSingles(x, b, z);
}
