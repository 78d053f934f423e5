/**
 * PCMPESTRI, PCMPESTRM, PCMPISTRI, PCMPISTRM (SDM vol. 2, 4.1): compare two strings of bytes or words that lie in
 * vectors. The immediate: bit 0 words, bit 1 signed, bits 2..3 aggregation, bits 4..5 polarity, bit 6 the kind of output.
 */
import { VCPU_temp } from './generated/layout';

const EQUAL_ANY: i32 = 0;
const RANGES: i32 = 1;
const EQUAL_EACH: i32 = 2;

const CF: i32 = 1;
const ZF: i32 = 0x40;
const SF: i32 = 0x80;
const OF: i32 = 0x800;

function element(at: usize, index: i32, imm: i32): i32 {
  if (imm & 1) {
    const word = load<u16>(at + (index << 1));
    return imm & 2 ? <i32>(<i16>word) : <i32>word;
  }
  const byte = load<u8>(at + index);
  return imm & 2 ? <i32>(<i8>byte) : <i32>byte;
}

/** Elements before the first zero. */
function implicitLength(at: usize, imm: i32): i32 {
  const count = imm & 1 ? 8 : 16;
  let length = 0;
  while (length < count && element(at, length, imm) !== 0) length++;
  return length;
}
/** The magnitude of an explicit length, no more than there are elements. */
function explicitLength(given: i64, imm: i32): i32 {
  const count: u64 = imm & 1 ? 8 : 16;
  const length = <u64>(given < 0 ? -given : given);
  return <i32>min(length, count);
}

/** A bit for each element of `b`. Elements beyond a length compare by the aggregation's own rule. */
function aggregate(a: usize, lengthA: i32, b: usize, lengthB: i32, imm: i32): i32 {
  const count = imm & 1 ? 8 : 16;
  const kind = (imm >> 2) & 3;
  let result = 0;
  for (let j = 0; j < count; j++) {
    let met = false;
    if (kind === EQUAL_ANY) {
      if (j < lengthB)
        for (let i = 0; i < lengthA && !met; i++) met = element(a, i, imm) === element(b, j, imm);
    } else if (kind === RANGES) {
      if (j < lengthB) {
        const value = element(b, j, imm);
        for (let i = 0; i + 1 < lengthA && !met; i += 2)
          met = element(a, i, imm) <= value && value <= element(a, i + 1, imm);
      }
    } else if (kind === EQUAL_EACH) {
      met =
        j < lengthA && j < lengthB ? element(a, j, imm) === element(b, j, imm) : j >= lengthA && j >= lengthB;
    } else {
      // Is `a` found at j? What would lie beyond the vector's end counts as found.
      met = true;
      for (let i = 0; i < lengthA && i + j < count && met; i++) {
        met = i + j < lengthB && element(a, i, imm) === element(b, i + j, imm);
      }
    }
    if (met) result |= 1 << j;
  }
  return result;
}

/** The result mask in bits 0..15, RFLAGS bits above bit 16. */
function compare(a: usize, lengthA: i32, b: usize, lengthB: i32, imm: i32): i32 {
  const count = imm & 1 ? 8 : 16;
  let result = aggregate(a, lengthA, b, lengthB, imm);
  const all = (1 << count) - 1;
  if (imm & 0x10) result ^= imm & 0x20 ? (1 << lengthB) - 1 : all;
  let flags = result !== 0 ? CF : 0;
  if (lengthB < count) flags |= ZF;
  if (lengthA < count) flags |= SF;
  if (result & 1) flags |= OF;
  return result | (flags << 16);
}
/** Both operands are in `temp`, where their elements can be addressed. */
export function compareImplicit(cpu: usize, imm: i32): i32 {
  const a = cpu + VCPU_temp;
  const b = a + 16;
  return compare(a, implicitLength(a, imm), b, implicitLength(b, imm), imm);
}
export function compareExplicit(cpu: usize, imm: i32, lengthA: i64, lengthB: i64): i32 {
  const a = cpu + VCPU_temp;
  return compare(a, explicitLength(lengthA, imm), a + 16, explicitLength(lengthB, imm), imm);
}

/** Index of the lowest or, with bit 6, the highest bit of the mask; the number of elements when there is none. */
export function maskToIndex(_cpu: usize, comparison: i32, imm: i32): i32 {
  const mask = comparison & 0xffff;
  if (mask === 0) return imm & 1 ? 8 : 16;
  return imm & 0x40 ? 31 - clz(mask) : ctz(mask);
}
/** The mask as a vector: as bits, or with bit 6 as whole elements. */
export function maskToVector(_cpu: usize, comparison: i32, imm: i32): v128 {
  const mask = comparison & 0xffff;
  if (!(imm & 0x40)) return i32x4.replace_lane(i32x4.splat(0), 0, mask);
  if (imm & 1) {
    const bits = i16x8(1, 2, 4, 8, 16, 32, 64, 128);
    return i16x8.eq(v128.and(i16x8.splat(<i16>mask), bits), bits);
  }
  const bits = i8x16(1, 2, 4, 8, 16, 32, 64, -128, 1, 2, 4, 8, 16, 32, 64, -128);
  const bytes = i8x16.swizzle(i16x8.splat(<i16>mask), i8x16(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1));
  return i8x16.eq(v128.and(bytes, bits), bits);
}
