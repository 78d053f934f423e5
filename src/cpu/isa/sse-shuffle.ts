/** Shuffles by an immediate, insertion and extraction of words, sign masks (SDM vol. 1, 5.5.3, 5.6.1.4, 5.6.3). */

import type { Value } from '../wasm/code.ts';
import * as w from '../wasm/code.ts';
import { type Definition, define, defineVex, type Semantics } from './definition.ts';
import type { Emitter, Operand } from './emitter.ts';
import {
  type BinaryImmediate,
  binaryImmediate,
  checkPending,
  constant,
  enterMmx,
  known,
  MMX,
  pick,
  SSE,
  selectors,
  type UnaryImmediate,
  unaryImmediate,
  ZERO,
} from './sse-common.ts';
import { AVX, vexEncoding } from './vex-common.ts';

/** Byte indices that pick 4-byte elements by the 2-bit fields of the immediate. */
function dwordIndices(x: Emitter, immediate: Value): Value {
  const scaled = x.let(w.simd('i32x4.splat', w.shl(selectors(x, immediate), w.i32(2))));
  return x.let(
    w.simd(
      'i8x16.add',
      pick(scaled, scaled, i => i >> 2),
      constant(i => i & 3),
    ),
  );
}
/** The same for 2-byte elements of the lower or upper half; the other half stays. */
function wordIndices(x: Emitter, immediate: Value, upper: boolean): Value {
  const scaled = x.let(w.simd('i32x4.splat', w.shl(selectors(x, immediate), w.i32(1))));
  const moved = pick(scaled, ZERO, i => (i >= 8 === upper ? (i & 7) >> 1 : 16));
  return w.simd(
    'i8x16.add',
    moved,
    constant(i => (i >= 8 === upper ? (i & 1) + (upper ? 8 : 0) : i)),
  );
}

const dwordLane = (control: number, i: number): number => ((control >> (2 * (i >> 2))) & 3) * 4 + (i & 3);
export const shuffleDwords: UnaryImmediate = (value, immediate, x) => {
  const control = known(immediate);
  if (control !== undefined) return pick(value, value, i => dwordLane(control, i));
  return w.simd('i8x16.swizzle', value, dwordIndices(x, immediate));
};
const shuffleWords =
  (upper: boolean): UnaryImmediate =>
  (value, immediate, x) => {
    const control = known(immediate);
    if (control === undefined) return w.simd('i8x16.swizzle', value, wordIndices(x, immediate, upper));
    const field = (i: number) => (control >> (2 * ((i & 7) >> 1))) & 3;
    return pick(value, value, i => (i >= 8 === upper ? (i & 8) + 2 * field(i) + (i & 1) : i));
  };
const shuffleMmx: Semantics = (x, destination, source, immediate) => {
  checkPending(x);
  const value = (source as Operand).readVector();
  const indices = wordIndices(x, (immediate as Operand).read(), false);
  enterMmx(x);
  (destination as Operand).writeVector(w.simd('i8x16.swizzle', value, indices));
};
const shuffleSingle: BinaryImmediate = (a, b, immediate, x) => {
  const control = known(immediate);
  if (control !== undefined) return pick(a, b, i => dwordLane(control, i) + (i < 8 ? 0 : 16));
  const indices = dwordIndices(x, immediate);
  const low = w.simd('i8x16.swizzle', a, indices);
  return pick(low, w.simd('i8x16.swizzle', b, indices), i => (i < 8 ? i : i + 16));
};
/** One of the two elements of `a` by bit 0, one of `b` by bit 1. */
export const shuffleDouble: BinaryImmediate = (a, b, immediate) => {
  const control = known(immediate);
  if (control !== undefined) {
    return pick(a, b, i => (i & 7) + (i < 8 ? (control & 1) * 8 : 16 + ((control >> 1) & 1) * 8));
  }
  const half = (v: Value, bit: number) =>
    w.select(w.and(immediate, w.i32(bit)), w.extractLane('i64x2', v, 1), w.extractLane('i64x2', v, 0));
  return w.replaceLane('i64x2', w.simd('i64x2.splat', half(a, 1)), 1, half(b, 2));
};

/** Address of element `immediate` of a register. */
export const element = (register: Operand, immediate: Operand, size: number): Value => {
  const count = register.size / size;
  const index = w.and(immediate.read(), w.i32(count - 1));
  return w.add(register.location(), w.mul(index, w.i32(size)));
};
const READS = { 1: 'i8x16u', 2: 'i16x8u', 4: 'i32x4', 8: 'i64x2' } as const;
/** PEXTR: `size` bytes of a vector register to a general register (zero-extended) or memory. */
export const extract =
  (size: 1 | 2 | 4 | 8): Semantics =>
  (x, destination, source, immediate) => {
    const type = size === 8 ? 'i64' : 'i32';
    const number = known((immediate as Operand).read());
    if (number !== undefined && (source as Operand).size === 16) {
      const lane = number & (16 / size - 1);
      (destination as Operand).write(
        x.let(w.extractLane(READS[size], (source as Operand).readVector(), lane)),
      );
      return;
    }
    const value = w.load(type, size, element(source as Operand, immediate as Operand, size));
    (destination as Operand).write(x.let(value));
  };
