/**
 * Arithmetic with 128-bit significands for the transcendental functions: an accumulator q = sign · hi:lo · 2^(exp-127),
 * good to about 120 bits. hi = 0 stands for zero.
 */

import { addWide, divide128, mulHi, remainder, zExp, zHi, zLo, zSign } from './wide';

export let qSign: u32 = 0;
export let qExp: i32 = 0;
export let qHi: u64 = 0;
export let qLo: u64 = 0;

export function qLoad(sign: u32, exp: i32, hi: u64, lo: u64): void {
  qSign = sign;
  qExp = exp;
  qHi = hi;
  qLo = lo;
}
/** Load hi:lo · 2^exp where the leading one may be anywhere (exp is that of bit 127). */
export function qLoadLoose(sign: u32, exp: i32, hi: u64, lo: u64): void {
  if (hi === 0) {
    hi = lo;
    lo = 0;
    exp -= 64;
  }
  if (hi !== 0) {
    const n = i32(clz(hi));
    if (n) {
      hi = (hi << n) | (lo >> (64 - n));
      lo <<= n;
      exp -= n;
    }
  }
  qLoad(sign, exp, hi, lo);
}

export function qAdd(sign: u32, exp: i32, hi: u64, lo: u64): void {
  if (hi === 0) return;
  if (qHi === 0) {
    qLoad(sign, exp, hi, lo);
    return;
  }
  addWide(qSign, qExp, qHi, qLo, sign, exp, hi, lo);
  qLoad(zSign, zExp, zHi, zLo);
}

export function qMul(sign: u32, exp: i32, hi: u64, lo: u64): void {
  if (qHi === 0) return;
  if (hi === 0) {
    qLoad(0, 0, 0, 0);
    return;
  }
  let h = mulHi(qHi, hi);
  const l0 = qHi * hi;
  const l1 = l0 + mulHi(qHi, lo);
  h += u64(l1 < l0);
  const l2 = l1 + mulHi(qLo, hi);
  h += u64(l2 < l1);
  qLoadLoose(qSign ^ sign, qExp + exp + 1, h, l2);
}

/** Divide by a small integer (below 2^32). */
export function qDivSmall(n: u32): void {
  const d = <u64>n;
  const upper = qHi / d;
  let r = qHi % d;
  let part = (r << 32) | (qLo >> 32);
  const middle = part / d;
  r = part % d;
  part = (r << 32) | (qLo & 0xffffffff);
  qLoadLoose(qSign, qExp, upper, (middle << 32) | (part / d));
}

/** q = q / b. */
export function qDiv(sign: u32, exp: i32, bHi: u64, bLo: u64): void {
  if (qHi === 0) return;
  let e = qExp - exp;
  let h = qHi;
  let l = qLo;
  if (h >= bHi) {
    l = (l >> 1) | (h << 63);
    h >>= 1;
  } else {
    e--;
  }
  // By the upper word of b first, then correct for the lower one to first order.
  let q1 = divide128(h, l, bHi);
  let q0 = divide128(remainder, 0, bHi);
  // bLo / bHi as a fraction of 2^63.
  const small = divide128(bLo >> 1, bLo << 63, bHi);
  const product = mulHi(q1, small);
  const low = q0 - (product << 1);
  q1 = q1 - (product >> 63) - u64(q0 < product << 1);
  q0 = low;
  qLoadLoose(qSign ^ sign, e, q1, q0);
}
