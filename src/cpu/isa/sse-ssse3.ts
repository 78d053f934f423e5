/** SSSE3 (SDM vol. 1, 5.8): horizontal arithmetic, byte shuffles, signs, alignment, on both register files. */

import type { Value } from '../wasm/code.ts';
import * as w from '../wasm/code.ts';
import { type Definition, define, type Semantics } from './definition.ts';
import type { Emitter, Operand } from './emitter.ts';
import {
  type Binary,
  binaryImmediate,
  checkPending,
  constant,
  enterMmx,
  IOTA,
  joined,
  known,
  MMX,
  mmxBinary,
  pair,
  pick,
  type Unary,
  unary,
  ZERO,
} from './sse-common.ts';

/** Every second element of two vectors, beginning with the first or the second. */
const alternate = (a: Value, b: Value, size: number, odd: 0 | 1): Value =>
  pick(a, b, i => (2 * Math.floor(i / size) + odd) * size + (i % size));
const horizontal = (name: string, opcode: string, size: number, operator: string): Definition[] => {
  const compute: Binary = (a, b) => w.simd(operator, alternate(a, b, size, 0), alternate(a, b, size, 1));
  return pair(name, opcode, compute, (a, b, x) => {
    const both = x.let(joined(a, b));
    return compute(both, both, x);
  });
};

/** Unsigned bytes of `a` times signed bytes of `b`; the products of neighbours added with saturation. */
const multiplyAddBytes: Binary = (a, b, x) => {
  const products = (half: string) =>
    x.let(
      w.simd(
        'i16x8.mul',
        w.simd(`i16x8.extend_${half}_i8x16_u`, a),
        w.simd(`i16x8.extend_${half}_i8x16_s`, b),
      ),
    );
  const low = products('low');
  const high = products('high');
  return w.simd('i16x8.add_sat_s', alternate(low, high, 2, 0), alternate(low, high, 2, 1));
};
/** `a` negated, zero or as it is, by the sign of `b`. */
const applySign = (shape: string): Binary => {
  return (a, b, x) => {
    const negative = x.let(w.simd(`${shape}.lt_s`, b, ZERO));
    const signed = w.simd(`${shape}.sub`, w.simd('v128.xor', a, negative), negative);
    return w.simd('v128.andnot', signed, w.simd(`${shape}.eq`, b, ZERO));
  };
};
/** wasm's rounding multiplication saturates the one product that x86 lets wrap. */
const multiplyRound: Binary = (a, b, x) => {
  const lowest = x.let(constant(i => (i & 1 ? 0x80 : 0)));
  const wrapped = w.simd('v128.and', w.simd('i16x8.eq', a, lowest), w.simd('i16x8.eq', b, lowest));
  return w.simd('v128.xor', w.simd('i16x8.q15mulr_sat_s', a, b), wrapped);
};
/** Indices with bit 7 give zero; of the others the lower bits count. */
const shuffleBytes =
  (mask: number): Binary =>
  (a, b) =>
    w.simd(
      'i8x16.swizzle',
      a,
      w.simd(
        'v128.and',
        b,
        constant(() => mask),
      ),
    );

/** The bytes of `b`, then those of `a`, from byte `count` on; zeros come after. */
function alignBytes(a: Value, b: Value, count: Value, x: Emitter): Value {
  const bytes = known(count);
  if (bytes !== undefined) {
    if (bytes >= 32) return ZERO;
    return bytes > 16 ? pick(a, ZERO, i => i + bytes - 16) : pick(b, a, i => i + bytes);
  }
  const low = w.simd('i8x16.add_sat_u', IOTA, w.simd('i8x16.splat', count));
  const high = w.simd('i8x16.add', IOTA, w.simd('i8x16.splat', w.sub(count, w.i32(16))));
  return x.let(w.simd('v128.or', w.simd('i8x16.swizzle', b, low), w.simd('i8x16.swizzle', a, high)));
}
const alignMmx: Semantics = (x, destination, source, immediate) => {
  checkPending(x);
  const target = destination as Operand;
  const b = (source as Operand).readVector();
  const both = x.let(joined(b, target.readVector()));
  const result = alignBytes(ZERO, both, (immediate as Operand).read(), x);
  enterMmx(x);
  target.writeVector(result);
};

const absolute = (name: string, opcode: string, shape: string): Definition[] => {
  const compute: Unary = a => w.simd(`${shape}.abs`, a);
  const mmx = mmxBinary((_a, b, x) => compute(b, x));
  return [...unary(name, `66 ${opcode} /r`, compute), define(name, `NP ${opcode} /r`, 'Pq Qq', mmx, MMX)];
};

export const ssse3: Definition[] = [
  ...pair('pshufb', '0F 38 00', shuffleBytes(0x8f), shuffleBytes(0x87)),
  ...horizontal('phaddw', '0F 38 01', 2, 'i16x8.add'),
  ...horizontal('phaddd', '0F 38 02', 4, 'i32x4.add'),
  ...horizontal('phaddsw', '0F 38 03', 2, 'i16x8.add_sat_s'),
  ...pair('pmaddubsw', '0F 38 04', multiplyAddBytes),
  ...horizontal('phsubw', '0F 38 05', 2, 'i16x8.sub'),
  ...horizontal('phsubd', '0F 38 06', 4, 'i32x4.sub'),
  ...horizontal('phsubsw', '0F 38 07', 2, 'i16x8.sub_sat_s'),
  ...pair('psignb', '0F 38 08', applySign('i8x16')),
  ...pair('psignw', '0F 38 09', applySign('i16x8')),
  ...pair('psignd', '0F 38 0A', applySign('i32x4')),
  ...pair('pmulhrsw', '0F 38 0B', multiplyRound),
  ...absolute('pabsb', '0F 38 1C', 'i8x16'),
  ...absolute('pabsw', '0F 38 1D', 'i16x8'),
  ...absolute('pabsd', '0F 38 1E', 'i32x4'),
  ...binaryImmediate('palignr', '66 0F 3A 0F /r', alignBytes),
  define('palignr', 'NP 0F 3A 0F /r', 'Pq Qq Ib', alignMmx, MMX),
];
