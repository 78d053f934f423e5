/** SSE comparisons; conventions as in sse-arithmetic.ts. */

import { beginSse, endSse } from './control';
import { EQUAL, LESS, softCmp, softRelation, UNORDERED } from './sse-arith';
import { f32Lanes, f64Lanes } from './sse-vector';

/** Bit 0: less or unordered (CF). Bit 1: neither equal nor unordered (ZF clear). Bit 2: unordered (PF). */
function relationBits(relation: u32): i32 {
  return relation === UNORDERED ? 5 : relation === LESS ? 3 : relation === EQUAL ? 0 : 2;
}
function ordered<T>(cpu: usize, a: u64, b: u64, signalling: bool): i32 {
  beginSse(cpu);
  const r = softRelation<T>(a, b, signalling);
  endSse(cpu);
  return relationBits(r);
}
export function ucomiss(cpu: usize, a: u32, b: u32): i32 {
  return ordered<f32>(cpu, <u64>a, <u64>b, false);
}
export function comiss(cpu: usize, a: u32, b: u32): i32 {
  return ordered<f32>(cpu, <u64>a, <u64>b, true);
}
export function ucomisd(cpu: usize, a: u64, b: u64): i32 {
  return ordered<f64>(cpu, a, b, false);
}
export function comisd(cpu: usize, a: u64, b: u64): i32 {
  return ordered<f64>(cpu, a, b, true);
}

/** Any of the 32 predicates. */
export function cmpss(cpu: usize, a: u32, b: u32, predicate: u32): u32 {
  beginSse(cpu);
  const r = u32(softCmp<f32>(<u64>a, <u64>b, predicate));
  endSse(cpu);
  return r;
}
export function cmpsd(cpu: usize, a: u64, b: u64, predicate: u32): u64 {
  beginSse(cpu);
  const r = softCmp<f64>(a, b, predicate);
  endSse(cpu);
  return r;
}
function compare32(a: u32, b: u32, predicate: u32): u32 {
  return u32(softCmp<f32>(<u64>a, <u64>b, predicate));
}
export function cmpps(cpu: usize, a: v128, b: v128, predicate: u32): v128 {
  beginSse(cpu);
  const r0 = compare32(i32x4.extract_lane(a, 0), i32x4.extract_lane(b, 0), predicate);
  const r1 = compare32(i32x4.extract_lane(a, 1), i32x4.extract_lane(b, 1), predicate);
  const r2 = compare32(i32x4.extract_lane(a, 2), i32x4.extract_lane(b, 2), predicate);
  const r3 = compare32(i32x4.extract_lane(a, 3), i32x4.extract_lane(b, 3), predicate);
  endSse(cpu);
  return f32Lanes(r0, r1, r2, r3);
}
export function cmppd(cpu: usize, a: v128, b: v128, predicate: u32): v128 {
  beginSse(cpu);
  const r0 = softCmp<f64>(i64x2.extract_lane(a, 0), i64x2.extract_lane(b, 0), predicate);
  const r1 = softCmp<f64>(i64x2.extract_lane(a, 1), i64x2.extract_lane(b, 1), predicate);
  endSse(cpu);
  return f64Lanes(r0, r1);
}
