/**
 * x87 arithmetic and comparison instructions. `op` is the number that the instruction encoding has for an operation: 0 add,
 * 1 mul, 2 com, 3 comp, 4 sub, 5 subr, 6 div, 7 divr. Registers are stack-relative. Exceptions are left pending in
 * FSW, for the next waiting instruction.
 */

import { PE, raise, raised, ZE } from './control';
import {
  add80,
  classOf,
  compare80,
  DENORMAL,
  div80,
  EQUAL,
  EXPONENT_BIAS,
  exponent,
  GREATER,
  INFINITE,
  infinity,
  invalid,
  LEADING,
  LESS,
  memoryDenormal,
  mul80,
  noteDenormals,
  packDropping,
  propagateOne,
  propagateTwo,
  QUIET,
  result,
  rSe,
  rSig,
  SIGNALLING,
  setMemoryDenormal,
  setRoundedUp,
  signed,
  significand,
  sqrt80,
  UNSUPPORTED,
  ZERO,
} from './f80';
import {
  exponentOf,
  infinity as infinityOf,
  isDenormal,
  magnitude,
  precision,
  significandOf,
  signOf,
} from './format';
import { inexact, roundedUp as integerRoundedUp, roundMagnitude } from './integer';
import { divide128, remainder } from './wide';
import { quickArithmetic, quickArithmeticWith, quickSign } from './x87-quick';
import {
  begin,
  blocked,
  C0,
  C1,
  C2,
  C3,
  finish,
  isEmpty,
  moveTop,
  popStack,
  put,
  report,
  SF,
  setConditions,
  setStatus,
  status,
  stSe,
  stSig,
  underflow,
} from './x87-stack';

/** Widen a memory operand; a signalling NaN stays one. The result goes to rSe, rSig. */
export function widen<T>(a: u64): void {
  const sign = signOf<T>(a);
  const m = magnitude<T>(a);
  if (m === 0) {
    result(signed(sign), 0);
    return;
  }
  if (m >= infinityOf<T>()) {
    result(signed(sign) | 0x7fff, LEADING | (m << (64 - precision<T>())));
    return;
  }
  if (isDenormal<T>(a)) setMemoryDenormal(true);
  result(signed(sign) | u32(exponentOf<T>(a) + EXPONENT_BIAS), significandOf<T>(a));
}
export function widenInteger(value: i64): void {
  if (value === 0) {
    result(0, 0);
    return;
  }
  const sign = u32(value < 0);
  const whole = sign ? 0 - <u64>value : <u64>value;
  const n = clz(whole);
  result(signed(sign) | u32(EXPONENT_BIAS + 63 - i32(n)), whole << n);
}

function operate(op: u32, aSe: u32, aSig: u64, bSe: u32, bSig: u64): void {
  switch (op) {
    case 0:
      add80(aSe, aSig, bSe, bSig, false);
      return;
    case 1:
      mul80(aSe, aSig, bSe, bSig);
      return;
    case 4:
      add80(aSe, aSig, bSe, bSig, true);
      return;
    case 5:
      add80(bSe, bSig, aSe, aSig, true);
      return;
    case 6:
      div80(aSe, aSig, bSe, bSig);
      return;
    default:
      div80(bSe, bSig, aSe, aSig);
      return;
  }
}

function conditions(relation: i32): u32 {
  return relation === LESS ? C0 : relation === EQUAL ? C3 : relation === GREATER ? 0 : C0 | C2 | C3;
}
/** Compare ST(0) with an operand and pop; empty says that an operand is missing. */
function compareWith(cpu: usize, empty: bool, se: u32, sig: u64, quiet: bool, pops: u32): void {
  let codes = C0 | C2 | C3;
  if (empty) underflow();
  else codes = conditions(compare80(stSe(cpu, 0), stSig(cpu, 0), se, sig, quiet));
  // The codes tell the outcome even when an unmasked exception keeps the instruction from popping.
  setConditions(cpu, codes);
  if (!blocked()) while (pops--) popStack(cpu);
  report(cpu);
}

