// biome-ignore-all lint/correctness/noPrecisionLoss: integers have 64 bits here
/**
 * x87 instructions on normal numbers with full precision, rounding to nearest and PE masked: nearly all that are ever
 * executed. Each function does the whole instruction and returns true, or changes nothing and returns false; the caller
 * then goes the long way (x87-arith.ts, x87-move.ts), which is the definition.
 *
 * With operands like these only PE can be raised, and overflow and underflow, which go the long way.
 */

import { VCPU_fcw, VCPU_fpr, VCPU_fsw, VCPU_ftw, VCPU_temp } from '../generated/layout';
import { PE } from './control';
import { LEADING } from './f80';
import { divide128, mulHi, remainder } from './wide';

const C1: u32 = 0x200;
const TOP: u32 = 0x3800;
const EMPTY: u32 = 3;
const BIAS: i32 = 16383;
/** Precision control, rounding control and PM, as this file wants them. */
const CONTROL: u32 = 0xf20;
const PLAIN_CONTROL: u32 = 0x320;

function control(cpu: usize): u32 {
  return <u32>load<u16>(cpu, VCPU_fcw);
}
function isPlainControl(cpu: usize): bool {
  return (control(cpu) & CONTROL) === PLAIN_CONTROL;
}
function top(cpu: usize): u32 {
  return <u32>load<u16>(cpu, VCPU_fsw) >> 11;
}
function place(cpu: usize, physical: u32): usize {
  return cpu + VCPU_fpr + (physical << 4);
}
function tag(cpu: usize, physical: u32): u32 {
  return (<u32>load<u16>(cpu, VCPU_ftw) >> (physical << 1)) & 3;
}
/** The register now holds something. */
function fill(cpu: usize, physical: u32, se: u32, sig: u64): void {
  store<u64>(place(cpu, physical), sig);
  store<u16>(place(cpu, physical), <u16>se, 8);
  store<u16>(cpu, <u16>(<u32>load<u16>(cpu, VCPU_ftw) & ~(EMPTY << (physical << 1))), VCPU_ftw);
}
/** New exception flags and C1; then `pops` registers leave. */
function conclude(cpu: usize, flags: u32, pops: u32): void {
  let status = (<u32>load<u16>(cpu, VCPU_fsw) & ~C1) | flags;
  let tags = <u32>load<u16>(cpu, VCPU_ftw);
  for (; pops; pops--) {
    tags |= EMPTY << (((status >> 11) & 7) << 1);
    status = (status & ~TOP) | ((status + 0x800) & TOP);
  }
  store<u16>(cpu, <u16>tags, VCPU_ftw);
  store<u16>(cpu, <u16>status, VCPU_fsw);
}
function isNormal(se: u32, sig: u64): bool {
  return ((se + 1) & 0x7ffe) !== 0 && sig >> 63 !== 0;
}

// ---- arithmetic: the result and its flags ----

let resultSe: u32 = 0;
let resultSig: u64 = 0;
let resultFlags: u32 = 0;

/**
 * hi:lo to nearest, at biased exponent `e`. False beyond the normal numbers. Where rounding goes is as good as random, so it
 * is computed without branches here and below.
 */
function round(sign: u32, e: i32, hi: u64, lo: u64): bool {
  const up = u64(lo > LEADING) | (u64(lo === LEADING) & hi & 1);
  const kept = hi + up;
  const carry = kept < hi;
  e += i32(carry);
  if (<u32>(e - 1) >= 0x7ffe) return false;
  resultSe = sign | <u32>e;
  resultSig = kept | ((<u64>carry) << 63);
  resultFlags = (u32(lo !== 0) * PE) | (u32(up) * C1);
  return true;
}

