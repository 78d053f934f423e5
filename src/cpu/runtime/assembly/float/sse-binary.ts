/**
 * SSE arithmetic instructions. Operands are addresses in machine memory; the destination is written only when the
 * result (0) says that no exception is unmasked, and may alias an operand. Scalar forms write the low lane alone.
 */

import {
  comparable,
  fastExact,
  fastInexact,
  normal32,
  normal64,
  plain32,
  plain64,
  width64,
} from './sse-fast';
import { ADD, DIV, lanesBinary, lanesSqrt, MAX, MIN, MUL, SUB } from './sse-lanes';

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
/** The host's operation. */
function native<T, O>(x: T, y: T): T {
  if (sizeof<O>() === 1) return (x + y) as T;
  if (sizeof<O>() === 2) return (x - y) as T;
  if (sizeof<O>() === 4) return (x * y) as T;
  return (x / y) as T;
}
/** Error of a rounded sum that neither overflows nor involves denormals (two-sum). */
function sumIsExact(x: f64, y: f64, s: f64): bool {
  const t = s - x;
  return x - (s - t) + (y - t) === 0;
}

function scalar32<O>(cpu: usize, a: usize, b: usize, dst: usize): i32 {
  if (fastExact(cpu)) {
    const xb = load<u32>(a);
    const yb = load<u32>(b);
    const x = reinterpret<f32>(xb);
    const y = reinterpret<f32>(yb);
    const r = native<f32, O>(x, y);
    const rb = reinterpret<u32>(r);
    if (plain32(xb) && plain32(yb)) {
      // A sum or difference that is zero is exact; so is a product or quotient with a zero operand.
      let good = normal32(rb);
      if (!good && rb << 1 === 0) {
        good =
          sizeof<O>() === 1 || sizeof<O>() === 2 || xb << 1 === 0 || (sizeof<O>() === 4 && yb << 1 === 0);
        if (good) {
          // 0 / 0 gives a NaN and 0 · infinity too: a zero result is a true zero.
          store<u32>(dst, rb);
          return 0;
        }
      }
      if (good) {
        let exact = fastInexact(cpu);
        if (!exact) {
          const wide: f64 = sizeof<O>() === 8 ? <f64>r * <f64>y : native<f64, O>(<f64>x, <f64>y);
          if (sizeof<O>() === 8) exact = wide === <f64>x;
          else if (sizeof<O>() === 4) exact = wide === <f64>r;
          else exact = wide === <f64>r && sumIsExact(<f64>x, sizeof<O>() === 1 ? <f64>y : -(<f64>y), wide);
        }
        if (exact) {
          store<u32>(dst, rb);
          return 0;
        }
      }
    }
  }
  return lanesBinary<f32>(cpu, operation<O>(), a, b, dst, 1);
}

function scalar64<O>(cpu: usize, a: usize, b: usize, dst: usize): i32 {
  if (fastExact(cpu)) {
    const xb = load<u64>(a);
    const yb = load<u64>(b);
    const x = reinterpret<f64>(xb);
    const y = reinterpret<f64>(yb);
    const r = native<f64, O>(x, y);
    const rb = reinterpret<u64>(r);
    if (plain64(xb) && plain64(yb)) {
      let good = normal64(rb);
      if (!good && rb << 1 === 0) {
        good =
          sizeof<O>() === 1 || sizeof<O>() === 2 || xb << 1 === 0 || (sizeof<O>() === 4 && yb << 1 === 0);
        if (good) {
          store<u64>(dst, rb);
          return 0;
        }
      }
      if (good) {
        let exact = fastInexact(cpu);
        if (!exact) {
          // A product is exact when its factors are narrow enough together.
          if (sizeof<O>() === 4) exact = width64(xb) + width64(yb) <= 53;
          else if (sizeof<O>() === 8) exact = width64(rb) + width64(yb) <= 53 && r * y === x;
          else exact = sumIsExact(x, sizeof<O>() === 1 ? y : -y, r);
        }
        if (exact) {
          store<u64>(dst, rb);
          return 0;
        }
      }
    }
  }
  return lanesBinary<f64>(cpu, operation<O>(), a, b, dst, 1);
}