/** ST(dst) = ST(dst) op ST(src), for the operations but com and comp; then `pop` pops (0 or 1). */
export function farith(cpu: usize, op: u32, dst: u32, src: u32, pop: u32): void {
  if (quickArithmetic(cpu, op, dst, src, pop)) return;
  begin(cpu);
  if (isEmpty(cpu, dst) || isEmpty(cpu, src)) underflow();
  else operate(op, stSe(cpu, dst), stSig(cpu, dst), stSe(cpu, src), stSig(cpu, src));
  finish(cpu, dst, pop);
}
function withMemory(cpu: usize, op: u32): void {
  const se = rSe;
  const sig = rSig;
  const empty = isEmpty(cpu, 0);
  if (op === 2 || op === 3) {
    compareWith(cpu, empty, se, sig, false, op & 1);
    return;
  }
  if (empty) underflow();
  else operate(op, stSe(cpu, 0), stSig(cpu, 0), se, sig);
  finish(cpu, 0, 0);
}
/** ST(0) = ST(0) op memory (all eight operations); the operand as its bit pattern. */
export function farithMem32(cpu: usize, op: u32, bits: u32): void {
  begin(cpu);
  widen<f32>(<u64>bits);
  if (!memoryDenormal && quickArithmeticWith(cpu, op, rSe, rSig)) return;
  withMemory(cpu, op);
}
export function farithMem64(cpu: usize, op: u32, bits: u64): void {
  begin(cpu);
  widen<f64>(bits);
  if (!memoryDenormal && quickArithmeticWith(cpu, op, rSe, rSig)) return;
  withMemory(cpu, op);
}
/** The integer forms (fiadd ...): a 16-bit operand comes sign-extended. */
export function farithInt(cpu: usize, op: u32, value: i32): void {
  begin(cpu);
  widenInteger(value);
  if (quickArithmeticWith(cpu, op, rSe, rSig)) return;
  withMemory(cpu, op);
}

/** FCOM, FCOMP, FCOMPP (pops 0, 1, 2); `unordered` makes it FUCOM. */
export function fcom(cpu: usize, src: u32, pops: u32, unordered: u32): void {
  begin(cpu);
  const empty = isEmpty(cpu, 0) || isEmpty(cpu, src);
  compareWith(cpu, empty, stSe(cpu, src), stSig(cpu, src), unordered !== 0, pops);
}
export function ftst(cpu: usize): void {
  begin(cpu);
  compareWith(cpu, isEmpty(cpu, 0), 0, 0, false, 0);
}
/** FCOMI, FUCOMI: the EFLAGS bits ZF, PF, CF, valid even when an unmasked exception is now pending. */
export function fcomi(cpu: usize, src: u32, pop: u32, unordered: u32): i32 {
  begin(cpu);
  let flags = 0x45;
  // FCOMI and FUCOMI leave C1 alone, except that a stack fault clears it.
  const c1 = status(cpu) & C1;
  if (isEmpty(cpu, 0) || isEmpty(cpu, src)) {
    underflow();
  } else {
    const r = compare80(stSe(cpu, 0), stSig(cpu, 0), stSe(cpu, src), stSig(cpu, src), unordered !== 0);
    flags = r === LESS ? 1 : r === EQUAL ? 0x40 : r === GREATER ? 0 : 0x45;
  }
  if (pop && !blocked()) popStack(cpu);
  const keep = (raised & SF) === 0;
  report(cpu);
  if (keep) setStatus(cpu, status(cpu) | c1);
  return flags;
}
export function fxam(cpu: usize): void {
  const se = stSe(cpu, 0);
  let codes: u32;
  if (isEmpty(cpu, 0)) {
    codes = C3 | C0;
  } else {
    switch (classOf(se, stSig(cpu, 0))) {
      case ZERO:
        codes = C3;
        break;
      case DENORMAL:
        codes = C3 | C2;
        break;
      case INFINITE:
        codes = C2 | C0;
        break;
      case QUIET:
      case SIGNALLING:
        codes = C0;
        break;
      case UNSUPPORTED:
        codes = 0;
        break;
      default:
        codes = C2;
    }
  }
  setConditions(cpu, codes);
  setStatus(cpu, (status(cpu) & ~C1) | (se >> 15 ? C1 : 0));
}