/** Signs are in bit 15, as they are in the registers. */
function add(aSe: u32, aSig: u64, bSe: u32, bSig: u64): bool {
  let e = i32(aSe & 0x7fff);
  let d = e - i32(bSe & 0x7fff);
  if (d < 0 || (d === 0 && aSig < bSig)) {
    const se = aSe;
    aSe = bSe;
    bSe = se;
    const sig = aSig;
    aSig = bSig;
    bSig = sig;
    d = -d;
    e += d;
  }
  const sign = aSe & 0x8000;
  let part: u64;
  let lo: u64;
  if (d === 0) {
    part = bSig;
    lo = 0;
  } else if (d < 64) {
    part = bSig >> d;
    lo = bSig << (64 - d);
  } else {
    part = 0;
    // Two bits below the last one and a sticky one decide, even when the difference loses its leading bit.
    lo = d === 64 ? bSig : d === 65 ? (bSig >> 1) | (bSig & 1) : 1;
  }
  let hi: u64;
  if (((aSe ^ bSe) & 0x8000) === 0) {
    hi = aSig + part;
    const carry = u64(hi < aSig);
    lo = (lo >> carry) | (lo & 1) | ((hi & carry) << 63);
    hi = (hi >> carry) | (carry << 63);
    e += i32(carry);
  } else {
    hi = aSig - part - u64(lo !== 0);
    lo = 0 - lo;
    if (hi >> 63 === 0) {
      if (hi === 0) {
        if (lo !== 0) return false;
        // Exact zeros are positive when rounding to nearest.
        resultSe = 0;
        resultSig = 0;
        resultFlags = 0;
        return true;
      }
      const n = i32(clz(hi));
      hi = (hi << n) | (lo >> (64 - n));
      lo <<= n;
      e -= n;
    }
  }
  return round(sign, e, hi, lo);
}

function multiply(aSe: u32, aSig: u64, bSe: u32, bSig: u64): bool {
  const hi = mulHi(aSig, bSig);
  const lo = aSig * bSig;
  const n = clz(hi);
  const e = i32(aSe & 0x7fff) + i32(bSe & 0x7fff) - BIAS + 1 - i32(n);
  return round((aSe ^ bSe) & 0x8000, e, (hi << n) | ((lo >> 63) & n), lo << n);
}

function divide(aSe: u32, aSig: u64, bSe: u32, bSig: u64): bool {
  const n = u64(aSig >= bSig);
  const e = i32(aSe & 0x7fff) - i32(bSe & 0x7fff) + BIAS - 1 + i32(n);
  const quotient = divide128(aSig >> n, (aSig & n) << 63, bSig);
  const rest = remainder;
  // The rest against half of the divisor: above, at, below; it cannot be at it.
  const lo: u64 = rest === 0 ? 0 : rest > bSig - rest ? LEADING | 1 : 1;
  return round((aSe ^ bSe) & 0x8000, e, quotient, lo);
}

/** By the number that the encoding has for the operation; comparisons are none of these. */
function operate(op: u32, aSe: u32, aSig: u64, bSe: u32, bSig: u64): bool {
  if (!isNormal(aSe, aSig) || !isNormal(bSe, bSig)) return false;
  switch (op) {
    case 0:
      return add(aSe, aSig, bSe, bSig);
    case 1:
      return multiply(aSe, aSig, bSe, bSig);
    case 4:
      return add(aSe, aSig, bSe ^ 0x8000, bSig);
    case 5:
      return add(bSe, bSig, aSe ^ 0x8000, aSig);
    case 6:
      return divide(aSe, aSig, bSe, bSig);
    case 7:
      return divide(bSe, bSig, aSe, aSig);
    default:
      return false;
  }
}

/** ST(dst) = ST(dst) op ST(src), then pops. */
export function quickArithmetic(cpu: usize, op: u32, dst: u32, src: u32, pops: u32): bool {
  if (!isPlainControl(cpu)) return false;
  const first = top(cpu);
  const to = (first + dst) & 7;
  const from = (first + src) & 7;
  if (tag(cpu, to) === EMPTY || tag(cpu, from) === EMPTY) return false;
  const a = place(cpu, to);
  const b = place(cpu, from);
  if (!operate(op, <u32>load<u16>(a, 8), load<u64>(a), <u32>load<u16>(b, 8), load<u64>(b))) return false;
  store<u64>(a, resultSig);
  store<u16>(a, <u16>resultSe, 8);
  conclude(cpu, resultFlags, pops);
  return true;
}
/** ST(0) = ST(0) op a number. */
export function quickArithmeticWith(cpu: usize, op: u32, se: u32, sig: u64): bool {
  if (!isPlainControl(cpu)) return false;
  const physical = top(cpu) & 7;
  if (tag(cpu, physical) === EMPTY) return false;
  const a = place(cpu, physical);
  if (!operate(op, <u32>load<u16>(a, 8), load<u64>(a), se, sig)) return false;
  store<u64>(a, resultSig);
  store<u16>(a, <u16>resultSe, 8);
  conclude(cpu, resultFlags, 0);
  return true;
}

// ---- loads and stores ----

