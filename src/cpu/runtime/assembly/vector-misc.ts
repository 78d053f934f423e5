/** Vector and checksum operations that have no counterpart in WebAssembly. Operands are machine addresses. */

/** MPSADBW: sums of absolute differences of four bytes of `b` and eight windows of `a`. */
export function sumDifferenceWindows(_cpu: usize, a: usize, b: usize, dst: usize, imm: i32): void {
  const quad = v128.load32_splat(b + ((imm & 3) << 2));
  const bytes = v128.load(a);
  // The windows begin at byte 0 or 4; the lower four go to one vector, the upper four to the other.
  const start = imm & 4;
  const indices = i8x16.add(i8x16(0, 1, 2, 3, 1, 2, 3, 4, 2, 3, 4, 5, 3, 4, 5, 6), i8x16.splat(<i8>start));
  const low = sums(i8x16.swizzle(bytes, indices), quad);
  const high = sums(i8x16.swizzle(bytes, i8x16.add(indices, i8x16.splat(4))), quad);
  v128.store(dst, i16x8.narrow_i32x4_u(low, high));
}
function sums(x: v128, y: v128): v128 {
  const difference = v128.or(i8x16.sub_sat_u(x, y), i8x16.sub_sat_u(y, x));
  return i32x4.extadd_pairwise_i16x8_u(i16x8.extadd_pairwise_i8x16_u(difference));
}

/** PCLMULQDQ: product without carries of a half of `a` (bit 0) and a half of `b` (bit 4). */
export function carrylessMultiply(_cpu: usize, a: usize, b: usize, dst: usize, imm: i32): void {
  const x = load<u64>(a + (imm & 1 ? 8 : 0));
  let y = load<u64>(b + (imm & 0x10 ? 8 : 0));
  let low: u64 = 0;
  let high: u64 = 0;
  // From the top bit of y: shift what there is, then add x.
  for (let i = 0; i < 64; i++) {
    const add = <u64>(<i64>y >> 63);
    high = (high << 1) | (low >> 63);
    low = (low << 1) ^ (x & add);
    y <<= 1;
  }
  store<u64>(dst, low);
  store<u64>(dst, high, 8);
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
