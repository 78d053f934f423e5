// biome-ignore-all lint/correctness/noPrecisionLoss: integers have 64 bits here
/**
 * F2XM1, FYL2X, FYL2XP1 and FPATAN: series in 128-bit arithmetic, accurate as those of x87-trig.ts. Sources: SDM vol. 1,
 * 8.3.9, and the tables of the instructions in vol. 2.
 */

import { PE, raise, UE, ZE } from './control';
import {
  classOf,
  exponent,
  INFINITE,
  infinity,
  invalid,
  LEADING,
  noteDenormals,
  packDropping,
  propagateOne,
  propagateTwo,
  QUIET,
  result,
  rSe,
  signed,
  significand,
  ZERO,
} from './f80';
import { qAdd, qDiv, qDivSmall, qExp, qHi, qLo, qLoad, qMul, qSign } from './quad';
import { addWide, zExp, zHi, zLo } from './wide';
import { begin, finish, isEmpty, stSe, stSig, underflow } from './x87-stack';

/** Round the accumulator to a result. The true value is never exactly representable where this is used. */
function packQuad(sign: u32): void {
  packDropping(qSign ^ sign, qExp, qHi, qLo | 1, 0);
}

/** 2^x - 1 for |x| <= 1. */
function exponentialMinusOne(se: u32, sig: u64): void {
  const c = classOf(se, sig);
  const sign = se >> 15;
  if (c >= QUIET) {
    propagateOne(c, se, sig);
    return;
  }
  if (c === ZERO) {
    result(se, sig);
    return;
  }
  if (c === INFINITE) {
    sign ? result(0xbfff, LEADING) : result(se, sig);
    return;
  }
  noteDenormals(c, c);
  const e = exponent(se, sig);
  // The ends are exact (but reported inexact); beyond them the result is undefined and the operand stays.
  if (e >= 0) {
    raise(PE);
    if (e === 0 && sig === LEADING && sign) {
      result(0xbffe, LEADING);
      return;
    }
    result(se, sig);
    return;
  }
  qLoad(sign, e, significand(sig), 0);
  qMul(0, -1, 0xb17217f7d1cf79ab, 0xc9e3b39803f2f6af);
  const ye = qExp;
  const yHi = qHi;
  const yLo = qLo;
  // exp(y) - 1 = y · (1 + y/2 · (1 + y/3 · ...))
  qLoad(0, 0, LEADING, 0);
  for (let n: u32 = 26; n >= 2; n--) {
    qMul(sign, ye, yHi, yLo);
    qDivSmall(n);
    qAdd(0, 0, LEADING, 0);
  }
  qMul(sign, ye, yHi, yLo);
  packQuad(0);
}
export function f2xm1(cpu: usize): void {
  begin(cpu);
  if (isEmpty(cpu, 0)) underflow();
  else exponentialMinusOne(stSe(cpu, 0), stSig(cpu, 0));
  finish(cpu, 0, 0);
}

/** q = log2(1 + 2s/(1-s)) = 2/ln 2 · atanh(s) for the s in q, |s| < 1/4. */
function logSeries(): void {
  const ss = qSign;
  const se = qExp;
  const sHi = qHi;
  const sLo = qLo;
  qMul(ss, se, sHi, sLo);
  const e = qExp;
  const hi = qHi;
  const lo = qLo;
  let k = u32(112 / Math.min(-e, 112)) + 1;
  qLoad(0, 0, 0, 0);
  // Sum of s^2k / (2k+1), from the smallest.
  while (true) {
    qMul(0, e, hi, lo);
    const s = qSign;
    const pe = qExp;
    const pHi = qHi;
    const pLo = qLo;
    qLoad(0, 0, LEADING, 0);
    qDivSmall(2 * k + 1);
    qAdd(s, pe, pHi, pLo);
    if (k === 0) break;
    k--;
  }
  qMul(ss, se, sHi, sLo);
  // 2 / ln 2
  qMul(0, 1, 0xb8aa3b295c17f0bb, 0xbe87fed0691d3e88);
}
/** q = log2 of the positive number in q; exact powers of two give exact integers (or zero). */
function logOf(): void {
  let e = qExp;
  const hi = qHi;
  const lo = qLo;
  // m in [sqrt(1/2), sqrt(2))
  let m = 0;
  if (hi > 0xb504f333f9de6484) {
    e++;
    m = -1;
  }
  qLoad(0, m, hi, lo);
  qAdd(0, 0, LEADING, 0);
  const pe = qExp;
  const pHi = qHi;
  const pLo = qLo;
  qLoad(0, m, hi, lo);
  qAdd(1, 0, LEADING, 0);
  if (qHi !== 0) {
    qDiv(0, pe, pHi, pLo);
    logSeries();
  }
  if (e !== 0) {
    const whole = <u64>(e < 0 ? -e : e);
    const n = i32(clz(whole));
    qAdd(u32(e < 0), 63 - n, whole << n, 0);
  }
}
function isOne(se: u32, sig: u64): bool {
  return se === 0x3fff && sig === LEADING;
}

