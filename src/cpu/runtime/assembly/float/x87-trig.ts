// biome-ignore-all lint/correctness/noPrecisionLoss: integers have 64 bits here
/**
 * FSIN, FCOS, FSINCOS and FPTAN. Arguments are reduced with the 66-bit pi of the x87, the rest is series in 128-bit
 * arithmetic: results are the rounded function of the reduced argument but for very rare ties; processors differ among
 * themselves by up to one unit in the last place. Precision control does not apply. Sources: SDM vol. 1, 8.3.6 to 8.3.10,
 * and the tables of the instructions in vol. 2.
 */

import {
  classOf,
  EXPONENT_BIAS,
  exponent,
  INFINITE,
  invalid,
  LEADING,
  noteDenormals,
  packDropping,
  propagateOne,
  QUIET,
  result,
  rSe,
  rSig,
  significand,
  ZERO,
} from './f80';
import { qAdd, qDiv, qDivSmall, qExp, qHi, qLo, qLoad, qLoadLoose, qMul, qSign } from './quad';
import {
  begin,
  blocked,
  C1,
  C2,
  isEmpty,
  moveTop,
  put,
  report,
  setStatus,
  status,
  stSe,
  stSig,
  underflow,
} from './x87-stack';

/** Round the accumulator to a result. The true value is never exactly representable where this is used. */
function packQuad(sign: u32): void {
  packDropping(qSign ^ sign, qExp, qHi, qLo | 1, 0);
}

let reducedSign: u32 = 0;
let reducedExp: i32 = 0;
let reducedHi: u64 = 0;
let reducedLo: u64 = 0;
/** |x| = quadrant · pi/2 + reduced, |reduced| <= pi/4; returns the quadrant modulo 4. exp < 63. */
function reduce(exp: i32, sig: u64): u32 {
  reducedSign = 0;
  if (exp < -1) {
    reducedExp = exp;
    reducedHi = sig;
    reducedLo = 0;
    return 0;
  }
  // Long division by pi/2 = 0x3.243f6a8885a308d3 / 2 in units of 2^-65: 66 bits, as many as the x87 has.
  const pHi: u64 = 3;
  const pLo: u64 = 0x243f6a8885a308d3;
  let hi: u64 = 0;
  let lo = sig;
  let quotient: u32 = 0;
  for (let i = exp + 2; i > 0; i--) {
    hi = (hi << 1) | (lo >> 63);
    lo <<= 1;
    quotient <<= 1;
    if (hi > pHi || (hi === pHi && lo >= pLo)) {
      hi = hi - pHi - u64(lo < pLo);
      lo -= pLo;
      quotient |= 1;
    }
  }
  // More than half of pi/2: from the other side.
  const halfHi: u64 = 1;
  const halfLo: u64 = 0x921fb54442d18469;
  if (hi > halfHi || (hi === halfHi && lo > halfLo)) {
    const l = pLo - lo;
    hi = pHi - hi - u64(pLo < lo);
    lo = l;
    reducedSign = 1;
    quotient++;
  }
  qLoadLoose(0, 62, hi, lo);
  reducedExp = qExp;
  reducedHi = qHi;
  reducedLo = qLo;
  return quotient & 3;
}

/** q = sin(reduced) (odd) or cos(reduced): 1 - r²/(k·(k+1))·(1 - ...). */
function series(odd: bool): void {
  qLoad(0, reducedExp, reducedHi, reducedLo);
  qMul(0, reducedExp, reducedHi, reducedLo);
  const e = qExp;
  const hi = qHi;
  const lo = qLo;
  qLoad(0, 0, LEADING, 0);
  for (let k: i32 = odd ? 26 : 25; k > 0; k -= 2) {
    qMul(1, e, hi, lo);
    qDivSmall(k * (k + 1));
    qAdd(0, 0, LEADING, 0);
  }
  if (odd) qMul(reducedSign, reducedExp, reducedHi, reducedLo);
}
/** q = sin or cos of the reduced argument in its quadrant. */
function sinOf(quadrant: u32): void {
  series((quadrant & 1) === 0);
  if (quadrant & 2) qLoad(qSign ^ 1, qExp, qHi, qLo);
}

const SIN: i32 = 0;
const COS: i32 = 1;
const BOTH: i32 = 2;
const TAN: i32 = 3;

let firstSe: u32 = 0;
let firstSig: u64 = 0;
/** The results of a trigonometric instruction: the one that replaces ST(0) in first, the pushed one in r. */
function trigonometric(kind: i32, se: u32, sig: u64): bool {
  const c = classOf(se, sig);
  const sign = se >> 15;
  if (c >= QUIET || c === INFINITE) {
    if (c === INFINITE) invalid();
    else propagateOne(c, se, sig);
    firstSe = rSe;
    firstSig = rSig;
    return true;
  }
  if (c === ZERO) {
    firstSe = se;
    firstSig = sig;
    result(EXPONENT_BIAS, LEADING);
    return true;
  }
  const e = exponent(se, sig);
  if (e >= 63) return false;
  noteDenormals(c, c);
  const quadrant = reduce(e, significand(sig));
  if (kind === TAN) {
    series(true);
    const s = qSign;
    const se1 = qExp;
    const hi = qHi;
    const lo = qLo;
    series(false);
    if (quadrant & 1) {
      // tan(r + pi/2) = -cos r / sin r
      qDiv(s ^ 1, se1, hi, lo);
    } else {
      const ce = qExp;
      const chi = qHi;
      const clo = qLo;
      qLoad(s, se1, hi, lo);
      qDiv(0, ce, chi, clo);
    }
    packQuad(sign);
    firstSe = rSe;
    firstSig = rSig;
    result(EXPONENT_BIAS, LEADING);
    return true;
  }
  if (kind !== COS) {
    sinOf(quadrant);
    packQuad(sign);
    firstSe = rSe;
    firstSig = rSig;
  }
  if (kind !== SIN) {
    sinOf(quadrant + 1);
    packQuad(0);
  }
  return true;
}
function clearC2(cpu: usize, value: u32): void {
  setStatus(cpu, (status(cpu) & ~(C2 | C1)) | value);
}
function trigonometricInstruction(cpu: usize, kind: i32): void {
  begin(cpu);
  const pushes = kind === BOTH || kind === TAN;
  if (isEmpty(cpu, 0) || (pushes && !isEmpty(cpu, 7))) {
    const overflow = !isEmpty(cpu, 0);
    underflow();
    clearC2(cpu, 0);
    if (!blocked()) {
      put(cpu, 0);
      if (pushes) {
        moveTop(cpu, 7);
        put(cpu, 0);
      }
    }
    report(cpu);
    if (overflow) setStatus(cpu, status(cpu) | C1);
    return;
  }
  if (!trigonometric(kind, stSe(cpu, 0), stSig(cpu, 0))) {
    clearC2(cpu, C2);
    return;
  }
  clearC2(cpu, 0);
  if (!blocked()) {
    const lastSe = rSe;
    const lastSig = rSig;
    if (kind !== COS) {
      result(firstSe, firstSig);
      put(cpu, 0);
    }
    if (pushes) moveTop(cpu, 7);
    if (kind !== SIN) {
      result(lastSe, lastSig);
      put(cpu, 0);
    }
  }
  report(cpu);
}
export function fsin(cpu: usize): void {
  trigonometricInstruction(cpu, SIN);
}
export function fcos(cpu: usize): void {
  trigonometricInstruction(cpu, COS);
}
export function fsincos(cpu: usize): void {
  trigonometricInstruction(cpu, BOTH);
}
export function fptan(cpu: usize): void {
  trigonometricInstruction(cpu, TAN);
}
