// biome-ignore-all lint/correctness/noPrecisionLoss: integers have 64 bits here
/**
 * SSE comparisons, conversions, rounding, horizontal and fused operations; conventions as in sse-binary.ts. Results for
 * general registers go to vcpu.temp[0].
 */

import { VCPU_temp } from '../generated/layout';
import { beginSse, endSse } from './control';
import { fusedGood, fusedLanes } from './fused';
import { softFromInteger, softToInteger, softTruncate } from './integer';
import { EQUAL, LESS, softRelation, UNORDERED } from './sse-arith';
import { comparable, fastExact, fastInexact, normal32 } from './sse-fast';
import {
  ADD,
  lane,
  lanesAddSub,
  lanesCmp,
  lanesConvert,
  lanesDot,
  lanesFma,
  lanesFromInt32,
  lanesHorizontal,
  lanesRound,
  lanesToHalf,
  lanesToInt32,
  SUB,
} from './sse-lanes';

/** EFLAGS of a comparison: ZF 0x40, PF 4, CF 1; OF, SF and AF are cleared. */
function relationFlags(relation: u32): i32 {
  return relation === UNORDERED ? 0x45 : relation === LESS ? 1 : relation === EQUAL ? 0x40 : 0;
}
function ordered<T>(cpu: usize, a: usize, b: usize, signalling: bool): i32 {
  if (fastExact(cpu)) {
    const x = load<T>(a);
    const y = load<T>(b);
    if (comparable<T>(a) && comparable<T>(b)) return x < y ? 1 : x === y ? 0x40 : 0;
  }
  beginSse(cpu);
  const r = softRelation<T>(lane<T>(a, 0), lane<T>(b, 0), signalling);
  return endSse(cpu) ? -1 : relationFlags(r);
}
/** Compare a with b: the EFLAGS bits, or -1 when an exception is unmasked. */
export function ucomiss(cpu: usize, a: usize, b: usize): i32 {
  return ordered<f32>(cpu, a, b, false);
}
export function comiss(cpu: usize, a: usize, b: usize): i32 {
  return ordered<f32>(cpu, a, b, true);
}
export function ucomisd(cpu: usize, a: usize, b: usize): i32 {
  return ordered<f64>(cpu, a, b, false);
}
export function comisd(cpu: usize, a: usize, b: usize): i32 {
  return ordered<f64>(cpu, a, b, true);
}

function scalarCmp<T>(cpu: usize, a: usize, b: usize, dst: usize, predicate: u32): i32 {
  if (predicate < 8 && fastExact(cpu)) {
    const x = load<T>(a);
    const y = load<T>(b);
    if (comparable<T>(a) && comparable<T>(b)) {
      const p = predicate & 3;
      const met = i64((p === 0 ? x === y : p === 1 ? x < y : p === 2 ? x <= y : false) !== predicate >= 4);
      if (sizeof<T>() === 4) store<u32>(dst, u32(-met));
      else store<u64>(dst, u64(-met));
      return 0;
    }
  }
  return lanesCmp<T>(cpu, a, b, dst, predicate, 1);
}
export function cmpss(cpu: usize, a: usize, b: usize, dst: usize, predicate: u32): i32 {
  return scalarCmp<f32>(cpu, a, b, dst, predicate);
}
export function cmpsd(cpu: usize, a: usize, b: usize, dst: usize, predicate: u32): i32 {
  return scalarCmp<f64>(cpu, a, b, dst, predicate);
}

