/**
 * Packed integer arithmetic, comparison and logic of MMX, SSE and SSE2 (SDM vol. 1, 5.4, 5.5.3, 5.6.3), as entries for
 * both register files. MMX operands are vectors whose upper half is zero; of results only the lower half counts.
 */

import type { Value } from '../wasm/code.ts';
import * as w from '../wasm/code.ts';
import { type Definition, define, defineVex, type Semantics } from './definition.ts';
import type { Emitter, Operand } from './emitter.ts';
import {
  type Binary,
  binary,
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
  SSE,
  type UnaryImmediate,
  xmmBinary,
  ZERO,
} from './sse-common.ts';
import { vexUnaryImmediate } from './vex-common.ts';

const lanewise =
  (operator: string): Binary =>
  (a, b) =>
    w.simd(operator, a, b);

/** High halves of 16-bit products. */
const multiplyHigh =
  (sign: 's' | 'u'): Binary =>
  (a, b, x) => {
    const low = x.let(w.simd(`i32x4.extmul_low_i16x8_${sign}`, a, b));
    const high = x.let(w.simd(`i32x4.extmul_high_i16x8_${sign}`, a, b));
    return pick(low, high, i => 2 + (i >> 1) * 4 + (i & 1));
  };
const evenDwords = (a: Value): Value => pick(a, a, i => (i < 4 ? i : i < 8 ? i + 4 : 0));
export const multiplyEven =
  (sign: 's' | 'u'): Binary =>
  (a, b) =>
    w.simd(`i64x2.extmul_low_i32x4_${sign}`, evenDwords(a), evenDwords(b));
/** Sum of absolute differences of 8 bytes, in each half. */
const sumDifferences: Binary = (a, b, x) => {
  const difference = w.simd('v128.or', w.simd('i8x16.sub_sat_u', a, b), w.simd('i8x16.sub_sat_u', b, a));
  const words = w.simd('i16x8.extadd_pairwise_i8x16_u', difference);
  const dwords = x.let(w.simd('i32x4.extadd_pairwise_i16x8_u', words));
  return w.simd(
    'i64x2.add',
    w.simd('i64x2.shr_u', dwords, w.i32(32)),
    w.simd(
      'v128.and',
      dwords,
      constant(i => ((i & 7) < 4 ? 0xff : 0)),
    ),
  );
};
const andNot: Binary = (a, b) => w.simd('v128.andnot', b, a);

const pack = (name: string, opcode: string, operator: string): Definition[] =>
  pair(name, opcode, lanewise(operator), (a, b, x) => {
    const both = x.let(joined(a, b));
    return w.simd(operator, both, both);
  });
/** Interleave `size`-byte elements of the lower or upper halves. */
const interleave =
  (size: number, from: number): Binary =>
  (a, b) =>
    pick(a, b, i => {
      const element = Math.floor(i / size);
      return from + (element >> 1) * size + (i % size) + (element & 1 ? 16 : 0);
    });

const compares: [string, string, string][] = [
  ['pcmpgtb', '0F 64', 'i8x16.gt_s'],
  ['pcmpgtw', '0F 65', 'i16x8.gt_s'],
  ['pcmpgtd', '0F 66', 'i32x4.gt_s'],
  ['pcmpeqw', '0F 75', 'i16x8.eq'],
  ['pcmpeqd', '0F 76', 'i32x4.eq'],
];
const arithmetic: [string, string, string][] = [
  ['paddq', '0F D4', 'i64x2.add'],
  ['pmullw', '0F D5', 'i16x8.mul'],
  ['psubusb', '0F D8', 'i8x16.sub_sat_u'],
  ['psubusw', '0F D9', 'i16x8.sub_sat_u'],
  ['pminub', '0F DA', 'i8x16.min_u'],
  ['pand', '0F DB', 'v128.and'],
  ['paddusb', '0F DC', 'i8x16.add_sat_u'],
  ['paddusw', '0F DD', 'i16x8.add_sat_u'],
  ['pmaxub', '0F DE', 'i8x16.max_u'],
  ['pavgb', '0F E0', 'i8x16.avgr_u'],
  ['pavgw', '0F E3', 'i16x8.avgr_u'],
  ['psubsb', '0F E8', 'i8x16.sub_sat_s'],
  ['psubsw', '0F E9', 'i16x8.sub_sat_s'],
  ['pminsw', '0F EA', 'i16x8.min_s'],
  ['por', '0F EB', 'v128.or'],
  ['paddsb', '0F EC', 'i8x16.add_sat_s'],
  ['paddsw', '0F ED', 'i16x8.add_sat_s'],
  ['pmaxsw', '0F EE', 'i16x8.max_s'],
  ['pxor', '0F EF', 'v128.xor'],
  ['pmaddwd', '0F F5', 'i32x4.dot_i16x8_s'],
  ['psubb', '0F F8', 'i8x16.sub'],
  ['psubw', '0F F9', 'i16x8.sub'],
  ['psubd', '0F FA', 'i32x4.sub'],
  ['psubq', '0F FB', 'i64x2.sub'],
  ['paddb', '0F FC', 'i8x16.add'],
  ['paddw', '0F FD', 'i16x8.add'],
  ['paddd', '0F FE', 'i32x4.add'],
];

