/**
 * The 80-bit format and its arithmetic. A number is a pair (se, sig): sign and exponent as in the upper 16 bits, and the
 * 64-bit significand with its explicit leading one. Results come back in `rSe`, `rSig` and `roundedUp`; exceptions go to
 * control.ts. Sources: SDM vol. 1, 4.2.2, 4.8.3 and 8.5; table 4-7 (which NaN a result is).
 */

import { DE, IE, masks, OE, PE, RC_DOWN, RC_NEAREST, raise, rounding, UE, ZE } from './control';
import { addWide, divWide, mulWide, shiftRightSticky, sqrtWide, zExp, zHi, zLo, zSign } from './wide';

export const ZERO: i32 = 0;
export const NORMAL: i32 = 1;
/** Includes pseudo-denormals, whose leading one is set. */
export const DENORMAL: i32 = 2;
export const INFINITE: i32 = 3;
export const QUIET: i32 = 4;
export const SIGNALLING: i32 = 5;
/** Unnormals, pseudo-infinities and pseudo-NaNs. */
export const UNSUPPORTED: i32 = 6;

export const LEADING: u64 = 0x8000000000000000;
const QUIET_BIT: u64 = 0x4000000000000000;
export const EXPONENT_BIAS: i32 = 16383;
const EXPONENT_MIN: i32 = -16382;
/** What the exponent of an unmasked overflow or underflow is moved by. */
const WRAP: i32 = 24576;

export let rSe: u32 = 0;
export let rSig: u64 = 0;
/** The last rounding increased the magnitude (C1). */
export let roundedUp: bool = false;
/** Significand bits that precision control drops: 0, 11 or 40. */
export let precisionDrop: i32 = 0;
/** A memory operand was denormal in its own format, which its 80-bit form no longer shows. */
export let memoryDenormal: bool = false;

export function setPrecisionDrop(drop: i32): void {
  precisionDrop = drop;
}
export function setMemoryDenormal(denormal: bool): void {
  memoryDenormal = denormal;
}
export function setRoundedUp(up: bool): void {
  roundedUp = up;
}
export function result(se: u32, sig: u64): void {
  rSe = se;
  rSig = sig;
}
/** The indefinite: a negative quiet NaN. */
export function indefinite(): void {
  rSe = 0xffff;
  rSig = 0xc000000000000000;
}
export function invalid(): void {
  raise(IE);
  indefinite();
}
export function signed(sign: u32): u32 {
  return sign << 15;
}
export function infinity(sign: u32): void {
  result(signed(sign) | 0x7fff, LEADING);
}

export function classOf(se: u32, sig: u64): i32 {
  const field = se & 0x7fff;
  if (field === 0) return sig === 0 ? ZERO : DENORMAL;
  if (sig >> 63 === 0) return UNSUPPORTED;
  if (field !== 0x7fff) return NORMAL;
  if (sig << 1 === 0) return INFINITE;
  return sig & QUIET_BIT ? QUIET : SIGNALLING;
}
/** Exponent of a finite nonzero number with its significand normalized. */
export function exponent(se: u32, sig: u64): i32 {
  const field = i32(se & 0x7fff);
  return field ? field - EXPONENT_BIAS : EXPONENT_MIN - i32(clz(sig));
}
export function significand(sig: u64): u64 {
  return sig << clz(sig);
}

let kept: u64 = 0;
let carried: bool = false;
let lost: bool = false;
/** Round hi:lo to the upper 64 - drop bits: `kept` (in place), `carried` out of bit 63, `lost` anything, roundedUp. */
function roundSignificand(sign: u32, hi: u64, lo: u64, drop: i32): void {
  let up = false;
  if (drop === 0) {
    lost = lo !== 0;
    if (lost)
      up =
        rounding === RC_NEAREST ? lo > LEADING || (lo === LEADING && (hi & 1) !== 0) : rounding === 2 - sign;
    kept = hi + u64(up);
  } else {
    const unit = (<u64>1) << drop;
    const half = unit >> 1;
    const rest = hi & (unit - 1);
    lost = (rest | lo) !== 0;
    if (lost) {
      up =
        rounding === RC_NEAREST
          ? rest > half || (rest === half && (lo !== 0 || (hi & unit) !== 0))
          : rounding === 2 - sign;
    }
    kept = hi - rest + (up ? unit : 0);
  }
  carried = up && kept === 0;
  roundedUp = up;
}