export function haddps(cpu: usize, a: usize, b: usize, dst: usize): i32 {
  return lanesHorizontal<f32>(cpu, ADD, a, b, dst, 4);
}
export function haddpd(cpu: usize, a: usize, b: usize, dst: usize): i32 {
  return lanesHorizontal<f64>(cpu, ADD, a, b, dst, 2);
}
export function hsubps(cpu: usize, a: usize, b: usize, dst: usize): i32 {
  return lanesHorizontal<f32>(cpu, SUB, a, b, dst, 4);
}
export function hsubpd(cpu: usize, a: usize, b: usize, dst: usize): i32 {
  return lanesHorizontal<f64>(cpu, SUB, a, b, dst, 2);
}
export function addsubps(cpu: usize, a: usize, b: usize, dst: usize): i32 {
  return lanesAddSub<f32>(cpu, a, b, dst, 4);
}
export function addsubpd(cpu: usize, a: usize, b: usize, dst: usize): i32 {
  return lanesAddSub<f64>(cpu, a, b, dst, 2);
}
export function dpps(cpu: usize, a: usize, b: usize, dst: usize, imm: u32): i32 {
  return lanesDot<f32>(cpu, a, b, dst, imm, 4);
}
export function dppd(cpu: usize, a: usize, b: usize, dst: usize, imm: u32): i32 {
  return lanesDot<f64>(cpu, a, b, dst, imm, 2);
}

/** a · b + c. kind: 0 fmadd, 1 fnmadd, 2 fmsub, 3 fnmsub, 4 fmsubadd, 6 fmaddsub. */
export function fmaps(cpu: usize, a: usize, b: usize, c: usize, dst: usize, kind: u32): i32 {
  if (fastInexact(cpu)) {
    const r = fusedLanes<f32>(v128.load(a), v128.load(b), v128.load(c), kind);
    if (i32x4.all_true(fusedGood)) {
      v128.store(dst, r);
      return 0;
    }
  }
  return lanesFma<f32>(cpu, a, b, c, dst, kind, 4);
}
export function fmapd(cpu: usize, a: usize, b: usize, c: usize, dst: usize, kind: u32): i32 {
  if (fastInexact(cpu)) {
    const r = fusedLanes<f64>(v128.load(a), v128.load(b), v128.load(c), kind);
    if (i64x2.all_true(fusedGood)) {
      v128.store(dst, r);
      return 0;
    }
  }
  return lanesFma<f64>(cpu, a, b, c, dst, kind, 2);
}
export function fmass(cpu: usize, a: usize, b: usize, c: usize, dst: usize, kind: u32): i32 {
  if (fastInexact(cpu)) {
    const r = fusedLanes<f32>(v128.load32_zero(a), v128.load32_zero(b), v128.load32_zero(c), kind);
    if (i32x4.extract_lane(fusedGood, 0)) {
      store<i32>(dst, i32x4.extract_lane(r, 0));
      return 0;
    }
  }
  return lanesFma<f32>(cpu, a, b, c, dst, kind, 1);
}
export function fmasd(cpu: usize, a: usize, b: usize, c: usize, dst: usize, kind: u32): i32 {
  if (fastInexact(cpu)) {
    const r = fusedLanes<f64>(v128.load64_zero(a), v128.load64_zero(b), v128.load64_zero(c), kind);
    if (i64x2.extract_lane(fusedGood, 0)) {
      store<i64>(dst, i64x2.extract_lane(r, 0));
      return 0;
    }
  }
  return lanesFma<f64>(cpu, a, b, c, dst, kind, 1);
}

/** ROUND: imm bits 0..1 rounding, bit 2 take MXCSR's, bit 3 do not report inexact results. */
export function roundps(cpu: usize, a: usize, dst: usize, imm: u32): i32 {
  return lanesRound<f32>(cpu, a, dst, imm, 4);
}
export function roundpd(cpu: usize, a: usize, dst: usize, imm: u32): i32 {
  return lanesRound<f64>(cpu, a, dst, imm, 2);
}
export function roundss(cpu: usize, a: usize, dst: usize, imm: u32): i32 {
  return lanesRound<f32>(cpu, a, dst, imm, 1);
}
export function roundsd(cpu: usize, a: usize, dst: usize, imm: u32): i32 {
  return lanesRound<f64>(cpu, a, dst, imm, 1);
}