export function fsqrt(cpu: usize): void {
  begin(cpu);
  if (isEmpty(cpu, 0)) underflow();
  else sqrt80(stSe(cpu, 0), stSig(cpu, 0));
  finish(cpu, 0, 0);
}
export function fchs(cpu: usize): void {
  if (quickSign(cpu, 0xffff, 0x8000)) return;
  begin(cpu);
  if (isEmpty(cpu, 0)) underflow();
  else result(stSe(cpu, 0) ^ 0x8000, stSig(cpu, 0));
  finish(cpu, 0, 0);
}
export function fabs(cpu: usize): void {
  if (quickSign(cpu, 0x7fff, 0)) return;
  begin(cpu);
  if (isEmpty(cpu, 0)) underflow();
  else result(stSe(cpu, 0) & 0x7fff, stSig(cpu, 0));
  finish(cpu, 0, 0);
}

function roundToInteger(se: u32, sig: u64): void {
  const c = classOf(se, sig);
  if (c >= QUIET) {
    propagateOne(c, se, sig);
    return;
  }
  if (c === ZERO || c === INFINITE) {
    result(se, sig);
    return;
  }
  noteDenormals(c, c);
  const e = exponent(se, sig);
  if (e >= 63) {
    result(se, sig);
    return;
  }
  const sign = se >> 15;
  const whole = roundMagnitude(sign, e, significand(sig));
  if (inexact) raise(PE);
  setRoundedUp(integerRoundedUp);
  if (whole === 0) {
    result(signed(sign), 0);
    return;
  }
  const n = clz(whole);
  result(signed(sign) | u32(EXPONENT_BIAS + 63 - i32(n)), whole << n);
}
export function frndint(cpu: usize): void {
  begin(cpu);
  if (isEmpty(cpu, 0)) underflow();
  else roundToInteger(stSe(cpu, 0), stSig(cpu, 0));
  finish(cpu, 0, 0);
}

/** ST(0) · 2^trunc(ST(1)). */
function scale(aSe: u32, aSig: u64, bSe: u32, bSig: u64): void {
  const ca = classOf(aSe, aSig);
  const cb = classOf(bSe, bSig);
  if (ca >= QUIET || cb >= QUIET) {
    propagateTwo(ca, aSe, aSig, cb, bSe, bSig);
    return;
  }
  const sign = aSe >> 15;
  const down = bSe >> 15;
  if (cb === INFINITE) {
    if (ca === (down ? INFINITE : ZERO)) {
      invalid();
      return;
    }
    noteDenormals(ca, cb);
    if (ca === INFINITE || ca === ZERO) {
      result(aSe, aSig);
      return;
    }
    down ? result(signed(sign), 0) : infinity(sign);
    return;
  }
  noteDenormals(ca, cb);
  if (ca === ZERO || ca === INFINITE) {
    result(aSe, aSig);
    return;
  }
  let by = 0;
  if (cb !== ZERO) {
    const e = exponent(bSe, bSig);
    if (e >= 17) by = 0x20000;
    else if (e >= 0) by = i32(significand(bSig) >> (63 - e));
    if (down) by = -by;
  }
  packDropping(sign, exponent(aSe, aSig) + by, significand(aSig), 0, 0);
}
export function fscale(cpu: usize): void {
  begin(cpu);
  if (isEmpty(cpu, 0) || isEmpty(cpu, 1)) underflow();
  else scale(stSe(cpu, 0), stSig(cpu, 0), stSe(cpu, 1), stSig(cpu, 1));
  finish(cpu, 0, 0);
}

/** FXTRACT: the exponent replaces ST(0), the significand is pushed. */
export function fxtract(cpu: usize): void {
  begin(cpu);
  if (isEmpty(cpu, 0) || !isEmpty(cpu, 7)) {
    const overflow = !isEmpty(cpu, 0);
    underflow();
    if (!blocked()) {
      put(cpu, 0);
      moveTop(cpu, 7);
      put(cpu, 0);
    }
    report(cpu);
    if (overflow) setStatus(cpu, status(cpu) | C1);
    return;
  }
  const se = stSe(cpu, 0);
  const sig = stSig(cpu, 0);
  const c = classOf(se, sig);
  let pushedSe = se;
  let pushedSig = sig;
  if (c >= QUIET) {
    propagateOne(c, se, sig);
    pushedSe = rSe;
    pushedSig = rSig;
  } else if (c === INFINITE) {
    infinity(0);
  } else if (c === ZERO) {
    raise(ZE);
    infinity(1);
  } else {
    noteDenormals(c, c);
    widenInteger(<i64>exponent(se, sig));
    pushedSe = (se & 0x8000) | <u32>EXPONENT_BIAS;
    pushedSig = significand(sig);
  }
  if (!blocked()) {
    put(cpu, 0);
    moveTop(cpu, 7);
    result(pushedSe, pushedSig);
    put(cpu, 0);
  }
  report(cpu);
}

