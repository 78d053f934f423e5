// biome-ignore-all lint/correctness/noPrecisionLoss: integers have 64 bits here
/**
 * When the host's own arithmetic is exact x86 arithmetic: round to nearest, every exception masked, no flushing, and
 * nothing to report that is not already reported. PE is the only exception that ordinary operands raise and it is
 * sticky, so once a program has rounded anything the hardware does the rest. Before that, an operation that is
 * provably exact is fast as well.
 */

import { VCPU_mxcsr } from '../generated/layout';

/** Fast whatever rounding happens: PE is set already. */
export function fastInexact(cpu: usize): bool {
  return (load<u32>(cpu, VCPU_mxcsr) & 0xffe0) === 0x1fa0;
}
/** Fast as far as nothing is inexact, whether or not PE is set. */
export function fastExact(cpu: usize): bool {
  return (load<u32>(cpu, VCPU_mxcsr) & 0xffc0) === 0x1f80;
}

/** Zero or at least the smallest normal number (infinities and NaNs pass: the result tells them). */
export function plain32(a: u32): bool {
  return (a << 1) - 1 >= 0x00ffffff;
}
export function plain64(a: u64): bool {
  return (a << 1) - 1 >= 0x001fffffffffffff;
}
/** Finite and above the smallest normal number, which a tiny result may have been rounded to. */
export function normal32(r: u32): bool {
  return (r & 0x7fffffff) - 0x00800001 < 0x7f800000 - 0x00800001;
}
export function normal64(r: u64): bool {
  return (r & 0x7fffffffffffffff) - 0x0010000000000001 < 0x7ff0000000000000 - 0x0010000000000001;
}

/** Significant bits of a normal number's significand. */
export function width64(a: u64): i32 {
  return 53 - i32(ctz(a | 0x0010000000000000));
}

/** The operand at an address is a zero, a normal number or an infinity: comparisons have nothing to report. */
export function comparable<T>(address: usize): bool {
  if (sizeof<T>() === 4) {
    const twice = load<u32>(address) << 1;
    return twice === 0 || twice - 0x01000000 <= 0xfe000000;
  }
  const twice = load<u64>(address) << 1;
  return twice === 0 || twice - 0x0020000000000000 <= 0xffc0000000000000;
}
