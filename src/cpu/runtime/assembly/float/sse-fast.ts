/**
 * When the host's own arithmetic is exact x86 arithmetic: round to nearest, every exception masked, no flushing, and
 * nothing to report that is not already reported. PE is the only exception that ordinary operands raise and it is
 * sticky, so once a program has rounded anything the hardware does the rest. Before that, an operation that is
 * provably exact is fast as well.
 */
import { VCPU_mxcsr } from '../generated/layout';

/** Fast whatever rounding happens: PE is set already. */
@inline export function fastInexact(cpu: usize): bool {
  return (load<u32>(cpu, VCPU_mxcsr) & 0xffe0) == 0x1fa0;
}
/** Fast as far as nothing is inexact, whether or not PE is set. */
@inline export function fastExact(cpu: usize): bool {
  return (load<u32>(cpu, VCPU_mxcsr) & 0xffc0) == 0x1f80;
}

/** Zero or at least the smallest normal number (infinities and NaNs pass: the result tells them). */
@inline export function plain32(a: u32): bool {
  return (a << 1) - 1 >= 0x00ffffff;
}
@inline export function plain64(a: u64): bool {
  return (a << 1) - 1 >= 0x001fffffffffffff;
}
/** Finite and above the smallest normal number, which a tiny result may have been rounded to. */
@inline export function normal32(r: u32): bool {
  return (r & 0x7fffffff) - 0x00800001 < 0x7f800000 - 0x00800001;
}
@inline export function normal64(r: u64): bool {
  return (r & 0x7fffffffffffffff) - 0x0010000000000001 < 0x7ff0000000000000 - 0x0010000000000001;
}

/** Significant bits of a normal number's significand. */
@inline export function width64(a: u64): i32 {
  return 53 - i32(ctz(a | 0x0010000000000000));
}

@inline function lanesPlain32(a: v128): v128 {
  return i32x4.ge_u(i32x4.sub(i32x4.shl(a, 1), i32x4.splat(1)), i32x4.splat(0x00ffffff));
}
@inline function lanesNormal32(r: v128): v128 {
  const m = v128.and(r, i32x4.splat(0x7fffffff));
  return i32x4.lt_u(i32x4.sub(m, i32x4.splat(0x00800001)), i32x4.splat(0x7f800000 - 0x00800001));
}
@inline function lanesZero32(r: v128): v128 {
  return i32x4.eq(i32x4.shl(r, 1), i32x4.splat(0));
}
@inline function lanesPlain64(a: v128): v128 {
  // No unsigned 64-bit comparison in v128: an arithmetic trick on |a| instead. |a| is below 2^63, so signed will do.
  const m = v128.and(a, i64x2.splat(0x7fffffffffffffff));
  return v128.or(i64x2.ge_s(m, i64x2.splat(0x0010000000000000)), i64x2.eq(m, i64x2.splat(0)));
}
@inline function lanesNormal64(r: v128): v128 {
  const m = v128.and(r, i64x2.splat(0x7fffffffffffffff));
  return v128.and(
    i64x2.gt_s(m, i64x2.splat(0x0010000000000000)),
    i64x2.lt_s(m, i64x2.splat(0x7ff0000000000000)),
  );
}
@inline function lanesZero64(r: v128): v128 {
  return i64x2.eq(i64x2.shl(r, 1), i64x2.splat(0));
}
@inline export function lanesPlain<T>(a: v128): v128 {
  return sizeof<T>() == 4 ? lanesPlain32(a) : lanesPlain64(a);
}
@inline export function lanesNormal<T>(r: v128): v128 {
  return sizeof<T>() == 4 ? lanesNormal32(r) : lanesNormal64(r);
}
@inline export function lanesZero<T>(r: v128): v128 {
  return sizeof<T>() == 4 ? lanesZero32(r) : lanesZero64(r);
}
@inline export function allLanes<T>(mask: v128): bool {
  return i32x4.all_true(mask);
}
