// biome-ignore-all lint/style/useImportType: AssemblyScript knows no type imports
/**
 * SSE arithmetic on values: scalars as bit patterns, vectors as v128. Code that calls has tried to do it inline and comes
 * here with operands or control words that are out of the ordinary. The result does not count when vcpu.simdFault says
 * that an exception is unmasked.
 */

import { beginSse, endSse, isPrecisionSettled, RC_NEAREST, rounding } from './control';
import { isNan, signBit } from './format';
import { fusedGood, fusedLanes } from './fused';
import { softFma } from './sse-arith';
import { areExact, exactProducts32, exactProducts64, exactSums32, exactSums64 } from './sse-exact';
import { Add, Div, lane32, lane64, Max, Min, Mul, root32, root64, Sub } from './sse-lane';
import { f32Lanes, f64Lanes } from './sse-vector';

function scalar32<O>(cpu: usize, a: u32, b: u32): u32 {
  beginSse(cpu);
  const r = lane32<O>(a, b);
  endSse(cpu);
  return r;
}
function scalar64<O>(cpu: usize, a: u64, b: u64): u64 {
  beginSse(cpu);
  const r = lane64<O>(a, b);
  endSse(cpu);
  return r;
}
/** Sums and products while no result has been inexact yet, and zeros have the sign of rounding to nearest. */
function mayBeExact<O>(): bool {
  return isSigned<O>() && sizeof<O>() <= 4 && !isPrecisionSettled && rounding === RC_NEAREST;
}
function packed32<O>(cpu: usize, a: v128, b: v128): v128 {
  beginSse(cpu);
  if (mayBeExact<O>()) {
    const negated = sizeof<O>() === 2 ? v128.xor(b, i32x4.splat(0x80000000)) : b;
    const r = sizeof<O>() === 4 ? exactProducts32(a, b) : exactSums32(a, negated);
    if (areExact) {
      endSse(cpu);
      return r;
    }
  }
  const r0 = lane32<O>(i32x4.extract_lane(a, 0), i32x4.extract_lane(b, 0));
  const r1 = lane32<O>(i32x4.extract_lane(a, 1), i32x4.extract_lane(b, 1));
  const r2 = lane32<O>(i32x4.extract_lane(a, 2), i32x4.extract_lane(b, 2));
  const r3 = lane32<O>(i32x4.extract_lane(a, 3), i32x4.extract_lane(b, 3));
  endSse(cpu);
  return f32Lanes(r0, r1, r2, r3);
}
function packed64<O>(cpu: usize, a: v128, b: v128): v128 {
  beginSse(cpu);
  if (mayBeExact<O>()) {
    const negated = sizeof<O>() === 2 ? v128.xor(b, i64x2.splat(0x8000000000000000)) : b;
    const r = sizeof<O>() === 4 ? exactProducts64(a, b) : exactSums64(a, negated);
    if (areExact) {
      endSse(cpu);
      return r;
    }
  }
  const r0 = lane64<O>(i64x2.extract_lane(a, 0), i64x2.extract_lane(b, 0));
  const r1 = lane64<O>(i64x2.extract_lane(a, 1), i64x2.extract_lane(b, 1));
  endSse(cpu);
  return f64Lanes(r0, r1);
}

export function addss(cpu: usize, a: u32, b: u32): u32 {
  return scalar32<Add>(cpu, a, b);
}
export function addsd(cpu: usize, a: u64, b: u64): u64 {
  return scalar64<Add>(cpu, a, b);
}
export function addps(cpu: usize, a: v128, b: v128): v128 {
  return packed32<Add>(cpu, a, b);
}
export function addpd(cpu: usize, a: v128, b: v128): v128 {
  return packed64<Add>(cpu, a, b);
}
export function subss(cpu: usize, a: u32, b: u32): u32 {
  return scalar32<Sub>(cpu, a, b);
}
export function subsd(cpu: usize, a: u64, b: u64): u64 {
  return scalar64<Sub>(cpu, a, b);
}
export function subps(cpu: usize, a: v128, b: v128): v128 {
  return packed32<Sub>(cpu, a, b);
}
export function subpd(cpu: usize, a: v128, b: v128): v128 {
  return packed64<Sub>(cpu, a, b);
}
export function mulss(cpu: usize, a: u32, b: u32): u32 {
  return scalar32<Mul>(cpu, a, b);
}
export function mulsd(cpu: usize, a: u64, b: u64): u64 {
  return scalar64<Mul>(cpu, a, b);
}
export function mulps(cpu: usize, a: v128, b: v128): v128 {
  return packed32<Mul>(cpu, a, b);
}
export function mulpd(cpu: usize, a: v128, b: v128): v128 {
  return packed64<Mul>(cpu, a, b);
}
export function divss(cpu: usize, a: u32, b: u32): u32 {
  return scalar32<Div>(cpu, a, b);
}
export function divsd(cpu: usize, a: u64, b: u64): u64 {
  return scalar64<Div>(cpu, a, b);
}
export function divps(cpu: usize, a: v128, b: v128): v128 {
  return packed32<Div>(cpu, a, b);
}
export function divpd(cpu: usize, a: v128, b: v128): v128 {
  return packed64<Div>(cpu, a, b);
}
export function minss(cpu: usize, a: u32, b: u32): u32 {
  return scalar32<Min>(cpu, a, b);
}
export function minsd(cpu: usize, a: u64, b: u64): u64 {
  return scalar64<Min>(cpu, a, b);
}
export function minps(cpu: usize, a: v128, b: v128): v128 {
  return packed32<Min>(cpu, a, b);
}
export function minpd(cpu: usize, a: v128, b: v128): v128 {
  return packed64<Min>(cpu, a, b);
}
export function maxss(cpu: usize, a: u32, b: u32): u32 {
  return scalar32<Max>(cpu, a, b);
}
export function maxsd(cpu: usize, a: u64, b: u64): u64 {
  return scalar64<Max>(cpu, a, b);
}
export function maxps(cpu: usize, a: v128, b: v128): v128 {
  return packed32<Max>(cpu, a, b);
}
export function maxpd(cpu: usize, a: v128, b: v128): v128 {
  return packed64<Max>(cpu, a, b);
}