export function addss(cpu: usize, a: usize, b: usize, dst: usize): i32 {
  return scalar32<Add>(cpu, a, b, dst);
}
export function subss(cpu: usize, a: usize, b: usize, dst: usize): i32 {
  return scalar32<Sub>(cpu, a, b, dst);
}
export function mulss(cpu: usize, a: usize, b: usize, dst: usize): i32 {
  return scalar32<Mul>(cpu, a, b, dst);
}
export function divss(cpu: usize, a: usize, b: usize, dst: usize): i32 {
  return scalar32<Div>(cpu, a, b, dst);
}
export function addsd(cpu: usize, a: usize, b: usize, dst: usize): i32 {
  return scalar64<Add>(cpu, a, b, dst);
}
export function subsd(cpu: usize, a: usize, b: usize, dst: usize): i32 {
  return scalar64<Sub>(cpu, a, b, dst);
}
export function mulsd(cpu: usize, a: usize, b: usize, dst: usize): i32 {
  return scalar64<Mul>(cpu, a, b, dst);
}
export function divsd(cpu: usize, a: usize, b: usize, dst: usize): i32 {
  return scalar64<Div>(cpu, a, b, dst);
}

/** min and max round nothing: fast whenever no operand is denormal or NaN, which the sum of magnitudes shows. */
function scalarOrder<T>(cpu: usize, op: i32, a: usize, b: usize, dst: usize): i32 {
  if (fastExact(cpu)) {
    const x = load<T>(a);
    const y = load<T>(b);
    if (comparable<T>(a) && comparable<T>(b)) {
      store<T>(dst, (op === MIN ? x < y : x > y) ? x : y);
      return 0;
    }
  }
  return lanesBinary<T>(cpu, op, a, b, dst, 1);
}
export function minss(cpu: usize, a: usize, b: usize, dst: usize): i32 {
  return scalarOrder<f32>(cpu, MIN, a, b, dst);
}
export function maxss(cpu: usize, a: usize, b: usize, dst: usize): i32 {
  return scalarOrder<f32>(cpu, MAX, a, b, dst);
}
export function minsd(cpu: usize, a: usize, b: usize, dst: usize): i32 {
  return scalarOrder<f64>(cpu, MIN, a, b, dst);
}
export function maxsd(cpu: usize, a: usize, b: usize, dst: usize): i32 {
  return scalarOrder<f64>(cpu, MAX, a, b, dst);
}

export function sqrtss(cpu: usize, a: usize, dst: usize): i32 {
  if (fastExact(cpu)) {
    const x = load<f32>(a);
    const r = sqrt<f32>(x);
    if (
      plain32(load<u32>(a)) &&
      normal32(reinterpret<u32>(r)) &&
      (fastInexact(cpu) || <f64>r * <f64>r === <f64>x)
    ) {
      store<f32>(dst, r);
      return 0;
    }
  }
  return lanesSqrt<f32>(cpu, a, dst, 1);
}
export function sqrtsd(cpu: usize, a: usize, dst: usize): i32 {
  if (fastExact(cpu)) {
    const x = load<f64>(a);
    const r = sqrt<f64>(x);
    const rb = reinterpret<u64>(r);
    if (plain64(load<u64>(a)) && normal64(rb) && (fastInexact(cpu) || (width64(rb) <= 26 && r * r === x))) {
      store<f64>(dst, r);
      return 0;
    }
  }
  return lanesSqrt<f64>(cpu, a, dst, 1);
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
export function rcpss(_cpu: usize, a: usize, dst: usize): void {
  store<u32>(dst, reciprocal(load<u32>(a)));
}
export function rsqrtss(_cpu: usize, a: usize, dst: usize): void {
  store<u32>(dst, reciprocalRoot(load<u32>(a)));
}
export function rcpps(_cpu: usize, a: usize, dst: usize): void {
  for (let i: usize = 0; i < 16; i += 4) store<u32>(dst + i, reciprocal(load<u32>(a + i)));
}
export function rsqrtps(_cpu: usize, a: usize, dst: usize): void {
  for (let i: usize = 0; i < 16; i += 4) store<u32>(dst + i, reciprocalRoot(load<u32>(a + i)));
}
