/** Shuffles by an immediate, insertion and extraction of words, sign masks (SDM vol. 1, 5.5.3, 5.6.1.4, 5.6.3). */

import type { Value } from '../wasm/code.ts';
import * as w from '../wasm/code.ts';
import { type Definition, define, type Semantics } from './definition.ts';
import type { Emitter, Operand } from './emitter.ts';
import { checkPending, constant, enterMmx, HOT, MMX, pick, SSE, selectors, ZERO } from './sse-common.ts';

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

const shuffleDwords: Semantics = (x, destination, source, immediate) => {
  const value = (source as Operand).readVector();
  const indices = dwordIndices(x, (immediate as Operand).read());
  (destination as Operand).writeVector(w.simd('i8x16.swizzle', value, indices));
};
const shuffleWords =
  (upper: boolean): Semantics =>
  (x, destination, source, immediate) => {
    const value = (source as Operand).readVector();
    const indices = wordIndices(x, (immediate as Operand).read(), upper);
    (destination as Operand).writeVector(w.simd('i8x16.swizzle', value, indices));
  };
const shuffleMmx: Semantics = (x, destination, source, immediate) => {
  checkPending(x);
  const value = (source as Operand).readVector();
  const indices = wordIndices(x, (immediate as Operand).read(), false);
  enterMmx(x);
  (destination as Operand).writeVector(w.simd('i8x16.swizzle', value, indices));
};
const shuffleSingle: Semantics = (x, destination, source, immediate) => {
  const target = destination as Operand;
  const b = (source as Operand).readVector();
  const indices = dwordIndices(x, (immediate as Operand).read());
  const low = w.simd('i8x16.swizzle', target.readVector(), indices);
  target.writeVector(pick(low, w.simd('i8x16.swizzle', b, indices), i => (i < 8 ? i : i + 16)));
};
const shuffleDouble: Semantics = (x, destination, source, immediate) => {
  const target = destination as Operand;
  const b = (source as Operand).readVector();
  const a = target.readVector();
  const bits = (immediate as Operand).read();
  const half = (v: Value, bit: number) =>
    w.select(w.and(bits, w.i32(bit)), w.extractLane('i64x2', v, 1), w.extractLane('i64x2', v, 0));
  const low = w.simd('i64x2.splat', half(a, 1));
  target.writeVector(x.let(w.replaceLane('i64x2', low, 1, half(b, 2))));
};

/** Address of element `immediate` of a register. */
export const element = (register: Operand, immediate: Operand, size: number): Value => {
  const count = register.size / size;
  const index = w.and(immediate.read(), w.i32(count - 1));
  return w.add(register.location(), w.mul(index, w.i32(size)));
};
/** PEXTR: `size` bytes of a vector register to a general register (zero-extended) or memory. */
export const extract =
  (size: 1 | 2 | 4 | 8): Semantics =>
  (x, destination, source, immediate) => {
    const type = size === 8 ? 'i64' : 'i32';
    const value = w.load(type, size, element(source as Operand, immediate as Operand, size));
    (destination as Operand).write(x.let(value));
  };
/** PINSR: the low `size` bytes of a register or memory into a vector register. */
export const insert =
  (size: 1 | 2 | 4 | 8): Semantics =>
  (x, destination, source, immediate) => {
    const value = (source as Operand).read();
    x.code.store(size, element(destination as Operand, immediate as Operand, size), value);
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
  (_x, destination, source) =>
    (destination as Operand).write(w.simd(`${shape}.bitmask`, (source as Operand).readVector()));
const signMaskMmx: Semantics = (x, destination, source) => {
  checkPending(x);
  enterMmx(x);
  signMask('i8x16')(x, destination as Operand, source as Operand);
};

export const sseShuffles: Definition[] = [
  define('movmskps', 'NP 0F 50 /r', 'Gd Ux', signMask('i32x4'), SSE),
  define('movmskpd', '66 0F 50 /r', 'Gd Ux', signMask('i64x2'), SSE),
  define('pshufw', 'NP 0F 70 /r', 'Pq Qq Ib', shuffleMmx, MMX),
  define('pshufd', '66 0F 70 /r', 'Vx Wx Ib', shuffleDwords, HOT),
  define('pshufhw', 'F3 0F 70 /r', 'Vx Wx Ib', shuffleWords(true), SSE),
  define('pshuflw', 'F2 0F 70 /r', 'Vx Wx Ib', shuffleWords(false), SSE),
  define('pinsrw', 'NP 0F C4 /r', 'Pq Ew Ib', insertMmx, MMX),
  define('pinsrw', '66 0F C4 /r', 'Vx Ew Ib', insert(2), SSE),
  define('pextrw', 'NP 0F C5 /r', 'Gd Nq Ib', extractMmx, MMX),
  define('pextrw', '66 0F C5 /r', 'Gd Ux Ib', extract(2), SSE),
  define('shufps', 'NP 0F C6 /r', 'Vx Wx Ib', shuffleSingle, SSE),
  define('shufpd', '66 0F C6 /r', 'Vx Wx Ib', shuffleDouble, SSE),
  define('pmovmskb', 'NP 0F D7 /r', 'Gd Nq', signMaskMmx, MMX),
  define('pmovmskb', '66 0F D7 /r', 'Gd Ux', signMask('i8x16'), HOT),
];
