/**
 * SSE arithmetic instructions. Operands are addresses in machine memory; the destination is written only when the
 * result (0) says that no exception is unmasked, and may alias an operand. Scalar forms write the low lane alone.
 */
import { allLanes, fastExact, fastInexact, lanesNormal, lanesPlain, lanesZero, normal32, normal64, plain32, plain64, width64 } from './sse-fast';
import { ADD, DIV, lanesBinary, lanesSqrt, MAX, MIN, MUL, SUB } from './sse-lanes';

/** The host's operation; `op` is constant at every use. */
@inline function native<T>(op: i32, x: T, y: T): T {
  if (op == ADD) return (x + y) as T;
  if (op == SUB) return (x - y) as T;
  if (op == MUL) return (x * y) as T;
  return (x / y) as T;
}
@inline function nativeLanes<T>(op: i32, x: v128, y: v128): v128 {
  if (op == ADD) return v128.add<T>(x, y);
  if (op == SUB) return v128.sub<T>(x, y);
  if (op == MUL) return v128.mul<T>(x, y);
  return v128.div<T>(x, y);
}

/** Error of a rounded sum that neither overflows nor involves denormals (two-sum). */
@inline function sumIsExact(x: f64, y: f64, s: f64): bool {
  const t = s - x;
  return x - (s - t) + (y - t) == 0;
}

@inline function scalar32(cpu: usize, op: i32, a: usize, b: usize, dst: usize): i32 {
  if (fastExact(cpu)) {
    const xb = load<u32>(a);
    const yb = load<u32>(b);
    const x = reinterpret<f32>(xb);
    const y = reinterpret<f32>(yb);
    const r = native<f32>(op, x, y);
    const rb = reinterpret<u32>(r);
    if (plain32(xb) && plain32(yb)) {
      // A sum or difference that is zero is exact; so is a product or quotient with a zero operand.
      let good = normal32(rb);
      if (!good && rb << 1 == 0) {
        good = op == ADD || op == SUB || xb << 1 == 0 || (op == MUL && yb << 1 == 0);
        if (good) {
          // 0 / 0 gives a NaN and 0 · infinity too: a zero result is a true zero.
          store<u32>(dst, rb);
          return 0;
        }
      }
      if (good) {
        let exact = fastInexact(cpu);
        if (!exact) {
          const wide: f64 = op == DIV ? <f64>r * <f64>y : native<f64>(op, <f64>x, <f64>y);
          if (op == DIV) exact = wide == <f64>x;
          else if (op == MUL) exact = wide == <f64>r;
          else exact = wide == <f64>r && sumIsExact(<f64>x, op == ADD ? <f64>y : -(<f64>y), wide);
        }
        if (exact) {
          store<u32>(dst, rb);
          return 0;
        }
      }
    }
  }
  return lanesBinary<f32>(cpu, op, a, b, dst, 1);
}

@inline function scalar64(cpu: usize, op: i32, a: usize, b: usize, dst: usize): i32 {
  if (fastExact(cpu)) {
    const xb = load<u64>(a);
    const yb = load<u64>(b);
    const x = reinterpret<f64>(xb);
    const y = reinterpret<f64>(yb);
    const r = native<f64>(op, x, y);
    const rb = reinterpret<u64>(r);
    if (plain64(xb) && plain64(yb)) {
      let good = normal64(rb);
      if (!good && rb << 1 == 0) {
        good = op == ADD || op == SUB || xb << 1 == 0 || (op == MUL && yb << 1 == 0);
        if (good) {
          store<u64>(dst, rb);
          return 0;
        }
      }
      if (good) {
        let exact = fastInexact(cpu);
        if (!exact) {
          // A product is exact when its factors are narrow enough together.
          if (op == MUL) exact = width64(xb) + width64(yb) <= 53;
          else if (op == DIV) exact = width64(rb) + width64(yb) <= 53 && r * y == x;
          else exact = sumIsExact(x, op == ADD ? y : -y, r);
        }
        if (exact) {
          store<u64>(dst, rb);
          return 0;
        }
      }
    }
  }
  return lanesBinary<f64>(cpu, op, a, b, dst, 1);
}