const LANES = { 1: 'i8x16', 2: 'i16x8', 4: 'i32x4', 8: 'i64x2' } as const;
/** `value` in the element of `size` bytes that `index` (no larger than there are elements) names. */
export function replaceElement(vector: Value, size: 1 | 2 | 4 | 8, index: Value, value: Value): Value {
  const number = known(index);
  if (number !== undefined) return w.replaceLane(LANES[size], vector, number, value);
  const numbers = constant(i => (i % size === 0 ? i / size : 0));
  const place = w.simd(`${LANES[size]}.splat`, size === 8 ? w.extendU(index) : index);
  const chosen = w.simd(`${LANES[size]}.eq`, numbers, place);
  return w.simd('v128.bitselect', w.simd(`${LANES[size]}.splat`, value), vector, chosen);
}
/** PINSR: the low `size` bytes of a register or memory into a vector register; the last operand is the immediate. */
export const insert =
  (size: 1 | 2 | 4 | 8): Semantics =>
  (x, destination, ...sources) => {
    const [immediate, source, first] = [...sources].reverse() as [Operand, Operand, Operand | undefined];
    const value = source.read();
    const target = destination as Operand;
    const index = x.let(w.and(immediate.read(), w.i32(16 / size - 1)));
    target.writeVector(x.let(replaceElement((first ?? target).readVector(), size, index, value)));
  };
const extractMmx: Semantics = (x, destination, source, immediate) => {
  checkPending(x);
  enterMmx(x);
  extract(2)(x, destination as Operand, source as Operand, immediate as Operand);
};
const insertMmx: Semantics = (x, destination, source, immediate) => {
  checkPending(x);
  const value = (source as Operand).read();
  const target = destination as Operand;
  enterMmx(x);
  x.code.store(2, element(target, immediate as Operand, 2), value);
  target.write(target.read());
};

const signMask =
  (shape: string): Semantics =>
  (_x, destination, source) => {
    const masks = (source as Operand).readParts().map(part => w.simd(`${shape}.bitmask`, part));
    const [low, high] = masks as [Value, Value | undefined];
    const count = shape === 'i8x16' ? 16 : shape === 'i32x4' ? 4 : 2;
    (destination as Operand).write(high ? w.or(low, w.shl(high, w.i32(count))) : low);
  };
const signMasks = (name: string, encoding: string, shape: string, options = SSE): Definition[] => [
  define(name, encoding, 'Gd Ux', signMask(shape), options),
  ...defineVex(`v${name}`, vexEncoding(encoding), 'Gd Ux', signMask(shape), AVX),
];
const signMaskMmx: Semantics = (x, destination, source) => {
  checkPending(x);
  enterMmx(x);
  signMask('i8x16')(x, destination as Operand, source as Operand);
};

export const sseShuffles: Definition[] = [
  ...signMasks('movmskps', 'NP 0F 50 /r', 'i32x4'),
  ...signMasks('movmskpd', '66 0F 50 /r', 'i64x2'),
  define('pshufw', 'NP 0F 70 /r', 'Pq Qq Ib', shuffleMmx, MMX),
  ...unaryImmediate('pshufd', '66 0F 70 /r', shuffleDwords, SSE),
  ...unaryImmediate('pshufhw', 'F3 0F 70 /r', shuffleWords(true)),
  ...unaryImmediate('pshuflw', 'F2 0F 70 /r', shuffleWords(false)),
  define('pinsrw', 'NP 0F C4 /r', 'Pq Ew Ib', insertMmx, MMX),
  define('pinsrw', '66 0F C4 /r', 'Vx Ew Ib', insert(2), SSE),
  define('vpinsrw', 'VEX.128.66.0F C4 /r', 'Vx Hx Ew Ib', insert(2), AVX),
  define('pextrw', 'NP 0F C5 /r', 'Gd Nq Ib', extractMmx, MMX),
  define('pextrw', '66 0F C5 /r', 'Gd Ux Ib', extract(2), SSE),
  define('vpextrw', 'VEX.128.66.0F C5 /r', 'Gd Ux Ib', extract(2), AVX),
  ...binaryImmediate('shufps', 'NP 0F C6 /r', shuffleSingle),
  ...binaryImmediate('shufpd', '66 0F C6 /r', shuffleDouble, 2),
  define('pmovmskb', 'NP 0F D7 /r', 'Gd Nq', signMaskMmx, MMX),
  ...signMasks('pmovmskb', '66 0F D7 /r', 'i8x16', SSE),
];