/** Push what cannot raise anything. */
export function quickPush(cpu: usize, se: u32, sig: u64): bool {
  const status = <u32>load<u16>(cpu, VCPU_fsw);
  const physical = ((status >> 11) + 7) & 7;
  if (tag(cpu, physical) !== EMPTY) return false;
  fill(cpu, physical, se, sig);
  store<u16>(cpu, <u16>((status & ~(C1 | TOP)) | (physical << 11)), VCPU_fsw);
  return true;
}
/** FLD of a double or single that is normal or zero. */
export function quickLoad64(cpu: usize, bits: u64): bool {
  const sign = u32(bits >> 48) & 0x8000;
  if (bits << 1 === 0) return quickPush(cpu, sign, 0);
  const exponent = u32(bits >> 52) & 0x7ff;
  if (exponent - 1 >= 0x7fe) return false;
  return quickPush(cpu, sign | (exponent + (<u32>BIAS - 1023)), (bits << 11) | LEADING);
}
export function quickLoad32(cpu: usize, bits: u32): bool {
  const sign = (bits >> 16) & 0x8000;
  if (bits << 1 === 0) return quickPush(cpu, sign, 0);
  const exponent = (bits >> 23) & 0xff;
  if (exponent - 1 >= 0xfe) return false;
  return quickPush(cpu, sign | (exponent + (<u32>BIAS - 127)), ((<u64>bits) << 40) | LEADING);
}
/** FLD ST(i). */
export function quickDuplicate(cpu: usize, src: u32): bool {
  const physical = (top(cpu) + src) & 7;
  if (tag(cpu, physical) === EMPTY) return false;
  const from = place(cpu, physical);
  return quickPush(cpu, <u32>load<u16>(from, 8), load<u64>(from));
}

/** ST(0) as a double or single, normal before and after, or zero: the pattern to temp. */
export function quickStore<T>(cpu: usize): bool {
  const physical = top(cpu) & 7;
  if (tag(cpu, physical) === EMPTY) return false;
  const from = place(cpu, physical);
  const se = <u32>load<u16>(from, 8);
  const sig = load<u64>(from);
  const drop: u64 = sizeof<T>() === 8 ? 11 : 40;
  const bias = sizeof<T>() === 8 ? 1023 : 127;
  const sign = (<u64>(se >> 15)) << (sizeof<T>() * 8 - 1);
  let flags: u32 = 0;
  let bits = sign;
  if ((se << 17) | u32(sig !== 0)) {
    const exponent = i32(se & 0x7fff) - (BIAS - bias);
    if (<u32>(exponent - 1) >= <u32>(2 * bias - 1) || sig >> 63 === 0) return false;
    // Without the leading one; rounding up carries into the exponent as it should.
    bits |= ((<u64>exponent) << (63 - drop)) + ((sig << 1) >> (drop + 1));
    const rest = sig & (((<u64>1) << drop) - 1);
    if (rest) {
      if (!isPlainRounding(cpu)) return false;
      flags = PE;
      const half = (<u64>1) << (drop - 1);
      if (rest > half || (rest === half && (bits & 1) !== 0)) {
        flags |= C1;
        bits++;
      }
    }
  }
  store<u64>(cpu, bits, VCPU_temp);
  conclude(cpu, flags, 0);
  return true;
}
/** To nearest, with PE masked; stores know their precision. */
function isPlainRounding(cpu: usize): bool {
  return (control(cpu) & 0xc20) === 0x20;
}

/** FST ST(i) and FSTP ST(i). */
export function quickCopy(cpu: usize, dst: u32, pops: u32): bool {
  const first = top(cpu);
  if (tag(cpu, first & 7) === EMPTY) return false;
  const from = place(cpu, first & 7);
  fill(cpu, (first + dst) & 7, <u32>load<u16>(from, 8), load<u64>(from));
  conclude(cpu, 0, pops);
  return true;
}
export function quickExchange(cpu: usize, i: u32): bool {
  const first = top(cpu);
  const other = (first + i) & 7;
  if (tag(cpu, first & 7) === EMPTY || tag(cpu, other) === EMPTY) return false;
  const a = place(cpu, first & 7);
  const b = place(cpu, other);
  const value = v128.load(a);
  v128.store(a, v128.load(b));
  v128.store(b, value);
  conclude(cpu, 0, 0);
  return true;
}
/** FCHS and FABS: change the sign of ST(0). */
export function quickSign(cpu: usize, keep: u32, flip: u32): bool {
  const physical = top(cpu) & 7;
  if (tag(cpu, physical) === EMPTY) return false;
  const at = place(cpu, physical);
  store<u16>(at, <u16>((<u32>load<u16>(at, 8) & keep) ^ flip), 8);
  conclude(cpu, 0, 0);
  return true;
}