/** y · log2(x). */
function yLog(xSe: u32, xSig: u64, ySe: u32, ySig: u64): void {
  const cx = classOf(xSe, xSig);
  const cy = classOf(ySe, ySig);
  if (cx >= QUIET || cy >= QUIET) {
    propagateTwo(cx, xSe, xSig, cy, ySe, ySig);
    return;
  }
  const ySign = ySe >> 15;
  if (xSe >> 15 && cx !== ZERO) {
    invalid();
    return;
  }
  if (cx === ZERO) {
    if (cy === ZERO) {
      invalid();
      return;
    }
    if (cy === INFINITE) {
      infinity(ySign ^ 1);
      return;
    }
    raise(ZE);
    infinity(ySign ^ 1);
    return;
  }
  if (cx === INFINITE) {
    if (cy === ZERO) {
      invalid();
      return;
    }
    noteDenormals(cx, cy);
    infinity(ySign);
    return;
  }
  const below = u32((xSe & 0x7fff) < 0x3fff);
  if (cy === INFINITE) {
    if (isOne(xSe, xSig)) {
      invalid();
      return;
    }
    noteDenormals(cx, cy);
    infinity(ySign ^ below);
    return;
  }
  noteDenormals(cx, cy);
  if (cy === ZERO || isOne(xSe, xSig)) {
    result(signed(ySign ^ below), 0);
    return;
  }
  qLoad(0, exponent(xSe, xSig), significand(xSig), 0);
  const exact = significand(xSig) === LEADING;
  logOf();
  qMul(ySign, exponent(ySe, ySig), significand(ySig), 0);
  if (exact) {
    // A power of two: processors report the exact product as inexact all the same.
    packDropping(qSign, qExp, qHi, qLo, 0);
    raise((rSe & 0x7fff) === 0 ? UE | PE : PE);
  } else {
    packQuad(0);
  }
}
/** y · log2(1 + x). */
function yLogPlusOne(xSe: u32, xSig: u64, ySe: u32, ySig: u64): void {
  const cx = classOf(xSe, xSig);
  const cy = classOf(ySe, ySig);
  if (cx >= QUIET || cy >= QUIET) {
    propagateTwo(cx, xSe, xSig, cy, ySe, ySig);
    return;
  }
  const sign = (xSe ^ ySe) >> 15;
  if (cx === INFINITE) {
    if (xSe >> 15 || cy === ZERO) {
      invalid();
      return;
    }
    noteDenormals(cx, cy);
    infinity(sign);
    return;
  }
  if (cy === INFINITE) {
    if (cx === ZERO) {
      invalid();
      return;
    }
    noteDenormals(cx, cy);
    infinity(sign);
    return;
  }
  noteDenormals(cx, cy);
  if (cx === ZERO || cy === ZERO) {
    result(signed(sign), 0);
    return;
  }
  const e = exponent(xSe, xSig);
  // At and below -1 the result is undefined and the operand stays.
  if (xSe >> 15 && e >= 0) {
    raise(PE);
    result(xSe, xSig);
    return;
  }
  const xSign = xSe >> 15;
  const sig = significand(xSig);
  if (e < -1) {
    // s = x / (2 + x)
    addWide(0, 1, LEADING, 0, xSign, e, sig, 0);
    const pe = zExp;
    const pHi = zHi;
    const pLo = zLo;
    qLoad(xSign, e, sig, 0);
    qDiv(0, pe, pHi, pLo);
    logSeries();
  } else {
    addWide(0, 0, LEADING, 0, xSign, e, sig, 0);
    qLoad(0, zExp, zHi, zLo);
    logOf();
  }
  qMul(ySe >> 15, exponent(ySe, ySig), significand(ySig), 0);
  packQuad(0);
}
function logInstruction(cpu: usize, plusOne: bool): void {
  begin(cpu);
  if (isEmpty(cpu, 0) || isEmpty(cpu, 1)) underflow();
  else if (plusOne) yLogPlusOne(stSe(cpu, 0), stSig(cpu, 0), stSe(cpu, 1), stSig(cpu, 1));
  else yLog(stSe(cpu, 0), stSig(cpu, 0), stSe(cpu, 1), stSig(cpu, 1));
  finish(cpu, 1, 1);
}
export function fyl2x(cpu: usize): void {
  logInstruction(cpu, false);
}
export function fyl2xp1(cpu: usize): void {
  logInstruction(cpu, true);
}

