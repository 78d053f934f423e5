/**
 * Interesting operand values: where carries, signs, roundings and special encodings happen. Each writer fills bytes
 * of a view in place.
 */
import type { Random } from './random.ts';

const EDGES: readonly (readonly [number, number])[] = [
  // [low, high] halves
  [0, 0],
  [1, 0],
  [2, 0],
  [-1, -1],
  [-2, -1],
  [0x7f, 0],
  [0x80, 0],
  [0xff, 0],
  [0x100, 0],
  [0x7fff, 0],
  [0x8000, 0],
  [0xffff, 0],
  [0x1_0000, 0],
  [0x7fff_ffff, 0],
  [0x8000_0000, 0],
  [0xffff_ffff, 0],
  [0, 1],
  [-1, 0x7fff_ffff],
  [0, 0x8000_0000],
  [1, 0x8000_0000],
  [0x8000_0000, -1],
  [0x5555_5555, 0x5555_5555],
  [0xaaaa_aaaa, 0xaaaa_aaaa],
];

/** 64 bits as an integer of some width would like them; writes two words. */
export function integer64(random: Random, words: Uint32Array, at: number): void {
  let low = random.u32();
  let high = random.u32();
  switch (random.below(8)) {
    case 0:
    case 1: {
      const edge = random.pick(EDGES);
      [low, high] = edge;
      break;
    }
    case 2: {
      // A power of two, or one off.
      const bit = random.below(64);
      low = bit < 32 ? 1 << bit : 0;
      high = bit < 32 ? 0 : 1 << (bit - 32);
      const delta = random.below(3) - 1;
      if (delta === 1) low |= 1;
      if (delta === -1) {
        if (low === 0) high -= 1;
        low -= 1;
      }
      break;
    }
    case 3:
      low = random.below(256) - 128;
      high = low >> 31;
      break;
    case 4: {
      const byte = random.below(256) * 0x0101_0101;
      low = byte;
      high = byte;
      break;
    }
    case 5:
      // Edges in the narrow parts, noise above.
      low = (low & 0xffff_0000) | (random.pick(EDGES)[0] & 0xffff);
      break;
    default:
  }
  words[at] = low;
  words[at + 1] = high;
}

const FLOAT32 = [
  0x0000_0000, 0x0000_0001, 0x0000_0002, 0x007f_ffff, 0x0080_0000, 0x0080_0001, 0x3f80_0000, 0x3f80_0001,
  0x3f7f_ffff, 0x3f00_0000, 0x3fc0_0000, 0x4020_0000, 0x4b00_0000, 0x4b00_0001, 0x4a80_0001, 0x4eff_ffff,
  0x4f00_0000, 0x4f00_0001, 0x4f80_0000, 0x5eff_ffff, 0x5f00_0000, 0x5f80_0000, 0x7f7f_ffff, 0x7f7f_fffe,
  0x7f80_0000, 0x7f80_0001, 0x7fbf_ffff, 0x7fc0_0000, 0x7fc0_1234, 0x7fff_ffff, 0x4049_0fdb, 0x3380_0000,
  0x3300_0000, 0x4700_0000, 0x46ff_fe00, 0x3eff_ffff,
];
export function float32(random: Random): number {
  const sign = random.below(2) * 0x8000_0000;
  switch (random.below(6)) {
    case 0:
    case 1:
      return (random.pick(FLOAT32) | sign) >>> 0;
    case 2:
      // Near one: sums cancel, products round.
      return ((((120 + random.below(16)) << 23) | (random.u32() & 0x7f_ffff)) + sign) >>> 0;
    case 3:
      // Few significant bits: exact results and halfway cases.
      return ((((118 + random.below(36)) << 23) | ((random.u32() << 18) & 0x7f_ffff)) + sign) >>> 0;
    case 4:
      // Denormals, and near the ends of the exponent.
      return ((random.pick([0, 1, 2, 253, 254]) << 23) | (random.u32() & 0x7f_ffff) | sign) >>> 0;
    default:
      return random.u32();
  }
}

