/**
 * What only AVX and AVX2 have on registers (SDM vol. 1, 14.2, 14.7): broadcasts, permutations by the element, halves inserted and
 * extracted, shifts by a count for each element.
 */

import type { Value } from '../wasm/code.ts';
import * as w from '../wasm/code.ts';
import { type Definition, define, defineVex, type Semantics } from './definition.ts';
import type { Emitter, Operand } from './emitter.ts';
import { constant, known, pick, ZERO } from './sse-common.ts';
import { shuffleDouble, shuffleDwords } from './sse-shuffle.ts';
import { blend } from './sse-sse4.ts';
import { AVX, vexBinary, vexBinaryImmediate, vexUnaryImmediate } from './vex-common.ts';

type Parts = readonly [Value, Value];
const partsOf = (operand: Operand): Parts => operand.readParts() as Parts;
const repeated = (target: Operand, value: Value): Value[] => (target.size === 32 ? [value, value] : [value]);

// ---- broadcasts ----

/** The low element of the source everywhere. */
const broadcast =
  (size: 1 | 2 | 4 | 8): Semantics =>
  (x, destination, source) => {
    const from = source as Operand;
    const target = destination as Operand;
    if (from.isMemory) {
      const shape = ({ 1: 'i8x16', 2: 'i16x8', 4: 'i32x4', 8: 'i64x2' } as const)[size];
      target.writeParts(repeated(target, x.let(w.simd(`${shape}.splat`, from.read()))));
    } else {
      const value = from.readVector();
      target.writeParts(repeated(target, x.let(pick(value, value, i => i % size))));
    }
  };
const broadcastHalf: Semantics = (_x, destination, source) => {
  const value = (source as Operand).readVector();
  (destination as Operand).writeParts([value, value]);
};

// ---- permutations ----

/** Elements of two parts by number; an index counts bytes of the 32. */
function lookUp(low: Value, high: Value, indices: Value, x: Emitter): Value {
  const from = x.let(indices);
  const sixteen = constant(() => 16);
  // Indices of 16 and more give zeros, and so do those that are negative as bytes.
  const lower = w.simd('i8x16.swizzle', low, from);
  return w.simd('v128.or', lower, w.simd('i8x16.swizzle', high, w.simd('i8x16.sub', from, sixteen)));
}
/** Byte numbers of 4-byte elements from their numbers, which have three bits that count. */
function dwordBytes(numbers: Value, x: Emitter): Value {
  const scaled = x.let(
    w.simd(
      'i32x4.shl',
      w.simd(
        'v128.and',
        numbers,
        constant(i => (i % 4 === 0 ? 7 : 0)),
      ),
      w.i32(2),
    ),
  );
  return w.simd(
    'i8x16.add',
    pick(scaled, scaled, i => i & 12),
    constant(i => i & 3),
  );
}
/** VPERMD, VPERMPS: any of the eight elements of the second source. */
const permuteDwords: Semantics = (x, destination, indices, source) => {
  const [low, high] = partsOf(source as Operand);
  const parts = partsOf(indices as Operand).map(numbers =>
    x.let(lookUp(low, high, dwordBytes(numbers, x), x)),
  );
  (destination as Operand).writeParts(parts);
};
/** VPERMQ, VPERMPD: any of four elements by the fields of the immediate. */
const permuteQwords: Semantics = (x, destination, source, immediate) => {
  const [low, high] = partsOf(source as Operand);
  const control = (immediate as Operand).read();
  const fields = known(control);
  if (fields !== undefined) {
    // Elements 0 and 1 are in the low part, which comes first for the shuffle too.
    const lane = (field: number) => ((fields >> (2 * field)) & 3) * 8;
    const chosen = [0, 2].map(field => x.let(pick(low, high, i => lane(field + (i >> 3)) + (i & 7))));
    (destination as Operand).writeParts(chosen);
    return;
  }
  const element = (field: number): Value => {
    const number = w.and(w.shrU(control, w.i32(2 * field)), w.i32(3));
    const first = w.simd('i8x16.splat', w.shl(number, w.i32(3)));
    return lookUp(
      low,
      high,
      w.simd(
        'i8x16.add',
        first,
        constant(i => i & 7),
      ),
      x,
    );
  };
  const parts = [0, 2].map(field =>
    x.let(pick(element(field), element(field + 1), i => (i < 8 ? i : i + 8))),
  );
  (destination as Operand).writeParts(parts);
};
/** VPERM2F128, VPERM2I128: any of four halves, or zero, for each half. */
const permuteHalves: Semantics = (x, destination, first, second, immediate) => {
  const b = partsOf(second as Operand);
  const a = partsOf(first as Operand);
  const control = (immediate as Operand).read();
  const parts = [0, 4].map(shift => {
    const bit = (n: number) => w.and(control, w.i32(1 << (shift + n)));
    const chosen = (parts: Parts) => w.select(bit(0), parts[1], parts[0]);
    return x.let(w.select(bit(3), ZERO, w.select(bit(1), chosen(b), chosen(a))));
  });
  (destination as Operand).writeParts(parts);
};
/** VPERMILPS with a vector: within each part, by the low two bits of each element. */
const permuteSingles = (a: Value, control: Value, x: Emitter): Value => {
  const within = w.simd(
    'v128.and',
    control,
    constant(i => (i % 4 === 0 ? 3 : 0)),
  );
  return w.simd('i8x16.swizzle', a, dwordBytes(within, x));
};
/** VPERMILPD with a vector: by bit 1 of each element. */
const permuteDoubles = (a: Value, control: Value, x: Emitter): Value => {
  const chosen = w.simd('i64x2.shr_s', w.simd('i64x2.shl', control, w.i32(62)), w.i32(63));
  const high = pick(a, a, i => 8 + (i & 7));
  const low = pick(a, a, i => i & 7);
  return w.simd('v128.bitselect', high, low, x.let(chosen));
};

