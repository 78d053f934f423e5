/**
 * SSE conversions and rounding to integral values; conventions as in sse-arithmetic.ts. Inline code takes the ordinary
 * operands; what comes here is out of range, or may be the first inexact result since the flags were cleared.
 */

import { beginSse, endSse, RC_ZERO, setRounding } from './control';
import {
  softConvert,
  softFromHalf,
  softFromInteger,
  softRound,
  softToHalf,
  softToInteger,
  softTruncate,
} from './integer';
import { f32Lanes, f64Lanes } from './sse-vector';

function toInteger<T>(cpu: usize, a: u64, bits: i32, truncate: bool): u64 {
  beginSse(cpu);
  const r = truncate ? softTruncate<T>(a, bits) : softToInteger<T>(a, bits);
  endSse(cpu);
  return r;
}
export function cvtss2si32(cpu: usize, a: u32): u32 {
  return u32(toInteger<f32>(cpu, <u64>a, 32, false));
}
export function cvtss2si64(cpu: usize, a: u32): u64 {
  return toInteger<f32>(cpu, <u64>a, 64, false);
}
export function cvtsd2si32(cpu: usize, a: u64): u32 {
  return u32(toInteger<f64>(cpu, a, 32, false));
}
export function cvtsd2si64(cpu: usize, a: u64): u64 {
  return toInteger<f64>(cpu, a, 64, false);
}
export function cvttss2si32(cpu: usize, a: u32): u32 {
  return u32(toInteger<f32>(cpu, <u64>a, 32, true));
}
export function cvttss2si64(cpu: usize, a: u32): u64 {
  return toInteger<f32>(cpu, <u64>a, 64, true);
}
export function cvttsd2si32(cpu: usize, a: u64): u32 {
  return u32(toInteger<f64>(cpu, a, 32, true));
}
export function cvttsd2si64(cpu: usize, a: u64): u64 {
  return toInteger<f64>(cpu, a, 64, true);
}

export function cvtsi32ss(cpu: usize, value: i32): u32 {
  return cvtsi64ss(cpu, <i64>value);
}
export function cvtsi64ss(cpu: usize, value: i64): u32 {
  beginSse(cpu);
  const r = u32(softFromInteger<f32>(value));
  endSse(cpu);
  return r;
}
export function cvtsi64sd(cpu: usize, value: i64): u64 {
  beginSse(cpu);
  const r = softFromInteger<f64>(value);
  endSse(cpu);
  return r;
}
export function cvtss2sd(cpu: usize, a: u32): u64 {
  beginSse(cpu);
  const r = softConvert<f32, f64>(<u64>a);
  endSse(cpu);
  return r;
}
export function cvtsd2ss(cpu: usize, a: u64): u32 {
  beginSse(cpu);
  const r = u32(softConvert<f64, f32>(a));
  endSse(cpu);
  return r;
}

function lanesToInteger(cpu: usize, a: v128, truncate: bool): v128 {
  beginSse(cpu);
  if (truncate) setRounding(RC_ZERO);
  const r0 = u32(softToInteger<f32>(<u64>(<u32>i32x4.extract_lane(a, 0)), 32));
  const r1 = u32(softToInteger<f32>(<u64>(<u32>i32x4.extract_lane(a, 1)), 32));
  const r2 = u32(softToInteger<f32>(<u64>(<u32>i32x4.extract_lane(a, 2)), 32));
  const r3 = u32(softToInteger<f32>(<u64>(<u32>i32x4.extract_lane(a, 3)), 32));
  endSse(cpu);
  return f32Lanes(r0, r1, r2, r3);
}
export function cvtps2dq(cpu: usize, a: v128): v128 {
  return lanesToInteger(cpu, a, false);
}
export function cvttps2dq(cpu: usize, a: v128): v128 {
  return lanesToInteger(cpu, a, true);
}
/** The upper half of the result is zero. */
function doublesToInteger(cpu: usize, a: v128, truncate: bool): v128 {
  beginSse(cpu);
  if (truncate) setRounding(RC_ZERO);
  const r0 = softToInteger<f64>(i64x2.extract_lane(a, 0), 32);
  const r1 = softToInteger<f64>(i64x2.extract_lane(a, 1), 32);
  endSse(cpu);
  return f64Lanes(r0 | (r1 << 32), 0);
}
export function cvtpd2dq(cpu: usize, a: v128): v128 {
  return doublesToInteger(cpu, a, false);
}
export function cvttpd2dq(cpu: usize, a: v128): v128 {
  return doublesToInteger(cpu, a, true);
}
/** The lower half of the operand; the upper half of the result is zero. Also for the MMX forms. */
function singlesToInteger(cpu: usize, a: v128, truncate: bool): v128 {
  beginSse(cpu);
  if (truncate) setRounding(RC_ZERO);
  const r0 = softToInteger<f32>(<u64>(<u32>i32x4.extract_lane(a, 0)), 32);
  const r1 = softToInteger<f32>(<u64>(<u32>i32x4.extract_lane(a, 1)), 32);
  endSse(cpu);
  return f64Lanes(r0 | (r1 << 32), 0);
}
export function cvtps2pi(cpu: usize, a: v128): v128 {
  return singlesToInteger(cpu, a, false);
}
export function cvttps2pi(cpu: usize, a: v128): v128 {
  return singlesToInteger(cpu, a, true);
}