const FLOAT64: readonly (readonly [number, number])[] = [
  [0, 0],
  [1, 0],
  [0xffff_ffff, 0x000f_ffff],
  [0, 0x0010_0000],
  [0, 0x3ff0_0000],
  [1, 0x3ff0_0000],
  [0xffff_ffff, 0x3fef_ffff],
  [0, 0x3fe0_0000],
  [0, 0x3ff8_0000],
  [0, 0x4004_0000],
  [0, 0x4330_0000],
  [1, 0x4330_0000],
  [0xffc0_0000, 0x41df_ffff],
  [0, 0x41e0_0000],
  [0x0010_0000, 0x41e0_0000],
  [0xffff_ffff, 0x43df_ffff],
  [0, 0x43e0_0000],
  [0, 0x43f0_0000],
  [0xffff_ffff, 0x7fef_ffff],
  [0, 0x7ff0_0000],
  [1, 0x7ff0_0000],
  [0xffff_ffff, 0x7ff7_ffff],
  [0, 0x7ff8_0000],
  [0x1234, 0x7ff8_0000],
  [0xffff_ffff, 0x7fff_ffff],
  [0x5444_2d18, 0x4009_21fb],
  // Overflow, underflow and halves when converted to single precision.
  [0xf000_0000, 0x47ef_ffff],
  [0xe000_0000, 0x47ef_ffff],
  [0, 0x3690_0000],
  [1, 0x3690_0000],
  [0, 0x3810_0000],
  [0x1000_0000, 0x3ff0_0000],
  [0x3000_0000, 0x3ff0_0000],
];
export function float64(random: Random, words: Uint32Array, at: number): void {
  const sign = random.below(2) * 0x8000_0000;
  let low = random.u32();
  let high = random.u32();
  const exponent = (e: number, fraction: number) => (e << 20) | (fraction & 0xf_ffff) | sign;
  switch (random.below(7)) {
    case 0:
    case 1: {
      const edge = random.pick(FLOAT64);
      low = edge[0];
      high = edge[1] | sign;
      break;
    }
    case 2:
      high = exponent(1016 + random.below(16), high);
      break;
    case 3:
      low = 0;
      high = exponent(1010 + random.below(70), high << 16);
      break;
    case 4:
      high = exponent(random.pick([0, 1, 2, 2045, 2046]), high);
      break;
    case 5:
      // In the range of single precision: conversions round.
      high = exponent(1023 - 152 + random.below(285), high);
      if (random.oneIn(2)) low &= 0xf000_0000;
      break;
    default:
  }
  words[at] = low;
  words[at + 1] = high;
}

/**
 * Biased exponents where a range ends in which processors' arithmetic is taken for granted (isa/float-range.ts), and
 * where the format ends; those of one number each side of them.
 */
const near = (...exponents: number[]): readonly number[] => exponents.flatMap(e => [e - 1, e, e + 1]);
const EXPONENTS32 = [1, ...near(2, 24, 65, 127, 128, 150, 157, 158, 190, 253), 254];
const EXPONENTS64 = [1, ...near(2, 53, 513, 897, 1023, 1024, 1053, 1054, 1086, 1149, 1534, 2045), 2046];
const FRACTION_BITS = { 4: 23, 8: 52 } as const;
/**
 * A zero or a normal number, for vectors without anything extraordinary: with these, it depends on the exponents alone
 * whether a sum or product leaves the normal numbers.
 */
function ordinary(random: Random, bytes: 4 | 8, words: Uint32Array, at: number): void {
  const sign = random.below(2) * 0x8000_0000;
  const bias = bytes === 4 ? 127 : 1023;
  const edges = bytes === 4 ? EXPONENTS32 : EXPONENTS64;
  const exponent = random.oneIn(2) ? random.pick(edges) : bias - 4 + random.below(8);
  const fractionBits = FRACTION_BITS[bytes] - (bytes === 8 ? 32 : 0);
  const mask = 2 ** fractionBits - 1;
  const pattern = random.below(5);
  const fraction = () => [0, -1, 0, random.u32() << (fractionBits - 4), random.u32()][pattern]! & mask;
  let high = ((exponent << fractionBits) | fraction() | sign) >>> 0;
  let low = [0, -1, 1, 0, random.u32()][pattern]! >>> 0;
  if (bytes === 4 && pattern === 2) high |= 1;
  if (random.oneIn(6)) {
    low = 0;
    high = sign;
  }
  if (bytes === 8) words[at++] = low;
  words[at] = high;
}