// ---- shifts ----

/** Shift by a 64-bit count: beyond the lane's width everything is shifted out. */
function shiftBy(operator: string, a: Value, count: Value, x: Emitter): Value {
  const bits = operator.startsWith('i16') ? 16 : operator.startsWith('i32') ? 32 : 64;
  const limit = w.integer(count.type, bits - 1);
  const by = known(count);
  if (by !== undefined) {
    if (by < bits) return w.simd(operator, a, w.i32(by));
    return operator.endsWith('shr_s') ? w.simd(operator, a, w.i32(bits - 1)) : ZERO;
  }
  if (operator.endsWith('shr_s')) {
    return w.simd(operator, a, w.select(w.gtU(count, limit), w.i32(bits - 1), w.wrap(count)));
  }
  return w.select(w.gtU(count, limit), ZERO, x.let(w.simd(operator, a, w.wrap(count))));
}
const shiftVector =
  (operator: string): Binary =>
  (a, b, x) =>
    shiftBy(operator, a, x.let(w.extractLane('i64x2', b, 0)), x);
/** One count for both parts. */
const shiftParts =
  (operator: string): Semantics =>
  (x, destination, source, amount) => {
    const count = x.let(w.extractLane('i64x2', (amount as Operand).readVector(), 0));
    const parts = (source as Operand).readParts();
    (destination as Operand).writeParts(parts.map(a => x.let(shiftBy(operator, a, count, x))));
  };
const shiftImmediate =
  (operator: string): Semantics =>
  (x, destination, immediate) => {
    const target = destination as Operand;
    if (target.size === 8) checkPending(x);
    const result = x.let(shiftBy(operator, target.readVector(), (immediate as Operand).read(), x));
    if (target.size === 8) enterMmx(x);
    target.writeVector(result);
  };
const shift = (
  name: string,
  opcode: string,
  group: string,
  digit: number,
  operator: string,
): Definition[] => [
  define(name, `66 0F ${opcode} /r`, 'Vx Wx', xmmBinary(shiftVector(operator)), SSE),
  ...defineVex(`v${name}`, `VEX.66.0F ${opcode} /r`, 'Vx Hx Wdq', shiftParts(operator)),
  define(name, `NP 0F ${opcode} /r`, 'Pq Qq', mmxBinary(shiftVector(operator)), MMX),
  define(name, `66 0F ${group} /${digit}`, 'Ux Ib', shiftImmediate(operator), SSE),
  ...defineVex(
    `v${name}`,
    `VEX.66.0F ${group} /${digit}`,
    'Hx Ux Ib',
    vexUnaryImmediate((a, count, x) => shiftBy(operator, a, count, x)),
  ),
  define(name, `NP 0F ${group} /${digit}`, 'Nq Ib', shiftImmediate(operator), MMX),
];
/** PSLLDQ and PSRLDQ: by bytes. Indices outside the vector give zeros. */
const shiftBytes =
  (operator: 'i8x16.sub' | 'i8x16.add'): UnaryImmediate =>
  (a, count) => {
    const by = known(count);
    if (by !== undefined) {
      if (by > 15) return ZERO;
      return operator === 'i8x16.sub' ? pick(ZERO, a, i => i + 16 - by) : pick(a, ZERO, i => i + by);
    }
    const limited = w.select(w.gtU(count, w.i32(16)), w.i32(16), count);
    return w.simd('i8x16.swizzle', a, w.simd(operator, IOTA, w.simd('i8x16.splat', limited)));
  };
