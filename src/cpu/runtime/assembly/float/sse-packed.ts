// biome-ignore-all lint/correctness/noPrecisionLoss: integers have 64 bits here
/**
 * Packed SSE arithmetic, minimum, maximum, roots and comparisons; conventions as in sse-binary.ts. The fast path holds
 * when every lane satisfies its conditions.
 */

import { fastExact, fastInexact } from './sse-fast';
import { ADD, DIV, lanesBinary, lanesCmp, lanesSqrt, MAX, MIN, MUL, SUB } from './sse-lanes';

/**
 * The operation is a type parameter, so that each instruction is compiled by itself: the size of the type names it.
 */
type Add = i8;
type Sub = i16;
type Mul = i32;
type Div = i64;
function operation<O>(): i32 {
  return sizeof<O>() === 1 ? ADD : sizeof<O>() === 2 ? SUB : sizeof<O>() === 4 ? MUL : DIV;
}
function nativeLanes<T, O>(x: v128, y: v128): v128 {
  if (sizeof<O>() === 1) return v128.add<T>(x, y);
  if (sizeof<O>() === 2) return v128.sub<T>(x, y);
  if (sizeof<O>() === 4) return v128.mul<T>(x, y);
  return v128.div<T>(x, y);
}

function lanesPlain32(a: v128): v128 {
  return i32x4.ge_u(i32x4.sub(i32x4.shl(a, 1), i32x4.splat(1)), i32x4.splat(0x00ffffff));
}
function lanesNormal32(r: v128): v128 {
  const m = v128.and(r, i32x4.splat(0x7fffffff));
  return i32x4.lt_u(i32x4.sub(m, i32x4.splat(0x00800001)), i32x4.splat(0x7f800000 - 0x00800001));
}
function lanesZero32(r: v128): v128 {
  return i32x4.eq(i32x4.shl(r, 1), i32x4.splat(0));
}
function lanesPlain64(a: v128): v128 {
  // No unsigned 64-bit comparison in v128: an arithmetic trick on |a| instead. |a| is below 2^63, so signed will do.
  const m = v128.and(a, i64x2.splat(0x7fffffffffffffff));
  return v128.or(i64x2.ge_s(m, i64x2.splat(0x0010000000000000)), i64x2.eq(m, i64x2.splat(0)));
}
function lanesNormal64(r: v128): v128 {
  const m = v128.and(r, i64x2.splat(0x7fffffffffffffff));
  return v128.and(
    i64x2.gt_s(m, i64x2.splat(0x0010000000000000)),
    i64x2.lt_s(m, i64x2.splat(0x7ff0000000000000)),
  );
}
function lanesZero64(r: v128): v128 {
  return i64x2.eq(i64x2.shl(r, 1), i64x2.splat(0));
}
function lanesPlain<T>(a: v128): v128 {
  return sizeof<T>() === 4 ? lanesPlain32(a) : lanesPlain64(a);
}
function lanesNormal<T>(r: v128): v128 {
  return sizeof<T>() === 4 ? lanesNormal32(r) : lanesNormal64(r);
}
function lanesZero<T>(r: v128): v128 {
  return sizeof<T>() === 4 ? lanesZero32(r) : lanesZero64(r);
}
function allLanes<_T>(mask: v128): bool {
  return i32x4.all_true(mask);
}

function packed<T, O>(cpu: usize, a: usize, b: usize, dst: usize): i32 {
  if (fastInexact(cpu)) {
    const x = v128.load(a);
    const y = v128.load(b);
    const r = nativeLanes<T, O>(x, y);
    let good = lanesNormal<T>(r);
    if (sizeof<O>() === 1 || sizeof<O>() === 2) good = v128.or(good, lanesZero<T>(r));
    else if (sizeof<O>() === 4)
      good = v128.or(good, v128.and(lanesZero<T>(r), v128.or(lanesZero<T>(x), lanesZero<T>(y))));
    else good = v128.or(good, v128.and(lanesZero<T>(r), lanesZero<T>(x)));
    if (allLanes<T>(v128.and(good, v128.and(lanesPlain<T>(x), lanesPlain<T>(y))))) {
      v128.store(dst, r);
      return 0;
    }
  }
  return lanesBinary<T>(cpu, operation<O>(), a, b, dst, 16 / sizeof<T>());
}