/** 80-bit: [exponent, significand high, significand low]. */
const FLOAT80: readonly (readonly [number, number, number])[] = [
  [0, 0, 0],
  [0, 0, 1],
  [0, 0x7fff_ffff, 0xffff_ffff],
  [1, 0x8000_0000, 0],
  [0x3fff, 0x8000_0000, 0],
  [0x3fff, 0x8000_0000, 1],
  [0x3ffe, 0xffff_ffff, 0xffff_ffff],
  [0x3ffe, 0x8000_0000, 0],
  [0x3fff, 0xc000_0000, 0],
  [0x4000, 0xa000_0000, 0],
  [0x4000, 0xc90f_daa2, 0x2168_c235],
  [0x400d, 0xffff_0000, 0],
  [0x400e, 0x8000_0000, 0],
  [0x401d, 0xffff_ffff, 0],
  [0x401e, 0x8000_0000, 0],
  [0x401e, 0x8000_0000, 0x8000_0000],
  [0x403d, 0xffff_ffff, 0xffff_fffe],
  [0x403d, 0xffff_ffff, 0xffff_ffff],
  [0x403e, 0x8000_0000, 0],
  [0x403a, 0xde0b_6b3a, 0x763f_ffff],
  [0x3fff, 0x8000_0000, 0x0000_0400],
  [0x3fff, 0x8000_0000, 0x0000_0c00],
  [0x3fff, 0x8000_0080, 0],
  [0x3f81, 0x8000_0000, 0],
  [0x3c01, 0x8000_0000, 0],
  [0x407f, 0x8000_0000, 0],
  [0x43ff, 0x8000_0000, 0],
  [0x7ffe, 0xffff_ffff, 0xffff_ffff],
  [0x7fff, 0x8000_0000, 0],
  [0x7fff, 0x8000_0000, 1],
  [0x7fff, 0xbfff_ffff, 0xffff_ffff],
  [0x7fff, 0xc000_0000, 0],
  [0x7fff, 0xc000_0000, 0x1234],
  [0x7fff, 0xffff_ffff, 0xffff_ffff],
];
/** Encodings that processors since the 80387 refuse, and pseudo-denormals. */
const FLOAT80_ODD: readonly (readonly [number, number, number])[] = [
  [0, 0x8000_0000, 0],
  [0, 0xffff_ffff, 0xffff_ffff],
  [0x3fff, 0x4000_0000, 0],
  [1, 0, 0],
  [0x7fff, 0, 0],
  [0x7fff, 0x4000_0000, 1],
];
export function float80(random: Random, bytes: Uint8Array, at: number): void {
  const sign = random.below(2) * 0x8000;
  let exponent = 0x3fff;
  let high = (random.u32() | 0x8000_0000) >>> 0;
  let low = random.u32();
  switch (random.below(10)) {
    case 0:
    case 1:
    case 2:
      [exponent, high, low] = random.pick(FLOAT80);
      break;
    case 3:
      [exponent, high, low] = random.pick(random.oneIn(4) ? FLOAT80_ODD : FLOAT80);
      break;
    case 4:
    case 5:
      exponent += random.below(12) - 6;
      break;
    case 6:
      // Integers and halves.
      exponent += random.below(68) - 2;
      low = 0;
      high = ((random.u32() << 20) | 0x8000_0000) >>> 0;
      break;
    case 7:
      exponent =
        random.pick([0x3fff - 1075, 0x3fff - 1022, 0x3fff - 150, 0x3fff - 126, 0x3fff + 127, 0x3fff + 1023]) +
        random.below(3) -
        1;
      break;
    case 8:
      // Exact in single or double precision.
      exponent += random.below(60) - 30;
      low = random.oneIn(2) ? 0 : low & 0xffff_f800;
      if (low === 0) high &= 0xffff_ff00;
      break;
    default:
      exponent = random.oneIn(3) ? random.pick([0, 1, 2, 0x7ffd, 0x7ffe]) : 1 + random.below(0x7ffe);
      if (exponent === 0) high &= 0x7fff_ffff;
  }
  for (let i = 0; i < 4; i++) {
    bytes[at + i] = low >>> (8 * i);
    bytes[at + 4 + i] = high >>> (8 * i);
  }
  bytes[at + 8] = exponent;
  bytes[at + 9] = (exponent | sign) >>> 8;
}

/** What the lanes of a vector register hold. */
export type LaneKind = 'integer' | 'text' | 'float16' | 'float32' | 'float64';

const FLOAT16 = [
  0, 1, 2, 0x3ff, 0x400, 0x401, 0x3c00, 0x3c01, 0x7bff, 0x7c00, 0x7c01, 0x7dff, 0x7e00, 0x7fff,
];
const float16 = (random: Random): number =>
  random.oneIn(2) ? random.pick(FLOAT16) | (random.below(2) << 15) : random.below(0x1_0000);

const scratch = new Uint32Array(2);
const scratchBytes = new Uint8Array(scratch.buffer);
/** Fills `length` bytes (a multiple of 4) with lanes of a kind. */
export function lanes(random: Random, kind: LaneKind, bytes: Uint8Array, at: number, length: number): void {
  const text = random.pick(['ab', 'abc\0', 'xyz0\0', '\0\x7f\x80\xff']);
  const isOrdinary = random.oneIn(2);
  for (let i = 0; i < length; i += 8) {
    if (kind === 'float32' && isOrdinary) {
      ordinary(random, 4, scratch, 0);
      ordinary(random, 4, scratch, 1);
    } else if (kind === 'float64' && isOrdinary) ordinary(random, 8, scratch, 0);
    else if (kind === 'float32') {
      scratch[0] = float32(random);
      scratch[1] = float32(random);
    } else if (kind === 'float16') {
      for (let j = 0; j < 2; j++) scratch[j] = float16(random) | (float16(random) << 16);
    } else if (kind === 'float64') float64(random, scratch, 0);
    else if (kind === 'text') {
      for (let j = 0; j < 8; j++) scratchBytes[j] = text.charCodeAt(random.below(text.length));
    } else if (random.oneIn(2)) integer64(random, scratch, 0);
    else
      for (let j = 0; j < 8; j += 2) {
        // Edges of bytes and words, where saturation begins.
        const value = random.pick([
          0,
          1,
          0x7f,
          0x80,
          0xff,
          0x7fff,
          0x8000,
          0xffff,
          0x8080,
          0x7f7f,
          random.u32(),
        ]);
        scratchBytes[j] = value;
        scratchBytes[j + 1] = value >>> 8;
      }
    for (let j = 0; j < 8 && i + j < length; j++) bytes[at + i + j] = scratchBytes[j]!;
  }
}