/** atan(k/8) for k = 1..8: exponent, upper and lower word. */
const ATAN_TABLE = memory.data<u64>([
  -4, 0xfeadd4d5617b6e32, 0xc897989f3e888ef7, -3, 0xfadbafc96406eb15, 0x6dc79ef5f7a217e5, -2,
  0xb7b0ca0f26f78473, 0x8aa32122dcfe4483, -2, 0xed63382b0dda7b45, 0x6fe445ecbc3a8d03, -1, 0x8f005d5ef7f59f9b,
  0x5c835e1665c43747, -1, 0xa4bc7d1934f70924, 0x19a87f2a457dac9e, -1, 0xb8053e2bc2319e73, 0xcb2da55210a4443d,
  -1, 0xc90fdaa22168c234, 0xc4c6628b80dc1cd1,
]);
const PI_HI: u64 = 0xc90fdaa22168c234;
const PI_LO: u64 = 0xc4c6628b80dc1cd1;

/** q = atan(n / d) for positive n <= d. */
function atanRatio(nExp: i32, n: u64, dExp: i32, d: u64): void {
  // k/8 nearest to the ratio.
  qLoad(0, nExp, n, 0);
  qDiv(0, dExp, d, 0);
  let k: u32 = 0;
  if (qExp >= -4) k = (u32(qHi >> (59 - qExp)) + 1) >> 1;
  if (k) {
    // u = (8n - kd) / (8d + kn)
    const kn = i32(clz(k));
    const ke = 31 - kn;
    const kSig = (<u64>k) << (kn + 32);
    qLoad(0, nExp, n, 0);
    qMul(0, ke, kSig, 0);
    qAdd(0, dExp + 3, d, 0);
    const pe = qExp;
    const pHi = qHi;
    const pLo = qLo;
    qLoad(1, dExp, d, 0);
    qMul(0, ke, kSig, 0);
    qAdd(0, nExp + 3, n, 0);
    qDiv(0, pe, pHi, pLo);
  }
  const us = qSign;
  const ue = qExp;
  const uHi = qHi;
  const uLo = qLo;
  if (uHi !== 0) {
    qMul(us, ue, uHi, uLo);
    const e = qExp;
    const hi = qHi;
    const lo = qLo;
    let j = u32(112 / Math.min(-e, 112)) + 1;
    qLoad(0, 0, 0, 0);
    while (true) {
      qMul(1, e, hi, lo);
      const s = qSign;
      const pe = qExp;
      const pHi = qHi;
      const pLo = qLo;
      qLoad(0, 0, LEADING, 0);
      qDivSmall(2 * j + 1);
      qAdd(s, pe, pHi, pLo);
      if (j === 0) break;
      j--;
    }
    qMul(us, ue, uHi, uLo);
  }
  if (k) {
    const at = ATAN_TABLE + (k - 1) * 24;
    qAdd(0, i32(load<u64>(at)), load<u64>(at, 8), load<u64>(at, 16));
  }
}

/** atan2(y, x). */
function arcTangent(xSe: u32, xSig: u64, ySe: u32, ySig: u64): void {
  const cx = classOf(xSe, xSig);
  const cy = classOf(ySe, ySig);
  if (cx >= QUIET || cy >= QUIET) {
    propagateTwo(cx, xSe, xSig, cy, ySe, ySig);
    return;
  }
  const left = xSe >> 15;
  const sign = ySe >> 15;
  noteDenormals(cx, cy);
  if (cy === ZERO || (cx === INFINITE && cy !== INFINITE)) {
    if (!left) {
      result(signed(sign), 0);
      return;
    }
    packDropping(sign, 1, PI_HI, PI_LO, 0);
    return;
  }
  if (cy === INFINITE && cx === INFINITE) {
    if (!left) {
      packDropping(sign, -1, PI_HI, PI_LO, 0);
      return;
    }
    packDropping(sign, 1, 0x96cbe3f9990e91a7, 0x9394c9e8a0a5159c, 0);
    return;
  }
  if (cy === INFINITE || cx === ZERO) {
    packDropping(sign, 0, PI_HI, PI_LO, 0);
    return;
  }
  const xe = exponent(xSe, xSig);
  const ye = exponent(ySe, ySig);
  const x = significand(xSig);
  const y = significand(ySig);
  if (ye > xe || (ye === xe && y > x)) {
    // Above the diagonal: pi/2 -+ atan(x / y)
    atanRatio(xe, x, ye, y);
    qLoad(left ^ 1, qExp, qHi, qLo);
    qAdd(0, 0, PI_HI, PI_LO);
  } else {
    atanRatio(ye, y, xe, x);
    if (left) {
      qLoad(1, qExp, qHi, qLo);
      qAdd(0, 1, PI_HI, PI_LO);
    }
  }
  packQuad(sign);
}
export function fpatan(cpu: usize): void {
  begin(cpu);
  if (isEmpty(cpu, 0) || isEmpty(cpu, 1)) underflow();
  else arcTangent(stSe(cpu, 0), stSig(cpu, 0), stSe(cpu, 1), stSig(cpu, 1));
  finish(cpu, 1, 1);
}