@inline function packed<T>(cpu: usize, op: i32, a: usize, b: usize, dst: usize): i32 {
  if (fastInexact(cpu)) {
    const x = v128.load(a);
    const y = v128.load(b);
    const r = nativeLanes<T>(op, x, y);
    let good = lanesNormal<T>(r);
    if (op == ADD || op == SUB) good = v128.or(good, lanesZero<T>(r));
    else if (op == MUL) good = v128.or(good, v128.and(lanesZero<T>(r), v128.or(lanesZero<T>(x), lanesZero<T>(y))));
    else good = v128.or(good, v128.and(lanesZero<T>(r), lanesZero<T>(x)));
    if (allLanes<T>(v128.and(good, v128.and(lanesPlain<T>(x), lanesPlain<T>(y))))) {
      v128.store(dst, r);
      return 0;
    }
  }
  return lanesBinary<T>(cpu, op, a, b, dst, 16 / sizeof<T>());
}

export function addss(cpu: usize, a: usize, b: usize, dst: usize): i32 { return scalar32(cpu, ADD, a, b, dst); }
export function subss(cpu: usize, a: usize, b: usize, dst: usize): i32 { return scalar32(cpu, SUB, a, b, dst); }
export function mulss(cpu: usize, a: usize, b: usize, dst: usize): i32 { return scalar32(cpu, MUL, a, b, dst); }
export function divss(cpu: usize, a: usize, b: usize, dst: usize): i32 { return scalar32(cpu, DIV, a, b, dst); }
export function addsd(cpu: usize, a: usize, b: usize, dst: usize): i32 { return scalar64(cpu, ADD, a, b, dst); }
export function subsd(cpu: usize, a: usize, b: usize, dst: usize): i32 { return scalar64(cpu, SUB, a, b, dst); }
export function mulsd(cpu: usize, a: usize, b: usize, dst: usize): i32 { return scalar64(cpu, MUL, a, b, dst); }
export function divsd(cpu: usize, a: usize, b: usize, dst: usize): i32 { return scalar64(cpu, DIV, a, b, dst); }
export function addps(cpu: usize, a: usize, b: usize, dst: usize): i32 { return packed<f32>(cpu, ADD, a, b, dst); }
export function subps(cpu: usize, a: usize, b: usize, dst: usize): i32 { return packed<f32>(cpu, SUB, a, b, dst); }
export function mulps(cpu: usize, a: usize, b: usize, dst: usize): i32 { return packed<f32>(cpu, MUL, a, b, dst); }
export function divps(cpu: usize, a: usize, b: usize, dst: usize): i32 { return packed<f32>(cpu, DIV, a, b, dst); }
export function addpd(cpu: usize, a: usize, b: usize, dst: usize): i32 { return packed<f64>(cpu, ADD, a, b, dst); }
export function subpd(cpu: usize, a: usize, b: usize, dst: usize): i32 { return packed<f64>(cpu, SUB, a, b, dst); }
export function mulpd(cpu: usize, a: usize, b: usize, dst: usize): i32 { return packed<f64>(cpu, MUL, a, b, dst); }
export function divpd(cpu: usize, a: usize, b: usize, dst: usize): i32 { return packed<f64>(cpu, DIV, a, b, dst); }