function fromInteger32(value: i32): u32 {
  return u32(softFromInteger<f32>(<i64>value));
}
export function cvtdq2ps(cpu: usize, a: v128): v128 {
  beginSse(cpu);
  const r0 = fromInteger32(i32x4.extract_lane(a, 0));
  const r1 = fromInteger32(i32x4.extract_lane(a, 1));
  const r2 = fromInteger32(i32x4.extract_lane(a, 2));
  const r3 = fromInteger32(i32x4.extract_lane(a, 3));
  endSse(cpu);
  return f32Lanes(r0, r1, r2, r3);
}
/** Two lanes, for CVTPI2PS: the upper half of the operand is not looked at. */
export function cvtpi2ps(cpu: usize, a: v128): v128 {
  beginSse(cpu);
  const r0 = fromInteger32(i32x4.extract_lane(a, 0));
  const r1 = fromInteger32(i32x4.extract_lane(a, 1));
  endSse(cpu);
  return f32Lanes(r0, r1, 0, 0);
}
export function cvtpd2ps(cpu: usize, a: v128): v128 {
  beginSse(cpu);
  const r0 = softConvert<f64, f32>(i64x2.extract_lane(a, 0));
  const r1 = softConvert<f64, f32>(i64x2.extract_lane(a, 1));
  endSse(cpu);
  return f64Lanes(r0 | (r1 << 32), 0);
}
export function cvtps2pd(cpu: usize, a: v128): v128 {
  beginSse(cpu);
  const r0 = softConvert<f32, f64>(<u64>(<u32>i32x4.extract_lane(a, 0)));
  const r1 = softConvert<f32, f64>(<u64>(<u32>i32x4.extract_lane(a, 1)));
  endSse(cpu);
  return f64Lanes(r0, r1);
}

/** F16C: four lanes, from and to the lower half. imm as for ROUND. */
export function cvtph2ps(cpu: usize, a: v128): v128 {
  beginSse(cpu);
  const r0 = u32(softFromHalf(<u64>i16x8.extract_lane_u(a, 0)));
  const r1 = u32(softFromHalf(<u64>i16x8.extract_lane_u(a, 1)));
  const r2 = u32(softFromHalf(<u64>i16x8.extract_lane_u(a, 2)));
  const r3 = u32(softFromHalf(<u64>i16x8.extract_lane_u(a, 3)));
  endSse(cpu);
  return f32Lanes(r0, r1, r2, r3);
}
export function cvtps2ph(cpu: usize, a: v128, imm: u32): v128 {
  beginSse(cpu);
  if (!(imm & 4)) setRounding(imm & 3);
  const r0 = softToHalf(<u64>(<u32>i32x4.extract_lane(a, 0)));
  const r1 = softToHalf(<u64>(<u32>i32x4.extract_lane(a, 1)));
  const r2 = softToHalf(<u64>(<u32>i32x4.extract_lane(a, 2)));
  const r3 = softToHalf(<u64>(<u32>i32x4.extract_lane(a, 3)));
  endSse(cpu);
  return f64Lanes(r0 | (r1 << 16) | (r2 << 32) | (r3 << 48), 0);
}

/** ROUND: imm bits 0..1 rounding, bit 2 take MXCSR's, bit 3 do not report inexact results. */
function beginRound(cpu: usize, imm: u32): bool {
  beginSse(cpu);
  if (!(imm & 4)) setRounding(imm & 3);
  return (imm & 8) === 0;
}
export function roundss(cpu: usize, a: u32, imm: u32): u32 {
  const report = beginRound(cpu, imm);
  const r = u32(softRound<f32>(<u64>a, report));
  endSse(cpu);
  return r;
}
export function roundsd(cpu: usize, a: u64, imm: u32): u64 {
  const report = beginRound(cpu, imm);
  const r = softRound<f64>(a, report);
  endSse(cpu);
  return r;
}
export function roundps(cpu: usize, a: v128, imm: u32): v128 {
  const report = beginRound(cpu, imm);
  const r0 = u32(softRound<f32>(<u64>(<u32>i32x4.extract_lane(a, 0)), report));
  const r1 = u32(softRound<f32>(<u64>(<u32>i32x4.extract_lane(a, 1)), report));
  const r2 = u32(softRound<f32>(<u64>(<u32>i32x4.extract_lane(a, 2)), report));
  const r3 = u32(softRound<f32>(<u64>(<u32>i32x4.extract_lane(a, 3)), report));
  endSse(cpu);
  return f32Lanes(r0, r1, r2, r3);
}
export function roundpd(cpu: usize, a: v128, imm: u32): v128 {
  const report = beginRound(cpu, imm);
  const r0 = softRound<f64>(i64x2.extract_lane(a, 0), report);
  const r1 = softRound<f64>(i64x2.extract_lane(a, 1), report);
  endSse(cpu);
  return f64Lanes(r0, r1);
}