const byteShift = (name: string, digit: number, operator: 'i8x16.sub' | 'i8x16.add'): Definition[] => {
  const compute = shiftBytes(operator);
  const inPlace: Semantics = (x, destination, immediate) => {
    const target = destination as Operand;
    target.writeVector(x.let(compute(target.readVector(), (immediate as Operand).read(), x)));
  };
  return [
    define(name, `66 0F 73 /${digit}`, 'Ux Ib', inPlace, SSE),
    ...defineVex(`v${name}`, `VEX.66.0F 73 /${digit}`, 'Hx Ux Ib', vexUnaryImmediate(compute)),
  ];
};

export const sseIntegers: Definition[] = [
  ...compares.flatMap(([name, opcode, operator]) => pair(name, opcode, lanewise(operator))),
  ...pair('pcmpeqb', '0F 74', lanewise('i8x16.eq')),
  ...arithmetic.flatMap(([name, opcode, operator]) => pair(name, opcode, lanewise(operator))),
  ...pair('pandn', '0F DF', andNot),
  ...pair('pmulhuw', '0F E4', multiplyHigh('u')),
  ...pair('pmulhw', '0F E5', multiplyHigh('s')),
  ...pair('pmuludq', '0F F4', multiplyEven('u')),
  ...pair('psadbw', '0F F6', sumDifferences),
  ...pack('packsswb', '0F 63', 'i8x16.narrow_i16x8_s'),
  ...pack('packuswb', '0F 67', 'i8x16.narrow_i16x8_u'),
  ...pack('packssdw', '0F 6B', 'i16x8.narrow_i32x4_s'),
  ...binary('punpcklbw', '66 0F 60 /r', interleave(1, 0), SSE),
  ...binary('punpcklwd', '66 0F 61 /r', interleave(2, 0), SSE),
  ...binary('punpckldq', '66 0F 62 /r', interleave(4, 0), SSE),
  ...binary('punpcklqdq', '66 0F 6C /r', interleave(8, 0), SSE),
  ...pair('punpckhbw', '0F 68', interleave(1, 8), interleave(1, 4)),
  ...pair('punpckhwd', '0F 69', interleave(2, 8), interleave(2, 4)),
  ...pair('punpckhdq', '0F 6A', interleave(4, 8), interleave(4, 4)),
  ...binary('punpckhqdq', '66 0F 6D /r', interleave(8, 8)),
  ...binary('unpcklps', 'NP 0F 14 /r', interleave(4, 0)),
  ...binary('unpcklpd', '66 0F 14 /r', interleave(8, 0)),
  ...binary('unpckhps', 'NP 0F 15 /r', interleave(4, 8)),
  ...binary('unpckhpd', '66 0F 15 /r', interleave(8, 8)),
  ...[
    ['and', '54', lanewise('v128.and')] as const,
    ['andn', '55', andNot] as const,
    ['or', '56', lanewise('v128.or')] as const,
    ['xor', '57', lanewise('v128.xor')] as const,
  ].flatMap(([name, opcode, compute]) => [
    ...binary(`${name}ps`, `NP 0F ${opcode} /r`, compute),
    ...binary(`${name}pd`, `66 0F ${opcode} /r`, compute),
  ]),
  ...shift('psrlw', 'D1', '71', 2, 'i16x8.shr_u'),
  ...shift('psraw', 'E1', '71', 4, 'i16x8.shr_s'),
  ...shift('psllw', 'F1', '71', 6, 'i16x8.shl'),
  ...shift('psrld', 'D2', '72', 2, 'i32x4.shr_u'),
  ...shift('psrad', 'E2', '72', 4, 'i32x4.shr_s'),
  ...shift('pslld', 'F2', '72', 6, 'i32x4.shl'),
  ...shift('psrlq', 'D3', '73', 2, 'i64x2.shr_u'),
  ...shift('psllq', 'F3', '73', 6, 'i64x2.shl'),
  ...byteShift('psrldq', 3, 'i8x16.add'),
  ...byteShift('pslldq', 7, 'i8x16.sub'),
];

/** MMX reads only four bytes of memory for the low half. */
const mmxLow = (size: number, opcode: string, name: string): Definition =>
  define(
    name,
    `NP ${opcode} /r`,
    'Pq Qd',
    (x, destination, source) => {
      checkPending(x);
      const b = x.let(w.simd('i64x2.splat', w.extendU((source as Operand).read())));
      const target = destination as Operand;
      const result = x.let(interleave(size, 0)(target.readVector(), b, x));
      enterMmx(x);
      target.writeVector(result);
    },
    MMX,
  );
sseIntegers.push(
  mmxLow(1, '0F 60', 'punpcklbw'),
  mmxLow(2, '0F 61', 'punpcklwd'),
  mmxLow(4, '0F 62', 'punpckldq'),
);