/** min and max round nothing: fast whenever no operand is denormal or NaN, which the sum of magnitudes shows. */
@inline function scalarOrder<T>(cpu: usize, op: i32, a: usize, b: usize, dst: usize): i32 {
  if (fastExact(cpu)) {
    const x = load<T>(a);
    const y = load<T>(b);
    const ok = sizeof<T>() == 4
      ? plain32(load<u32>(a)) && plain32(load<u32>(b))
      : plain64(load<u64>(a)) && plain64(load<u64>(b));
    if (ok && x == x && y == y) {
      store<T>(dst, (op == MIN ? x < y : x > y) ? x : y);
      return 0;
    }
  }
  return lanesBinary<T>(cpu, op, a, b, dst, 1);
}
@inline function packedOrder<T>(cpu: usize, op: i32, a: usize, b: usize, dst: usize): i32 {
  if (fastExact(cpu)) {
    const x = v128.load(a);
    const y = v128.load(b);
    const ordered = v128.and(v128.eq<T>(x, x), v128.eq<T>(y, y));
    if (allLanes<T>(v128.and(ordered, v128.and(lanesPlain<T>(x), lanesPlain<T>(y))))) {
      // The second operand unless the first is strictly smaller (larger).
      v128.store(dst, v128.bitselect(x, y, op == MIN ? v128.lt<T>(x, y) : v128.gt<T>(x, y)));
      return 0;
    }
  }
  return lanesBinary<T>(cpu, op, a, b, dst, 16 / sizeof<T>());
}
export function minss(cpu: usize, a: usize, b: usize, dst: usize): i32 { return scalarOrder<f32>(cpu, MIN, a, b, dst); }
export function maxss(cpu: usize, a: usize, b: usize, dst: usize): i32 { return scalarOrder<f32>(cpu, MAX, a, b, dst); }
export function minsd(cpu: usize, a: usize, b: usize, dst: usize): i32 { return scalarOrder<f64>(cpu, MIN, a, b, dst); }
export function maxsd(cpu: usize, a: usize, b: usize, dst: usize): i32 { return scalarOrder<f64>(cpu, MAX, a, b, dst); }
export function minps(cpu: usize, a: usize, b: usize, dst: usize): i32 { return packedOrder<f32>(cpu, MIN, a, b, dst); }
export function maxps(cpu: usize, a: usize, b: usize, dst: usize): i32 { return packedOrder<f32>(cpu, MAX, a, b, dst); }
export function minpd(cpu: usize, a: usize, b: usize, dst: usize): i32 { return packedOrder<f64>(cpu, MIN, a, b, dst); }
export function maxpd(cpu: usize, a: usize, b: usize, dst: usize): i32 { return packedOrder<f64>(cpu, MAX, a, b, dst); }

/** A root is normal whenever its operand is, so the result decides with the operand not denormal. */
@inline function packedRoot<T>(cpu: usize, a: usize, dst: usize): i32 {
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
export function sqrtss(cpu: usize, a: usize, dst: usize): i32 {
  if (fastExact(cpu)) {
    const x = load<f32>(a);
    const r = sqrt<f32>(x);
    if (plain32(load<u32>(a)) && normal32(reinterpret<u32>(r)) && (fastInexact(cpu) || <f64>r * <f64>r == <f64>x)) {
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
    if (plain64(load<u64>(a)) && normal64(rb) && (fastInexact(cpu) || (width64(rb) <= 26 && r * r == x))) {
      store<f64>(dst, r);
      return 0;
    }
  }
  return lanesSqrt<f64>(cpu, a, dst, 1);
}
export function sqrtps(cpu: usize, a: usize, dst: usize): i32 { return packedRoot<f32>(cpu, a, dst); }
export function sqrtpd(cpu: usize, a: usize, dst: usize): i32 { return packedRoot<f64>(cpu, a, dst); }

/** rcp and rsqrt: the rounded true value, within the architectural 1.5 · 2^-12; no exceptions, denormals are zero. */
@inline function reciprocal(bits: u32): u32 {
  if ((bits & 0x7fffffff) > 0x7f800000) return bits | 0x00400000;
  if ((bits & 0x7f800000) == 0) return (bits & 0x80000000) | 0x7f800000;
  const r = reinterpret<u32>(1.0 / reinterpret<f32>(bits));
  return (r & 0x7f800000) == 0 ? r & 0x80000000 : r;
}
@inline function reciprocalRoot(bits: u32): u32 {
  if ((bits & 0x7fffffff) > 0x7f800000) return bits | 0x00400000;
  if ((bits & 0x7f800000) == 0) return (bits & 0x80000000) | 0x7f800000;
  if (bits >> 31) return 0xffc00000;
  return reinterpret<u32>(<f32>(1.0 / sqrt<f64>(<f64>reinterpret<f32>(bits))));
}
export function rcpss(cpu: usize, a: usize, dst: usize): void { store<u32>(dst, reciprocal(load<u32>(a))); }
export function rsqrtss(cpu: usize, a: usize, dst: usize): void { store<u32>(dst, reciprocalRoot(load<u32>(a))); }
export function rcpps(cpu: usize, a: usize, dst: usize): void {
  for (let i: usize = 0; i < 16; i += 4) store<u32>(dst + i, reciprocal(load<u32>(a + i)));
}
export function rsqrtps(cpu: usize, a: usize, dst: usize): void {
  for (let i: usize = 0; i < 16; i += 4) store<u32>(dst + i, reciprocalRoot(load<u32>(a + i)));
}
