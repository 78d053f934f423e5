/** SSE4.1 and the comparison of SSE4.2 (SDM vol. 1, 5.10, 5.11) but for the string instructions. */

import type { Value } from '../wasm/code.ts';
import * as w from '../wasm/code.ts';
import { type Definition, define, type Semantics } from './definition.ts';
import type { Emitter, Operand } from './emitter.ts';
import * as flags from './flags.ts';
import { type Binary, constant, fromLow, pick, SSE, simdFaultIf, xmmBinary, xmmUnary } from './sse-common.ts';
import { multiplyEven } from './sse-integer.ts';
import { extract, insert } from './sse-shuffle.ts';

// ---- blends ----

/** By the sign bits of XMM0. */
const blendVariable =
  (shape: string, bits: number): Semantics =>
  (x, destination, source, mask) => {
    const target = destination as Operand;
    const b = (source as Operand).readVector();
    const chosen = w.simd(`${shape}.shr_s`, (mask as Operand).readVector(), w.i32(bits - 1));
    target.writeVector(w.simd('v128.bitselect', b, target.readVector(), x.let(chosen)));
  };
/** Ones in the elements whose bit of the immediate is set. */
function immediateMask(x: Emitter, shape: string, size: number, immediate: Value): Value {
  const bits = x.let(constant(i => (i % size === 0 ? 1 << Math.floor(i / size) : 0)));
  const spread = w.simd(`${shape}.splat`, size === 8 ? w.extendU(immediate) : immediate);
  return x.let(w.simd(`${shape}.eq`, w.simd('v128.and', spread, bits), bits));
}
const blend =
  (shape: string, size: number): Semantics =>
  (x, destination, source, immediate) => {
    const target = destination as Operand;
    const b = (source as Operand).readVector();
    const mask = immediateMask(x, shape, size, (immediate as Operand).read());
    target.writeVector(w.simd('v128.bitselect', b, target.readVector(), mask));
  };

const test: Semantics = (x, first, second) => {
  const b = (second as Operand).readVector();
  const a = (first as Operand).readVector();
  const zero = w.eqz(w.simd('v128.any_true', w.simd('v128.and', a, b)));
  const carry = w.eqz(w.simd('v128.any_true', w.simd('v128.andnot', b, a)));
  flags.loadArithmeticFlags(x, w.or(w.shl(zero, w.i32(6)), carry));
};

// ---- conversions of width ----

const SHAPES = ['i8x16', 'i16x8', 'i32x4', 'i64x2'] as const;
const extend = (from: number, to: number, sign: 's' | 'u'): Semantics =>
  xmmUnary(value => {
    let result = value;
    for (let i = from; i < to; i++)
      result = w.simd(`${SHAPES[i + 1]}.extend_low_${SHAPES[i]}_${sign}`, result);
    return result;
  });
const EXTENSIONS: [string, number, number, string][] = [
  ['bw', 0, 1, 'Wq'],
  ['bd', 0, 2, 'Wd'],
  ['bq', 0, 3, 'Ww'],
  ['wd', 1, 2, 'Wq'],
  ['wq', 1, 3, 'Wd'],
  ['dq', 2, 3, 'Wq'],
];

/** The smallest word and its place: words over their indices in 32-bit lanes, then the minimum of the lanes. */
const smallestWord: Semantics = (x, destination, source) => {
  const value = (source as Operand).readVector();
  const lanes = (half: string, first: number) =>
    w.simd(
      'v128.or',
      w.simd('i32x4.shl', w.simd(`i32x4.extend_${half}_i16x8_u`, value), w.i32(16)),
      constant(i => (i % 4 === 0 ? first + i / 4 : 0)),
    );
  const four = x.let(w.simd('i32x4.min_u', lanes('low', 0), lanes('high', 4)));
  const two = x.let(
    w.simd(
      'i32x4.min_u',
      four,
      pick(four, four, i => (i + 8) & 15),
    ),
  );
  const one = x.let(
    w.simd(
      'i32x4.min_u',
      two,
      pick(two, two, i => (i + 4) & 15),
    ),
  );
  const lowest = w.rotl(w.extractLane('i32x4', one, 0), w.i32(16));
  (destination as Operand).writeVector(fromLow(4, lowest));
};

const insertSingle: Semantics = (x, destination, source, immediate) => {
  const from = source as Operand;
  const target = destination as Operand;
  const control = (immediate as Operand).read();
  const chosen = w.and(w.shrU(control, w.i32(4)), w.i32(0xc));
  const value = from.isMemory ? from.read() : x.let(w.load('i32', 4, w.add(from.location(), chosen)));
  const place = w.and(w.shrU(control, w.i32(2)), w.i32(0xc));
  x.code.store(4, w.add(target.location(), place), value);
  const zeroed = immediateMask(x, 'i32x4', 4, control);
  target.writeVector(w.simd('v128.andnot', target.readVector(), zeroed));
};

/** PEXTRD and PEXTRQ, PINSRD and PINSRQ: REX.W decides. */
const extractScaled: Semantics = (x, destination, source, immediate) =>
  extract((destination as Operand).size as 4 | 8)(
    x,
    destination as Operand,
    source as Operand,
    immediate as Operand,
  );
const insertScaled: Semantics = (x, destination, source, immediate) =>
  insert((source as Operand).size as 4 | 8)(
    x,
    destination as Operand,
    source as Operand,
    immediate as Operand,
  );

// ---- what the runtime computes ----

