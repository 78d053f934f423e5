/**
 * Lane loops around the exact operations: what an SSE instruction does when its fast path does not apply. All lanes
 * are computed before anything is written, so an unmasked exception leaves the destination alone and `dst` may alias
 * an operand.
 */

import { beginSse, endSse, setRaised, setRounding } from './control';
import { isNan, signBit } from './format';
import {
  softConvert,
  softFromHalf,
  softFromInteger,
  softRound,
  softToHalf,
  softToInteger,
  softTruncate,
} from './integer';
import {
  softAdd,
  softCmp,
  softDiv,
  softFma,
  softMax,
  softMin,
  softMul,
  softSqrt,
  softSub,
} from './sse-arith';

export const ADD: i32 = 0;
export const SUB: i32 = 1;
export const MUL: i32 = 2;
export const DIV: i32 = 3;
export const MIN: i32 = 4;
export const MAX: i32 = 5;

export function lane<T>(address: usize, index: i32): u64 {
  return sizeof<T>() === 4
    ? <u64>load<u32>(address + (index << 2))
    : sizeof<T>() === 8
      ? load<u64>(address + (index << 3))
      : <u64>load<u16>(address + (index << 1));
}

let low: u64 = 0;
let high: u64 = 0;
function clear(): void {
  low = 0;
  high = 0;
}
/** Collect lane `index` of the result. */
function put<T>(index: i32, value: u64): void {
  const shift = (index * sizeof<T>() * 8) & 63;
  if (index * sizeof<T>() < 8) low |= value << shift;
  else high |= value << shift;
}
/** Write the result unless an exception is unmasked. `bytes`: 4, 8 or 16. */
function finish(cpu: usize, dst: usize, bytes: i32): i32 {
  if (endSse(cpu)) return 1;
  if (bytes === 4) {
    store<u32>(dst, u32(low));
  } else {
    store<u64>(dst, low);
    if (bytes === 16) store<u64>(dst, high, 8);
  }
  return 0;
}

function binary<T>(op: i32, a: u64, b: u64): u64 {
  switch (op) {
    case ADD:
      return softAdd<T>(a, b);
    case SUB:
      return softSub<T>(a, b);
    case MUL:
      return softMul<T>(a, b);
    case DIV:
      return softDiv<T>(a, b);
    case MIN:
      return softMin<T>(a, b);
    default:
      return softMax<T>(a, b);
  }
}

export function lanesBinary<T>(cpu: usize, op: i32, a: usize, b: usize, dst: usize, count: i32): i32 {
  beginSse(cpu);
  clear();
  for (let i = 0; i < count; i++) put<T>(i, binary<T>(op, lane<T>(a, i), lane<T>(b, i)));
  return finish(cpu, dst, count * sizeof<T>());
}

export function lanesSqrt<T>(cpu: usize, a: usize, dst: usize, count: i32): i32 {
  beginSse(cpu);
  clear();
  for (let i = 0; i < count; i++) put<T>(i, softSqrt<T>(lane<T>(a, i)));
  return finish(cpu, dst, count * sizeof<T>());
}

export function lanesCmp<T>(cpu: usize, a: usize, b: usize, dst: usize, predicate: u32, count: i32): i32 {
  beginSse(cpu);
  clear();
  for (let i = 0; i < count; i++) put<T>(i, softCmp<T>(lane<T>(a, i), lane<T>(b, i), predicate));
  return finish(cpu, dst, count * sizeof<T>());
}

/** ADDSUB: even lanes subtract, odd lanes add. */
export function lanesAddSub<T>(cpu: usize, a: usize, b: usize, dst: usize, count: i32): i32 {
  beginSse(cpu);
  clear();
  for (let i = 0; i < count; i++) put<T>(i, binary<T>(i & 1 ? ADD : SUB, lane<T>(a, i), lane<T>(b, i)));
  return finish(cpu, dst, count * sizeof<T>());
}

/** HADD and HSUB: neighbours of a, then neighbours of b. */
export function lanesHorizontal<T>(cpu: usize, op: i32, a: usize, b: usize, dst: usize, count: i32): i32 {
  beginSse(cpu);
  clear();
  const half = count >> 1;
  for (let i = 0; i < count; i++) {
    const from = i < half ? a : b;
    const j = (i < half ? i : i - half) << 1;
    put<T>(i, binary<T>(op, lane<T>(from, j), lane<T>(from, j + 1)));
  }
  return finish(cpu, dst, count * sizeof<T>());
}