function packedToInt32(cpu: usize, a: usize, dst: usize, truncate: bool): i32 {
  if (fastInexact(cpu)) {
    const x = v128.load(a);
    // Below 2^31 in magnitude no lane is invalid (and rounding cannot reach it: such numbers are integers).
    if (i32x4.all_true(f32x4.lt(f32x4.abs(x), f32x4.splat(2147483648.0)))) {
      v128.store(dst, i32x4.trunc_sat_f32x4_s(truncate ? x : f32x4.nearest(x)));
      return 0;
    }
  }
  return lanesToInt32<f32>(cpu, a, dst, truncate, 4, 16);
}
export function cvtps2dq(cpu: usize, a: usize, dst: usize): i32 {
  return packedToInt32(cpu, a, dst, false);
}
export function cvttps2dq(cpu: usize, a: usize, dst: usize): i32 {
  return packedToInt32(cpu, a, dst, true);
}
export function cvtdq2ps(cpu: usize, a: usize, dst: usize): i32 {
  if (fastInexact(cpu)) {
    v128.store(dst, f32x4.convert_i32x4_s(v128.load(a)));
    return 0;
  }
  return lanesFromInt32<f32>(cpu, a, dst, 4);
}
/** Exact, so no exceptions. Reads 8 bytes. */
export function cvtdq2pd(_cpu: usize, a: usize, dst: usize): i32 {
  v128.store(dst, f64x2.convert_low_i32x4_s(v128.load64_zero(a)));
  return 0;
}
/** These write 16 bytes, the upper 8 zero. */
export function cvtpd2dq(cpu: usize, a: usize, dst: usize): i32 {
  return lanesToInt32<f64>(cpu, a, dst, false, 2, 16);
}
export function cvttpd2dq(cpu: usize, a: usize, dst: usize): i32 {
  return lanesToInt32<f64>(cpu, a, dst, true, 2, 16);
}
export function cvtpd2ps(cpu: usize, a: usize, dst: usize): i32 {
  if (fastInexact(cpu)) {
    const r = f32x4.demote_f64x2_zero(v128.load(a));
    if (normal32(i32x4.extract_lane(r, 0)) && normal32(i32x4.extract_lane(r, 1))) {
      v128.store(dst, r);
      return 0;
    }
  }
  return lanesConvert<f64, f32>(cpu, a, dst, 2, 16);
}
/** Reads 8 bytes. */
export function cvtps2pd(cpu: usize, a: usize, dst: usize): i32 {
  const x = load<u32>(a);
  const y = load<u32>(a, 4);
  if (fastExact(cpu) && (normal32(x) || x << 1 === 0) && (normal32(y) || y << 1 === 0)) {
    v128.store(dst, f64x2.promote_low_f32x4(v128.load64_zero(a)));
    return 0;
  }
  return lanesConvert<f32, f64>(cpu, a, dst, 2, 16);
}
export function cvtss2sd(cpu: usize, a: usize, dst: usize): i32 {
  const bits = load<u32>(a);
  if (fastExact(cpu) && (normal32(bits) || bits << 1 === 0)) {
    store<f64>(dst, <f64>reinterpret<f32>(bits));
    return 0;
  }
  return lanesConvert<f32, f64>(cpu, a, dst, 1, 8);
}
export function cvtsd2ss(cpu: usize, a: usize, dst: usize): i32 {
  if (fastExact(cpu)) {
    const x = load<f64>(a);
    const r = <f32>x;
    if (normal32(reinterpret<u32>(r)) && (fastInexact(cpu) || <f64>r === x)) {
      store<f32>(dst, r);
      return 0;
    }
  }
  return lanesConvert<f64, f32>(cpu, a, dst, 1, 4);
}
/** MMX forms; each reads and writes 8 bytes, except that the pd ones read (cvtpi2pd: write) 16. */
export function cvtpi2ps(cpu: usize, a: usize, dst: usize): i32 {
  return lanesFromInt32<f32>(cpu, a, dst, 2);
}
export function cvtps2pi(cpu: usize, a: usize, dst: usize): i32 {
  return lanesToInt32<f32>(cpu, a, dst, false, 2, 8);
}
export function cvttps2pi(cpu: usize, a: usize, dst: usize): i32 {
  return lanesToInt32<f32>(cpu, a, dst, true, 2, 8);
}
export function cvtpd2pi(cpu: usize, a: usize, dst: usize): i32 {
  return lanesToInt32<f64>(cpu, a, dst, false, 2, 8);
}
export function cvttpd2pi(cpu: usize, a: usize, dst: usize): i32 {
  return lanesToInt32<f64>(cpu, a, dst, true, 2, 8);
}