const round =
  (name: string): Semantics =>
  (x, destination, source, immediate) => {
    const from = x.let((source as Operand).location());
    simdFaultIf(x, x.runtime(name, from, (destination as Operand).location(), (immediate as Operand).read()));
  };
const withImmediate =
  (name: string, faults: boolean): Semantics =>
  (x, destination, source, immediate) => {
    const b = x.let((source as Operand).location());
    const target = (destination as Operand).location();
    const result = x.runtime(name, target, b, target, (immediate as Operand).read());
    if (faults) simdFaultIf(x, result);
  };
const move: Semantics = (_x, destination, source) =>
  (destination as Operand).writeVector((source as Operand).readVector());

const lanewise =
  (operator: string): Binary =>
  (a, b) =>
    w.simd(operator, a, b);
const BINARY: [string, string, string][] = [
  ['pcmpeqq', '29', 'i64x2.eq'],
  ['packusdw', '2B', 'i16x8.narrow_i32x4_u'],
  ['pcmpgtq', '37', 'i64x2.gt_s'],
  ['pminsb', '38', 'i8x16.min_s'],
  ['pminsd', '39', 'i32x4.min_s'],
  ['pminuw', '3A', 'i16x8.min_u'],
  ['pminud', '3B', 'i32x4.min_u'],
  ['pmaxsb', '3C', 'i8x16.max_s'],
  ['pmaxsd', '3D', 'i32x4.max_s'],
  ['pmaxuw', '3E', 'i16x8.max_u'],
  ['pmaxud', '3F', 'i32x4.max_u'],
  ['pmulld', '40', 'i32x4.mul'],
];

export const sse4: Definition[] = [
  define('pblendvb', '66 0F 38 10 /r', 'Vx Wx XMM0', blendVariable('i8x16', 8), SSE),
  define('blendvps', '66 0F 38 14 /r', 'Vx Wx XMM0', blendVariable('i32x4', 32), SSE),
  define('blendvpd', '66 0F 38 15 /r', 'Vx Wx XMM0', blendVariable('i64x2', 64), SSE),
  define('ptest', '66 0F 38 17 /r', 'Vx Wx', test, { ...SSE, writes: 'oszapc' }),
  ...EXTENSIONS.flatMap(([name, from, to, operand], i) => [
    define(`pmovsx${name}`, `66 0F 38 2${i} /r`, `Vx ${operand}`, extend(from, to, 's'), SSE),
    define(`pmovzx${name}`, `66 0F 38 3${i} /r`, `Vx ${operand}`, extend(from, to, 'u'), SSE),
  ]),
  define('pmuldq', '66 0F 38 28 /r', 'Vx Wx', xmmBinary(multiplyEven('s')), SSE),
  define('movntdqa', '66 0F 38 2A /r', 'Vx Mx', move, SSE),
  ...BINARY.map(([name, opcode, operator]) =>
    define(name, `66 0F 38 ${opcode} /r`, 'Vx Wx', xmmBinary(lanewise(operator)), SSE),
  ),
  define('phminposuw', '66 0F 38 41 /r', 'Vx Wx', smallestWord, SSE),
  define('roundps', '66 0F 3A 08 /r', 'Vx Wx Ib', round('roundps'), SSE),
  define('roundpd', '66 0F 3A 09 /r', 'Vx Wx Ib', round('roundpd'), SSE),
  define('roundss', '66 0F 3A 0A /r', 'Vd Wd Ib', round('roundss'), SSE),
  define('roundsd', '66 0F 3A 0B /r', 'Vq Wq Ib', round('roundsd'), SSE),
  define('blendps', '66 0F 3A 0C /r', 'Vx Wx Ib', blend('i32x4', 4), SSE),
  define('blendpd', '66 0F 3A 0D /r', 'Vx Wx Ib', blend('i64x2', 8), SSE),
  define('pblendw', '66 0F 3A 0E /r', 'Vx Wx Ib', blend('i16x8', 2), SSE),
  define('pextrb', '66 0F 3A 14 /r', 'Rd Vx Ib', extract(1), SSE),
  define('pextrb', '66 0F 3A 14 /r', 'Mb Vx Ib', extract(1), SSE),
  define('pextrw', '66 0F 3A 15 /r', 'Rd Vx Ib', extract(2), SSE),
  define('pextrw', '66 0F 3A 15 /r', 'Mw Vx Ib', extract(2), SSE),
  define('pextrd', '66 0F 3A 16 /r', 'Ey Vx Ib', extractScaled, SSE),
  define('extractps', '66 0F 3A 17 /r', 'Ed Vx Ib', extract(4), SSE),
  define('pinsrb', '66 0F 3A 20 /r', 'Vx Rd Ib', insert(1), SSE),
  define('pinsrb', '66 0F 3A 20 /r', 'Vx Mb Ib', insert(1), SSE),
  define('insertps', '66 0F 3A 21 /r', 'Vx Ux Ib', insertSingle, SSE),
  define('insertps', '66 0F 3A 21 /r', 'Vx Md Ib', insertSingle, SSE),
  define('pinsrd', '66 0F 3A 22 /r', 'Vx Ey Ib', insertScaled, SSE),
  define('dpps', '66 0F 3A 40 /r', 'Vx Wx Ib', withImmediate('dpps', true), SSE),
  define('dppd', '66 0F 3A 41 /r', 'Vx Wx Ib', withImmediate('dppd', true), SSE),
  define('mpsadbw', '66 0F 3A 42 /r', 'Vx Wx Ib', withImmediate('sumDifferenceWindows', false), SSE),
];