/** End one step of an instruction that computes in steps, each with exceptions of its own. */
function step(cpu: usize): bool {
  const unmasked = endSse(cpu) !== 0;
  setRaised(0);
  return unmasked;
}

/** DPPS and DPPD: masked products, added pairwise, broadcast by the low mask bits. */
export function lanesDot<T>(cpu: usize, a: usize, b: usize, dst: usize, imm: u32, count: i32): i32 {
  beginSse(cpu);
  clear();
  const p0 = imm & 0x10 ? softMul<T>(lane<T>(a, 0), lane<T>(b, 0)) : 0;
  const p1 = imm & 0x20 ? softMul<T>(lane<T>(a, 1), lane<T>(b, 1)) : 0;
  let sum: u64;
  if (count === 4) {
    const p2 = imm & 0x40 ? softMul<T>(lane<T>(a, 2), lane<T>(b, 2)) : 0;
    const p3 = imm & 0x80 ? softMul<T>(lane<T>(a, 3), lane<T>(b, 3)) : 0;
    if (step(cpu)) return 1;
    const lower = softAdd<T>(p0, p1);
    const upper = softAdd<T>(p2, p3);
    if (step(cpu)) return 1;
    sum = softAdd<T>(lower, upper);
  } else {
    if (step(cpu)) return 1;
    sum = softAdd<T>(p0, p1);
  }
  for (let i = 0; i < count; i++) put<T>(i, imm & (1 << i) ? sum : 0);
  return finish(cpu, dst, count * sizeof<T>());
}

/** Kinds of fused operation: bit 0 negates the product, bit 1 the addend; bit 2 flips bit 1 in the odd lanes. */
export function lanesFma<T>(
  cpu: usize,
  a: usize,
  b: usize,
  c: usize,
  dst: usize,
  kind: u32,
  count: i32,
): i32 {
  beginSse(cpu);
  clear();
  for (let i = 0; i < count; i++) {
    let x = lane<T>(a, i);
    let z = lane<T>(c, i);
    let k = kind;
    if (k & 4 && i & 1) k ^= 2;
    // A NaN operand passes through with its own sign.
    if (k & 1 && !isNan<T>(x)) x ^= signBit<T>();
    if (k & 2 && !isNan<T>(z)) z ^= signBit<T>();
    put<T>(i, softFma<T>(x, lane<T>(b, i), z));
  }
  return finish(cpu, dst, count * sizeof<T>());
}

export function lanesRound<T>(cpu: usize, a: usize, dst: usize, imm: u32, count: i32): i32 {
  beginSse(cpu);
  clear();
  if (!(imm & 4)) setRounding(imm & 3);
  for (let i = 0; i < count; i++) put<T>(i, softRound<T>(lane<T>(a, i), (imm & 8) === 0));
  return finish(cpu, dst, count * sizeof<T>());
}

/** Packed float to 32-bit integers; the result fills `bytes` bytes, upper ones zero. */
export function lanesToInt32<T>(
  cpu: usize,
  a: usize,
  dst: usize,
  truncate: bool,
  count: i32,
  bytes: i32,
): i32 {
  beginSse(cpu);
  clear();
  for (let i = 0; i < count; i++) {
    const x = lane<T>(a, i);
    put<f32>(i, truncate ? softTruncate<T>(x, 32) : softToInteger<T>(x, 32));
  }
  return finish(cpu, dst, bytes);
}

export function lanesFromInt32<T>(cpu: usize, a: usize, dst: usize, count: i32): i32 {
  beginSse(cpu);
  clear();
  for (let i = 0; i < count; i++) put<T>(i, softFromInteger<T>(<i64>load<i32>(a + (i << 2))));
  return finish(cpu, dst, count * sizeof<T>());
}

export function lanesConvert<F, T>(cpu: usize, a: usize, dst: usize, count: i32, bytes: i32): i32 {
  beginSse(cpu);
  clear();
  for (let i = 0; i < count; i++) {
    const x = lane<F>(a, i);
    put<T>(i, sizeof<F>() === 2 ? softFromHalf(x) : softConvert<F, T>(x));
  }
  return finish(cpu, dst, bytes);
}

export function lanesToHalf(cpu: usize, a: usize, dst: usize, imm: u32): i32 {
  beginSse(cpu);
  clear();
  if (!(imm & 4)) setRounding(imm & 3);
  for (let i = 0; i < 4; i++) put<u16>(i, softToHalf(lane<f32>(a, i)));
  return finish(cpu, dst, 8);
}