/** Round with the given precision (0, 11 or 40 bits dropped) and pack; raises OE, UE, PE. */
export function packDropping(sign: u32, exp: i32, hi: u64, lo: u64, drop: i32): void {
  roundSignificand(sign, hi, lo, drop);
  let e = exp;
  let sig = kept;
  if (carried) {
    sig = LEADING;
    e++;
  }
  if (e < EXPONENT_MIN) {
    if ((masks & UE) === 0) {
      raise(lost ? UE | PE : UE);
      e += WRAP;
      // Beyond what wrapping reaches (fscale): as if it were masked zero.
      if (e < EXPONENT_MIN) {
        raise(PE);
        roundedUp = false;
        result(signed(sign), 0);
        return;
      }
      result(signed(sign) | u32(e + EXPONENT_BIAS), sig);
      return;
    }
    shiftRightSticky(hi, lo, EXPONENT_MIN - exp);
    roundSignificand(sign, zHi, zLo, drop);
    if (lost) raise(UE | PE);
    result(signed(sign) | u32(kept >> 63), kept);
    return;
  }
  if (e > EXPONENT_BIAS) {
    if ((masks & OE) === 0) {
      raise(lost ? OE | PE : OE);
      e -= WRAP;
      if (e > EXPONENT_BIAS) {
        // Beyond what wrapping reaches (fscale).
        raise(PE);
        roundedUp = true;
        infinity(sign);
        return;
      }
      result(signed(sign) | u32(e + EXPONENT_BIAS), sig);
      return;
    }
    raise(OE | PE);
    roundedUp = rounding === RC_NEAREST || rounding === 2 - sign;
    if (roundedUp) {
      infinity(sign);
      return;
    }
    result(signed(sign) | 0x7ffe, (<u64>-1 >> drop) << drop);
    return;
  }
  if (lost) raise(PE);
  result(signed(sign) | u32(e + EXPONENT_BIAS), sig);
}
/** As precision control says. */
export function pack(sign: u32, exp: i32, hi: u64, lo: u64): void {
  packDropping(sign, exp, hi, lo, precisionDrop);
}

function isNan(c: i32): bool {
  return c >= QUIET;
}
/** One NaN operand, or an unsupported one. */
export function propagateOne(c: i32, se: u32, sig: u64): void {
  if (c === UNSUPPORTED) {
    invalid();
    return;
  }
  if (c === SIGNALLING) raise(IE);
  result(se, sig | QUIET_BIT);
}
/** Which NaN an operation with at least one gives: quiet before signalling, then the larger significand, then positive. */
export function propagateTwo(ca: i32, aSe: u32, aSig: u64, cb: i32, bSe: u32, bSig: u64): void {
  if (ca === UNSUPPORTED || cb === UNSUPPORTED) {
    invalid();
    return;
  }
  if (ca === SIGNALLING || cb === SIGNALLING) raise(IE);
  let first: bool;
  if (!isNan(cb)) first = true;
  else if (!isNan(ca)) first = false;
  else if (ca !== cb) first = ca === QUIET;
  else if (aSig !== bSig) first = aSig > bSig;
  else first = (aSe & 0x8000) === 0;
  if (first) result(aSe, aSig | QUIET_BIT);
  else result(bSe, bSig | QUIET_BIT);
}
export function noteDenormals(ca: i32, cb: i32): void {
  if (ca === DENORMAL || cb === DENORMAL || memoryDenormal) raise(DE);
}

export function add80(aSe: u32, aSig: u64, bSe: u32, bSig: u64, subtract: bool): void {
  const ca = classOf(aSe, aSig);
  const cb = classOf(bSe, bSig);
  if (ca >= QUIET || cb >= QUIET) {
    propagateTwo(ca, aSe, aSig, cb, bSe, bSig);
    return;
  }
  const aSign = aSe >> 15;
  const bSign = (bSe >> 15) ^ u32(subtract);
  if (ca === INFINITE && cb === INFINITE && aSign !== bSign) {
    invalid();
    return;
  }
  noteDenormals(ca, cb);
  if (ca === INFINITE) {
    infinity(aSign);
    return;
  }
  if (cb === INFINITE) {
    infinity(bSign);
    return;
  }
  if (cb === ZERO) {
    if (ca === ZERO) {
      result(signed(aSign === bSign ? aSign : u32(rounding === RC_DOWN)), 0);
      return;
    }
    pack(aSign, exponent(aSe, aSig), significand(aSig), 0);
    return;
  }
  if (ca === ZERO) {
    pack(bSign, exponent(bSe, bSig), significand(bSig), 0);
    return;
  }
  addWide(aSign, exponent(aSe, aSig), significand(aSig), 0, bSign, exponent(bSe, bSig), significand(bSig), 0);
  if (zHi === 0) {
    result(signed(u32(rounding === RC_DOWN)), 0);
    return;
  }
  pack(zSign, zExp, zHi, zLo);
}