export function addps(cpu: usize, a: usize, b: usize, dst: usize): i32 {
  return packed<f32, Add>(cpu, a, b, dst);
}
export function subps(cpu: usize, a: usize, b: usize, dst: usize): i32 {
  return packed<f32, Sub>(cpu, a, b, dst);
}
export function mulps(cpu: usize, a: usize, b: usize, dst: usize): i32 {
  return packed<f32, Mul>(cpu, a, b, dst);
}
export function divps(cpu: usize, a: usize, b: usize, dst: usize): i32 {
  return packed<f32, Div>(cpu, a, b, dst);
}
export function addpd(cpu: usize, a: usize, b: usize, dst: usize): i32 {
  return packed<f64, Add>(cpu, a, b, dst);
}
export function subpd(cpu: usize, a: usize, b: usize, dst: usize): i32 {
  return packed<f64, Sub>(cpu, a, b, dst);
}
export function mulpd(cpu: usize, a: usize, b: usize, dst: usize): i32 {
  return packed<f64, Mul>(cpu, a, b, dst);
}
export function divpd(cpu: usize, a: usize, b: usize, dst: usize): i32 {
  return packed<f64, Div>(cpu, a, b, dst);
}

function packedOrder<T>(cpu: usize, op: i32, a: usize, b: usize, dst: usize): i32 {
  if (fastExact(cpu)) {
    const x = v128.load(a);
    const y = v128.load(b);
    const ordered = v128.and(v128.eq<T>(x, x), v128.eq<T>(y, y));
    if (allLanes<T>(v128.and(ordered, v128.and(lanesPlain<T>(x), lanesPlain<T>(y))))) {
      // The second operand unless the first is strictly smaller (larger).
      v128.store(dst, v128.bitselect(x, y, op === MIN ? v128.lt<T>(x, y) : v128.gt<T>(x, y)));
      return 0;
    }
  }
  return lanesBinary<T>(cpu, op, a, b, dst, 16 / sizeof<T>());
}
export function minps(cpu: usize, a: usize, b: usize, dst: usize): i32 {
  return packedOrder<f32>(cpu, MIN, a, b, dst);
}
export function maxps(cpu: usize, a: usize, b: usize, dst: usize): i32 {
  return packedOrder<f32>(cpu, MAX, a, b, dst);
}
export function minpd(cpu: usize, a: usize, b: usize, dst: usize): i32 {
  return packedOrder<f64>(cpu, MIN, a, b, dst);
}
export function maxpd(cpu: usize, a: usize, b: usize, dst: usize): i32 {
  return packedOrder<f64>(cpu, MAX, a, b, dst);
}

/** A root is normal whenever its operand is, so the result decides with the operand not denormal. */
function packedRoot<T>(cpu: usize, a: usize, dst: usize): i32 {
  if (fastInexact(cpu)) {
    const x = v128.load(a);
    const r = v128.sqrt<T>(x);
    if (allLanes<T>(v128.and(lanesPlain<T>(x), v128.or(lanesNormal<T>(r), lanesZero<T>(r))))) {
      v128.store(dst, r);
      return 0;
    }
  }
  return lanesSqrt<T>(cpu, a, dst, 16 / sizeof<T>());
}
export function sqrtps(cpu: usize, a: usize, dst: usize): i32 {
  return packedRoot<f32>(cpu, a, dst);
}
export function sqrtpd(cpu: usize, a: usize, dst: usize): i32 {
  return packedRoot<f64>(cpu, a, dst);
}

/** Fast when the predicate is one of the first eight and neither operand is denormal or NaN. */
function packedCmp<T>(cpu: usize, a: usize, b: usize, dst: usize, predicate: u32): i32 {
  if (predicate < 8 && fastExact(cpu)) {
    const x = v128.load(a);
    const y = v128.load(b);
    const numbers = v128.and(v128.eq<T>(x, x), v128.eq<T>(y, y));
    if (allLanes<T>(v128.and(numbers, v128.and(lanesPlain<T>(x), lanesPlain<T>(y))))) {
      let r: v128;
      switch (predicate & 3) {
        case 0:
          r = v128.eq<T>(x, y);
          break;
        case 1:
          r = v128.lt<T>(x, y);
          break;
        case 2:
          r = v128.le<T>(x, y);
          break;
        default:
          r = i32x4.splat(0);
      }
      v128.store(dst, predicate & 4 ? v128.not(r) : r);
      return 0;
    }
  }
  return lanesCmp<T>(cpu, a, b, dst, predicate, 16 / sizeof<T>());
}
export function cmpps(cpu: usize, a: usize, b: usize, dst: usize, predicate: u32): i32 {
  return packedCmp<f32>(cpu, a, b, dst, predicate);
}
export function cmppd(cpu: usize, a: usize, b: usize, dst: usize, predicate: u32): i32 {
  return packedCmp<f64>(cpu, a, b, dst, predicate);
}