// ---- halves ----

const insertHalf: Semantics = (x, destination, first, second, immediate) => {
  const b = (second as Operand).readVector();
  const [low, high] = partsOf(first as Operand);
  const upper = x.let(w.and((immediate as Operand).read(), w.i32(1)));
  (destination as Operand).writeParts([x.let(w.select(upper, low, b)), x.let(w.select(upper, b, high))]);
};
const extractHalf: Semantics = (x, destination, source, immediate) => {
  const [low, high] = partsOf(source as Operand);
  const upper = w.and((immediate as Operand).read(), w.i32(1));
  (destination as Operand).writeParts([x.let(w.select(upper, high, low))]);
};

// ---- shifts ----

/** By the element of the second source with the same number: as far as it says, beyond the width everything is gone. */
const shiftEach =
  (shape: 'i32x4' | 'i64x2', operator: (a: Value, b: Value) => Value, arithmetic = false) =>
  (a: Value, b: Value, x: Emitter): Value => {
    const lanes = shape === 'i32x4' ? 4 : 2;
    const width = shape === 'i32x4' ? 32 : 64;
    let result = a;
    for (let i = 0; i < lanes; i++) {
      const count = x.let(w.extractLane(shape, b, i));
      const tooFar = w.gtU(count, w.integer(count.type, width - 1));
      const value = x.let(w.extractLane(shape, a, i));
      const shifted = arithmetic
        ? operator(value, w.select(tooFar, w.integer(count.type, width - 1), count))
        : w.select(tooFar, w.integer(count.type, 0), operator(value, count));
      result = x.let(w.replaceLane(shape, result, i, shifted));
    }
    return result;
  };
const shifts = (name: string, encoding: string, compute: (a: Value, b: Value, x: Emitter) => Value) =>
  defineVex(name, encoding, 'Vx Hx Wx', vexBinary(compute));