export function mul80(aSe: u32, aSig: u64, bSe: u32, bSig: u64): void {
  const ca = classOf(aSe, aSig);
  const cb = classOf(bSe, bSig);
  if (ca >= QUIET || cb >= QUIET) {
    propagateTwo(ca, aSe, aSig, cb, bSe, bSig);
    return;
  }
  const sign = (aSe ^ bSe) >> 15;
  if (ca === INFINITE || cb === INFINITE) {
    if (ca === ZERO || cb === ZERO) {
      invalid();
      return;
    }
    noteDenormals(ca, cb);
    infinity(sign);
    return;
  }
  noteDenormals(ca, cb);
  if (ca === ZERO || cb === ZERO) {
    result(signed(sign), 0);
    return;
  }
  mulWide(sign, exponent(aSe, aSig), significand(aSig), exponent(bSe, bSig), significand(bSig));
  pack(zSign, zExp, zHi, zLo);
}

export function div80(aSe: u32, aSig: u64, bSe: u32, bSig: u64): void {
  const ca = classOf(aSe, aSig);
  const cb = classOf(bSe, bSig);
  if (ca >= QUIET || cb >= QUIET) {
    propagateTwo(ca, aSe, aSig, cb, bSe, bSig);
    return;
  }
  const sign = (aSe ^ bSe) >> 15;
  if (ca === INFINITE) {
    if (cb === INFINITE) {
      invalid();
      return;
    }
    noteDenormals(ca, cb);
    infinity(sign);
    return;
  }
  if (cb === ZERO) {
    if (ca === ZERO) {
      invalid();
      return;
    }
    raise(ZE);
    infinity(sign);
    return;
  }
  noteDenormals(ca, cb);
  if (cb === INFINITE || ca === ZERO) {
    result(signed(sign), 0);
    return;
  }
  divWide(sign, exponent(aSe, aSig), significand(aSig), exponent(bSe, bSig), significand(bSig));
  pack(zSign, zExp, zHi, zLo);
}

export function sqrt80(se: u32, sig: u64): void {
  const c = classOf(se, sig);
  if (c >= QUIET) {
    propagateOne(c, se, sig);
    return;
  }
  if (c === ZERO) {
    result(se, sig);
    return;
  }
  if (se >> 15) {
    invalid();
    return;
  }
  if (c === INFINITE) {
    result(se, sig);
    return;
  }
  noteDenormals(c, c);
  sqrtWide(exponent(se, sig), significand(sig));
  pack(0, zExp, zHi, zLo);
}

export const LESS: i32 = 0;
export const EQUAL: i32 = 1;
export const GREATER: i32 = 2;
export const UNORDERED: i32 = 3;
/** Compare; an ordered comparison (not `quiet`) finds quiet NaNs invalid. */
export function compare80(aSe: u32, aSig: u64, bSe: u32, bSig: u64, quiet: bool): i32 {
  const ca = classOf(aSe, aSig);
  const cb = classOf(bSe, bSig);
  if (ca >= QUIET || cb >= QUIET) {
    if (!quiet || ca > QUIET || cb > QUIET) raise(IE);
    return UNORDERED;
  }
  noteDenormals(ca, cb);
  if (ca === ZERO && cb === ZERO) return EQUAL;
  const aSign = aSe >> 15;
  const bSign = bSe >> 15;
  if (aSign !== bSign) return aSign ? LESS : GREATER;
  // A pseudo-denormal has the exponent of the smallest normal numbers.
  const ea = (aSe & 0x7fff) + u32(ca === DENORMAL);
  const eb = (bSe & 0x7fff) + u32(cb === DENORMAL);
  if (ca === ZERO) return aSign ? GREATER : LESS;
  if (cb === ZERO) return aSign ? LESS : GREATER;
  if (ea === eb && aSig === bSig) return EQUAL;
  const smaller = ea < eb || (ea === eb && aSig < bSig);
  return smaller !== (aSign !== 0) ? LESS : GREATER;
}
