// biome-ignore-all lint/correctness/noPrecisionLoss: integers have 64 bits here
/**
 * Packed sums and products that are exact, for programs that have not rounded anything yet: vectors of small integers and
 * the like. Rounding modes and flags do not matter to these. `areExact` says whether the result holds.
 */

export let areExact: bool = false;

const ABSOLUTE64: i64 = 0x7fffffffffffffff;
/** Zero, or 2^low <= |a| < 2^high, in all lanes. */
function areBetween64(a: v128, low: i64, high: i64): bool {
  const m = v128.and(a, i64x2.splat(ABSOLUTE64));
  const inside = v128.and(
    i64x2.ge_s(m, i64x2.splat((low + 1023) << 52)),
    i64x2.lt_s(m, i64x2.splat((high + 1023) << 52)),
  );
  return i64x2.all_true(v128.or(inside, i64x2.eq(m, i64x2.splat(0))));
}
function areBetween32(a: v128, low: i32, high: i32): bool {
  const m = v128.and(a, i32x4.splat(0x7fffffff));
  const inside = v128.and(
    i32x4.ge_s(m, i32x4.splat((low + 127) << 23)),
    i32x4.lt_s(m, i32x4.splat((high + 127) << 23)),
  );
  return i32x4.all_true(v128.or(inside, i32x4.eq(m, i32x4.splat(0))));
}
function areZero64(a: v128): bool {
  return i64x2.all_true(f64x2.eq(a, i64x2.splat(0)));
}

/** What a rounded sum leaves out (two-sum). */
function sumError(a: v128, b: v128, s: v128): v128 {
  const t = f64x2.sub(s, a);
  return f64x2.add(f64x2.sub(a, f64x2.sub(s, t)), f64x2.sub(b, t));
}
/** The upper half of a significand (Veltkamp). */
function upper(a: v128): v128 {
  const c = f64x2.mul(a, f64x2.splat(134217729.0));
  return f64x2.sub(c, f64x2.sub(c, a));
}
/** What a rounded product leaves out (Dekker). */
function productError(a: v128, b: v128, p: v128): v128 {
  const ah = upper(a);
  const al = f64x2.sub(a, ah);
  const bh = upper(b);
  const bl = f64x2.sub(b, bh);
  const e = f64x2.add(f64x2.sub(f64x2.mul(ah, bh), p), f64x2.mul(ah, bl));
  return f64x2.add(f64x2.add(e, f64x2.mul(al, bh)), f64x2.mul(al, bl));
}

/** Sums of numbers like these are zero or normal, and so is what they leave out. */
export function exactSums64(a: v128, b: v128): v128 {
  const s = f64x2.add(a, b);
  areExact = areBetween64(a, -900, 1000) && areBetween64(b, -900, 1000) && areZero64(sumError(a, b, s));
  return s;
}
export function exactProducts64(a: v128, b: v128): v128 {
  const p = f64x2.mul(a, b);
  areExact = areBetween64(a, -400, 400) && areBetween64(b, -400, 400) && areZero64(productError(a, b, p));
  return p;
}

function upperLanes(a: v128): v128 {
  return f64x2.promote_low_f32x4(i64x2.shuffle(a, a, 1, 1));
}
/** Two doubles are singles: exactly what they become when rounded. */
function areSingles(wide: v128, rounded: v128): bool {
  return i64x2.all_true(f64x2.eq(wide, rounded));
}
/** In double precision: a sum that is inexact there is not a single either. */
export function exactSums32(a: v128, b: v128): v128 {
  const s = f32x4.add(a, b);
  areExact = areBetween32(a, -100, 120) && areBetween32(b, -100, 120);
  if (!areExact) return s;
  const a0 = f64x2.promote_low_f32x4(a);
  const b0 = f64x2.promote_low_f32x4(b);
  const a1 = upperLanes(a);
  const b1 = upperLanes(b);
  const s0 = f64x2.add(a0, b0);
  const s1 = f64x2.add(a1, b1);
  areExact =
    areSingles(s0, f64x2.promote_low_f32x4(s)) &&
    areSingles(s1, upperLanes(s)) &&
    areZero64(v128.or(sumError(a0, b0, s0), sumError(a1, b1, s1)));
  return s;
}
export function exactProducts32(a: v128, b: v128): v128 {
  const p = f32x4.mul(a, b);
  areExact =
    areBetween32(a, -60, 60) &&
    areBetween32(b, -60, 60) &&
    areSingles(
      f64x2.mul(f64x2.promote_low_f32x4(a), f64x2.promote_low_f32x4(b)),
      f64x2.promote_low_f32x4(p),
    ) &&
    areSingles(f64x2.mul(upperLanes(a), upperLanes(b)), upperLanes(p));
  return p;
}