/** There is no quotient: C0 and C3 stay as they are, C2 and C1 are cleared. */
const NO_QUOTIENT: u32 = 1;
/** Partial remainder; `nearest` rounds the quotient to nearest (FPREM1), else truncates it (FPREM). */
function partialRemainder(cpu: usize, nearest: bool): u32 {
  const aSe = stSe(cpu, 0);
  const aSig = stSig(cpu, 0);
  const bSe = stSe(cpu, 1);
  const bSig = stSig(cpu, 1);
  const ca = classOf(aSe, aSig);
  const cb = classOf(bSe, bSig);
  if (ca >= QUIET || cb >= QUIET) {
    propagateTwo(ca, aSe, aSig, cb, bSe, bSig);
    return NO_QUOTIENT;
  }
  if (ca === INFINITE || cb === ZERO) {
    invalid();
    return NO_QUOTIENT;
  }
  noteDenormals(ca, cb);
  if (ca === ZERO) {
    result(aSe, aSig);
    return 0;
  }
  if (cb === INFINITE) {
    packDropping(aSe >> 15, exponent(aSe, aSig), significand(aSig), 0, 0);
    return 0;
  }
  let sign = aSe >> 15;
  const eb = exponent(bSe, bSig);
  const b = significand(bSig);
  let r = significand(aSig);
  const ea = exponent(aSe, aSig);
  const d = ea - eb;
  const least = nearest ? -1 : 0;
  if (d < least) {
    packDropping(sign, ea, r, 0, 0);
    return 0;
  }
  if (d >= 64) {
    // Reduce the exponent by 32..63: the same residue class as the difference, so that d ends below 64 soonest.
    const n = (d & 31) | 32;
    // r · 2^n mod b, where r < 2b.
    if (r >= b) r -= b;
    divide128((r >> 1) >> (63 - n), r << n, b);
    r = remainder;
    if (r === 0) result(signed(sign), 0);
    else {
      const z = i32(clz(r));
      packDropping(sign, ea - n - z, r << z, 0, 0);
    }
    return C2;
  }
  let q: u64 = 0;
  let re = eb;
  if (d < 0) {
    // |a| is between a quarter and all of |b|: the remainder is a or a - b, in units of half of b's.
    re = ea;
  } else {
    if (r >= b) {
      r -= b;
      q = 1;
    }
    if (d > 0) {
      q = (q << d) | divide128((r >> 1) >> (63 - d), r << d, b);
      r = remainder;
    }
  }
  if (nearest) {
    // Round the quotient up when the remainder is more than half of b, or half and the quotient odd.
    let up: bool;
    if (d < 0) up = r > b;
    else {
      const twice = r << 1;
      up = r >> 63 !== 0 || twice > b || (twice === b && (q & 1) !== 0);
    }
    if (up) {
      q++;
      sign ^= 1;
      if (d < 0) {
        // b - r in units of half a unit of b: b·2 - r, less than 2^64 since r > b.
        r = (b << 1) - r;
      } else {
        r = b - r;
      }
    }
  }
  if (r === 0) {
    result(aSe & 0x8000, 0);
  } else {
    const z = i32(clz(r));
    packDropping(sign, re - z, r << z, 0, 0);
  }
  return (q & 4 ? C0 : 0) | (q & 2 ? C3 : 0) | (q & 1 ? C1 : 0);
}
function premInstruction(cpu: usize, nearest: bool): void {
  begin(cpu);
  let codes = NO_QUOTIENT;
  if (isEmpty(cpu, 0) || isEmpty(cpu, 1)) underflow();
  else codes = partialRemainder(cpu, nearest);
  if (codes === NO_QUOTIENT || blocked()) codes = status(cpu) & (C0 | C3);
  setRoundedUp((codes & C1) !== 0);
  setConditions(cpu, codes & ~C1);
  finish(cpu, 0, 0);
}
export function fprem(cpu: usize): void {
  premInstruction(cpu, false);
}
export function fprem1(cpu: usize): void {
  premInstruction(cpu, true);
}
