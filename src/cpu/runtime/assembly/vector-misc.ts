// biome-ignore-all lint/correctness/noPrecisionLoss: integers have 64 bits here
/** Vector and checksum operations that have no counterpart in WebAssembly. */

/** MPSADBW: sums of absolute differences of four bytes of `b` and eight windows of `a`. */
export function sumDifferenceWindows(_cpu: usize, a: v128, b: v128, imm: i32): v128 {
  const chosen = i8x16.add(
    i8x16(0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3),
    i8x16.splat(<i8>((imm & 3) << 2)),
  );
  const quad = i8x16.swizzle(b, chosen);
  // The windows begin at byte 0 or 4; the lower four go to one vector, the upper four to the other.
  const start = imm & 4;
  const indices = i8x16.add(i8x16(0, 1, 2, 3, 1, 2, 3, 4, 2, 3, 4, 5, 3, 4, 5, 6), i8x16.splat(<i8>start));
  const low = sums(i8x16.swizzle(a, indices), quad);
  const high = sums(i8x16.swizzle(a, i8x16.add(indices, i8x16.splat(4))), quad);
  return i16x8.narrow_i32x4_u(low, high);
}
function sums(x: v128, y: v128): v128 {
  const difference = v128.or(i8x16.sub_sat_u(x, y), i8x16.sub_sat_u(y, x));
  return i32x4.extadd_pairwise_i16x8_u(i16x8.extadd_pairwise_i8x16_u(difference));
}

/**
 * Product without carries of two numbers of 32 bits, by ordinary multiplication of every fourth bit: the sums in each place, of
 * eight bits at most, stay below the next place that counts.
 */
function product32(x: u64, y: u64): u64 {
  const x0 = x & 0x11111111;
  const x1 = x & 0x22222222;
  const x2 = x & 0x44444444;
  const x3 = x & 0x88888888;
  const y0 = y & 0x11111111;
  const y1 = y & 0x22222222;
  const y2 = y & 0x44444444;
  const y3 = y & 0x88888888;
  const z0 = (x0 * y0) ^ (x1 * y3) ^ (x2 * y2) ^ (x3 * y1);
  const z1 = (x0 * y1) ^ (x1 * y0) ^ (x2 * y3) ^ (x3 * y2);
  const z2 = (x0 * y2) ^ (x1 * y1) ^ (x2 * y0) ^ (x3 * y3);
  const z3 = (x0 * y3) ^ (x1 * y2) ^ (x2 * y1) ^ (x3 * y0);
  return (
    (z0 & 0x1111111111111111) |
    (z1 & 0x2222222222222222) |
    (z2 & 0x4444444444444444) |
    (z3 & 0x8888888888888888)
  );
}
/** PCLMULQDQ: product without carries of a half of `a` (bit 0) and a half of `b` (bit 4). */
export function carrylessMultiply(_cpu: usize, a: v128, b: v128, imm: i32): v128 {
  const x: u64 = imm & 1 ? i64x2.extract_lane(a, 1) : i64x2.extract_lane(a, 0);
  const y: u64 = imm & 0x10 ? i64x2.extract_lane(b, 1) : i64x2.extract_lane(b, 0);
  const low = product32(x & 0xffffffff, y & 0xffffffff);
  const high = product32(x >> 32, y >> 32);
  // Both cross products at once (Karatsuba).
  const cross = product32((x ^ (x >> 32)) & 0xffffffff, (y ^ (y >> 32)) & 0xffffffff) ^ low ^ high;
  return i64x2.replace_lane(i64x2.splat(low ^ (cross << 32)), 1, high ^ (cross >> 32));
}

/** Remainders of the sixteen nibbles for the Castagnoli polynomial, reflected. */
const NIBBLES = memory.data<u32>([
  0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc, 0x5125dad3, 0x61c69362, 0x7198540d, 0x82f63b78,
  0x92a8fc17, 0xa24bb5a6, 0xb21572c9, 0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75,
]);
/** CRC32: `bytes` bytes of `data` into the checksum. */
export function checksum(_cpu: usize, crc: i32, data: i64, bytes: i32): i32 {
  let rest = <u32>crc;
  let value = <u64>data;
  for (let i = 0; i < bytes; i++) {
    rest ^= <u32>value & 0xff;
    rest = (rest >> 4) ^ load<u32>(NIBBLES + ((rest & 15) << 2));
    rest = (rest >> 4) ^ load<u32>(NIBBLES + ((rest & 15) << 2));
    value >>= 8;
  }
  return <i32>rest;
}