export function sqrtss(cpu: usize, a: u32): u32 {
  beginSse(cpu);
  const r = root32(a);
  endSse(cpu);
  return r;
}
export function sqrtsd(cpu: usize, a: u64): u64 {
  beginSse(cpu);
  const r = root64(a);
  endSse(cpu);
  return r;
}
export function sqrtps(cpu: usize, a: v128): v128 {
  beginSse(cpu);
  const r0 = root32(i32x4.extract_lane(a, 0));
  const r1 = root32(i32x4.extract_lane(a, 1));
  const r2 = root32(i32x4.extract_lane(a, 2));
  const r3 = root32(i32x4.extract_lane(a, 3));
  endSse(cpu);
  return f32Lanes(r0, r1, r2, r3);
}
export function sqrtpd(cpu: usize, a: v128): v128 {
  beginSse(cpu);
  const r0 = root64(i64x2.extract_lane(a, 0));
  const r1 = root64(i64x2.extract_lane(a, 1));
  endSse(cpu);
  return f64Lanes(r0, r1);
}

/** ADDSUB: even lanes subtract, odd lanes add. */
export function addsubps(cpu: usize, a: v128, b: v128): v128 {
  beginSse(cpu);
  const r0 = lane32<Sub>(i32x4.extract_lane(a, 0), i32x4.extract_lane(b, 0));
  const r1 = lane32<Add>(i32x4.extract_lane(a, 1), i32x4.extract_lane(b, 1));
  const r2 = lane32<Sub>(i32x4.extract_lane(a, 2), i32x4.extract_lane(b, 2));
  const r3 = lane32<Add>(i32x4.extract_lane(a, 3), i32x4.extract_lane(b, 3));
  endSse(cpu);
  return f32Lanes(r0, r1, r2, r3);
}
export function addsubpd(cpu: usize, a: v128, b: v128): v128 {
  beginSse(cpu);
  const r0 = lane64<Sub>(i64x2.extract_lane(a, 0), i64x2.extract_lane(b, 0));
  const r1 = lane64<Add>(i64x2.extract_lane(a, 1), i64x2.extract_lane(b, 1));
  endSse(cpu);
  return f64Lanes(r0, r1);
}