export const vexPermutes: Definition[] = [
  ...defineVex('vbroadcastss', 'VEX.66.0F38.W0 18 /r', 'Vx Wd', broadcast(4)),
  define('vbroadcastsd', 'VEX.256.66.0F38.W0 19 /r', 'Vx Wq', broadcast(8), AVX),
  define('vbroadcastf128', 'VEX.256.66.0F38.W0 1A /r', 'Vx Mdq', broadcastHalf, AVX),
  define('vbroadcasti128', 'VEX.256.66.0F38.W0 5A /r', 'Vx Mdq', broadcastHalf, AVX),
  ...defineVex('vpbroadcastb', 'VEX.66.0F38.W0 78 /r', 'Vx Wb', broadcast(1)),
  ...defineVex('vpbroadcastw', 'VEX.66.0F38.W0 79 /r', 'Vx Ww', broadcast(2)),
  ...defineVex('vpbroadcastd', 'VEX.66.0F38.W0 58 /r', 'Vx Wd', broadcast(4)),
  ...defineVex('vpbroadcastq', 'VEX.66.0F38.W0 59 /r', 'Vx Wq', broadcast(8)),
  define('vpermd', 'VEX.256.66.0F38.W0 36 /r', 'Vx Hx Wx', permuteDwords, AVX),
  define('vpermps', 'VEX.256.66.0F38.W0 16 /r', 'Vx Hx Wx', permuteDwords, AVX),
  define('vpermq', 'VEX.256.66.0F3A.W1 00 /r', 'Vx Wx Ib', permuteQwords, AVX),
  define('vpermpd', 'VEX.256.66.0F3A.W1 01 /r', 'Vx Wx Ib', permuteQwords, AVX),
  define('vperm2f128', 'VEX.256.66.0F3A.W0 06 /r', 'Vx Hx Wx Ib', permuteHalves, AVX),
  define('vperm2i128', 'VEX.256.66.0F3A.W0 46 /r', 'Vx Hx Wx Ib', permuteHalves, AVX),
  ...defineVex('vpermilps', 'VEX.66.0F38.W0 0C /r', 'Vx Hx Wx', vexBinary(permuteSingles)),
  ...defineVex('vpermilpd', 'VEX.66.0F38.W0 0D /r', 'Vx Hx Wx', vexBinary(permuteDoubles)),
  ...defineVex('vpermilps', 'VEX.66.0F3A.W0 04 /r', 'Vx Wx Ib', vexUnaryImmediate(shuffleDwords)),
  ...defineVex(
    'vpermilpd',
    'VEX.66.0F3A.W0 05 /r',
    'Vx Wx Ib',
    vexUnaryImmediate((a, control, x) => shuffleDouble(a, a, control, x), 2),
  ),
  ...defineVex('vpblendd', 'VEX.66.0F3A.W0 02 /r', 'Vx Hx Wx Ib', vexBinaryImmediate(blend('i32x4', 4), 4)),
  define('vinsertf128', 'VEX.256.66.0F3A.W0 18 /r', 'Vx Hx Wdq Ib', insertHalf, AVX),
  define('vinserti128', 'VEX.256.66.0F3A.W0 38 /r', 'Vx Hx Wdq Ib', insertHalf, AVX),
  define('vextractf128', 'VEX.256.66.0F3A.W0 19 /r', 'Wdq Vx Ib', extractHalf, AVX),
  define('vextracti128', 'VEX.256.66.0F3A.W0 39 /r', 'Wdq Vx Ib', extractHalf, AVX),
  ...shifts('vpsrlvd', 'VEX.66.0F38.W0 45 /r', shiftEach('i32x4', w.shrU)),
  ...shifts('vpsrlvq', 'VEX.66.0F38.W1 45 /r', shiftEach('i64x2', w.shrU)),
  ...shifts('vpsravd', 'VEX.66.0F38.W0 46 /r', shiftEach('i32x4', w.shrS, true)),
  ...shifts('vpsllvd', 'VEX.66.0F38.W0 47 /r', shiftEach('i32x4', w.shl)),
  ...shifts('vpsllvq', 'VEX.66.0F38.W1 47 /r', shiftEach('i64x2', w.shl)),
];