/** F16C: four lanes; cvtph2ps reads 8 bytes, cvtps2ph writes 8. imm as for ROUND. */
export function cvtph2ps(cpu: usize, a: usize, dst: usize): i32 {
  return lanesConvert<u16, f32>(cpu, a, dst, 4, 16);
}
export function cvtps2ph(cpu: usize, a: usize, dst: usize, imm: u32): i32 {
  return lanesToHalf(cpu, a, dst, imm);
}

function fromInteger<T>(cpu: usize, value: i64, dst: usize): i32 {
  if (fastExact(cpu)) {
    const r = <T>value;
    // Magnitudes up to 2^24 (2^53) convert exactly.
    const limit: i64 = sizeof<T>() === 4 ? 1 << 24 : (<i64>1) << 53;
    if (fastInexact(cpu) || (value <= limit && value >= -limit)) {
      store<T>(dst, r);
      return 0;
    }
  }
  beginSse(cpu);
  const bits = softFromInteger<T>(value);
  if (endSse(cpu)) return 1;
  if (sizeof<T>() === 4) store<u32>(dst, u32(bits));
  else store<u64>(dst, bits);
  return 0;
}
export function cvtsi32ss(cpu: usize, value: i32, dst: usize): i32 {
  return fromInteger<f32>(cpu, value, dst);
}
export function cvtsi64ss(cpu: usize, value: i64, dst: usize): i32 {
  return fromInteger<f32>(cpu, value, dst);
}
export function cvtsi32sd(cpu: usize, value: i32, dst: usize): i32 {
  return fromInteger<f64>(cpu, value, dst);
}
export function cvtsi64sd(cpu: usize, value: i64, dst: usize): i32 {
  return fromInteger<f64>(cpu, value, dst);
}

function toInteger<T>(cpu: usize, a: usize, bits: i32, truncate: bool): i32 {
  const x = load<T>(a);
  const limit = <T>(bits === 32 ? 2147483648.0 : 9223372036854775808.0);
  // x < limit - 1 could be rounded; nearest never rounds a value below the limit by one half or more up to it.
  if (fastExact(cpu) && x < limit - (bits === 32 ? 1 : 0) && x > -limit) {
    const whole = truncate ? trunc<T>(x) : nearest<T>(x);
    if (fastInexact(cpu) || whole === x) {
      const v = <i64>whole;
      store<u64>(cpu, bits === 32 ? <u64>(<u32>v) : <u64>v, VCPU_temp);
      return 0;
    }
  }
  beginSse(cpu);
  const v = truncate ? softTruncate<T>(lane<T>(a, 0), bits) : softToInteger<T>(lane<T>(a, 0), bits);
  if (endSse(cpu)) return 1;
  store<u64>(cpu, v, VCPU_temp);
  return 0;
}
/** To a general register: the result, zero-extended, goes to vcpu.temp[0]. */
export function cvtss2si32(cpu: usize, a: usize): i32 {
  return toInteger<f32>(cpu, a, 32, false);
}
export function cvtss2si64(cpu: usize, a: usize): i32 {
  return toInteger<f32>(cpu, a, 64, false);
}
export function cvtsd2si32(cpu: usize, a: usize): i32 {
  return toInteger<f64>(cpu, a, 32, false);
}
export function cvtsd2si64(cpu: usize, a: usize): i32 {
  return toInteger<f64>(cpu, a, 64, false);
}
export function cvttss2si32(cpu: usize, a: usize): i32 {
  return toInteger<f32>(cpu, a, 32, true);
}
export function cvttss2si64(cpu: usize, a: usize): i32 {
  return toInteger<f32>(cpu, a, 64, true);
}
export function cvttsd2si32(cpu: usize, a: usize): i32 {
  return toInteger<f64>(cpu, a, 32, true);
}
export function cvttsd2si64(cpu: usize, a: usize): i32 {
  return toInteger<f64>(cpu, a, 64, true);
}