/** Kinds of fused operation: bit 0 negates the product, bit 1 the addend; bit 2 flips bit 1 in the odd lanes. */
function fused<T>(x: u64, y: u64, z: u64, kind: u32): u64 {
  // A NaN operand passes through with its own sign.
  if (kind & 1 && !isNan<T>(x)) x ^= signBit<T>();
  if (kind & 2 && !isNan<T>(z)) z ^= signBit<T>();
  return softFma<T>(x, y, z);
}
/** Inexact results are all the same by now. */
function isFusable(): bool {
  return isPrecisionSettled && rounding === RC_NEAREST;
}
function oddKind(kind: u32): u32 {
  return kind ^ ((kind & 4) >> 1);
}
function fused32(a: u32, b: u32, c: u32, kind: u32): u32 {
  return u32(fused<f32>(<u64>a, <u64>b, <u64>c, kind));
}
/** a · b + c. kind: 0 fmadd, 1 fnmadd, 2 fmsub, 3 fnmsub, 4 fmsubadd, 6 fmaddsub. */
export function fmass(cpu: usize, a: u32, b: u32, c: u32, kind: u32): u32 {
  beginSse(cpu);
  if (isFusable()) {
    const fast = fusedLanes<f32>(i32x4.splat(a), i32x4.splat(b), i32x4.splat(c), kind);
    if (i32x4.extract_lane(fusedGood, 0)) {
      endSse(cpu);
      return i32x4.extract_lane(fast, 0);
    }
  }
  const r = fused32(a, b, c, kind);
  endSse(cpu);
  return r;
}
export function fmasd(cpu: usize, a: u64, b: u64, c: u64, kind: u32): u64 {
  beginSse(cpu);
  if (isFusable()) {
    const fast = fusedLanes<f64>(i64x2.splat(a), i64x2.splat(b), i64x2.splat(c), kind);
    if (i64x2.extract_lane(fusedGood, 0)) {
      endSse(cpu);
      return i64x2.extract_lane(fast, 0);
    }
  }
  const r = fused<f64>(a, b, c, kind);
  endSse(cpu);
  return r;
}
export function fmaps(cpu: usize, a: v128, b: v128, c: v128, kind: u32): v128 {
  beginSse(cpu);
  if (isFusable()) {
    const fast = fusedLanes<f32>(a, b, c, kind);
    if (i32x4.all_true(fusedGood)) {
      endSse(cpu);
      return fast;
    }
  }
  const odd = oddKind(kind);
  const r0 = fused32(i32x4.extract_lane(a, 0), i32x4.extract_lane(b, 0), i32x4.extract_lane(c, 0), kind);
  const r1 = fused32(i32x4.extract_lane(a, 1), i32x4.extract_lane(b, 1), i32x4.extract_lane(c, 1), odd);
  const r2 = fused32(i32x4.extract_lane(a, 2), i32x4.extract_lane(b, 2), i32x4.extract_lane(c, 2), kind);
  const r3 = fused32(i32x4.extract_lane(a, 3), i32x4.extract_lane(b, 3), i32x4.extract_lane(c, 3), odd);
  endSse(cpu);
  return f32Lanes(r0, r1, r2, r3);
}
export function fmapd(cpu: usize, a: v128, b: v128, c: v128, kind: u32): v128 {
  beginSse(cpu);
  if (isFusable()) {
    const fast = fusedLanes<f64>(a, b, c, kind);
    if (i64x2.all_true(fusedGood)) {
      endSse(cpu);
      return fast;
    }
  }
  const r0 = fused<f64>(i64x2.extract_lane(a, 0), i64x2.extract_lane(b, 0), i64x2.extract_lane(c, 0), kind);
  const r1 = fused<f64>(
    i64x2.extract_lane(a, 1),
    i64x2.extract_lane(b, 1),
    i64x2.extract_lane(c, 1),
    oddKind(kind),
  );
  endSse(cpu);
  return f64Lanes(r0, r1);
}

/** rcp and rsqrt: the rounded true value, within the architectural 1.5 · 2^-12; no exceptions, denormals are zero. */
function reciprocal(bits: u32): u32 {
  if ((bits & 0x7fffffff) > 0x7f800000) return bits | 0x00400000;
  if ((bits & 0x7f800000) === 0) return (bits & 0x80000000) | 0x7f800000;
  const r = reinterpret<u32>(1.0 / reinterpret<f32>(bits));
  return (r & 0x7f800000) === 0 ? r & 0x80000000 : r;
}
function reciprocalRoot(bits: u32): u32 {
  if ((bits & 0x7fffffff) > 0x7f800000) return bits | 0x00400000;
  if ((bits & 0x7f800000) === 0) return (bits & 0x80000000) | 0x7f800000;
  if (bits >> 31) return 0xffc00000;
  return reinterpret<u32>(<f32>(1.0 / sqrt<f64>(<f64>reinterpret<f32>(bits))));
}
export function rcpss(_cpu: usize, a: u32): u32 {
  return reciprocal(a);
}
export function rsqrtss(_cpu: usize, a: u32): u32 {
  return reciprocalRoot(a);
}
export function rcpps(_cpu: usize, a: v128): v128 {
  return f32Lanes(
    reciprocal(i32x4.extract_lane(a, 0)),
    reciprocal(i32x4.extract_lane(a, 1)),
    reciprocal(i32x4.extract_lane(a, 2)),
    reciprocal(i32x4.extract_lane(a, 3)),
  );
}
export function rsqrtps(_cpu: usize, a: v128): v128 {
  return f32Lanes(
    reciprocalRoot(i32x4.extract_lane(a, 0)),
    reciprocalRoot(i32x4.extract_lane(a, 1)),
    reciprocalRoot(i32x4.extract_lane(a, 2)),
    reciprocalRoot(i32x4.extract_lane(a, 3)),
  );
}
