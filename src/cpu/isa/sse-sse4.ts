/** SSE4.1 and the comparison of SSE4.2 (SDM vol. 1, 5.10, 5.11) but for the string instructions. */

import type { Value } from '../wasm/code.ts';
import * as w from '../wasm/code.ts';
import { type Definition, define, defineVex, type Semantics } from './definition.ts';
import type { Emitter, Operand } from './emitter.ts';
import * as flags from './flags.ts';
import * as float from './float-operation.ts';
import type { FloatType } from './float-range.ts';
import {
  type Binary,
  type BinaryImmediate,
  binary,
  binaryImmediate,
  constant,
  fromLow,
  IOTA,
  known,
  pick,
  SSE,
  type Unary,
  xmmUnary,
  ZERO,
} from './sse-common.ts';
import { multiplyEven } from './sse-integer.ts';
import { extract, insert, replaceElement } from './sse-shuffle.ts';
import { AVX, vexUnary } from './vex-common.ts';

// ---- blends ----

/** `b` in the elements whose sign bit is set in `mask`, else `a`. */
const blendBySign =
  (shape: string, bits: number) =>
  (a: Value, b: Value, mask: Value, x: Emitter): Value =>
    w.simd('v128.bitselect', b, a, x.let(w.simd(`${shape}.shr_s`, mask, w.i32(bits - 1))));
/** By the sign bits of XMM0, or with VEX of a fourth operand. */
const blendVariable = (
  name: string,
  opcode: string,
  vexOpcode: string,
  shape: string,
  bits: number,
): Definition[] => {
  const compute = blendBySign(shape, bits);
  const inPlace: Semantics = (x, destination, source, mask) => {
    const target = destination as Operand;
    const b = (source as Operand).readVector();
    target.writeVector(compute(target.readVector(), b, (mask as Operand).readVector(), x));
  };
  const vex: Semantics = (x, destination, ...sources) => {
    const [a, b, mask] = sources.map(source => source.readParts()) as [Value[], Value[], Value[]];
    (destination as Operand).writeParts(
      a.map((part, i) => x.let(compute(part, b[i] as Value, mask[i] as Value, x))),
    );
  };
  return [
    define(name, `66 0F 38 ${opcode} /r`, 'Vx Wx XMM0', inPlace, SSE),
    ...defineVex(`v${name}`, `VEX.66.0F3A.W0 ${vexOpcode} /r`, 'Vx Hx Wx Yx', vex),
  ];
};
/** Ones in the elements whose bit of the immediate is set. */
export function immediateMask(x: Emitter, shape: string, size: number, immediate: Value): Value {
  const control = known(immediate);
  if (control !== undefined) return constant(i => ((control >> Math.floor(i / size)) & 1 ? 0xff : 0));
  const bits = x.let(constant(i => (i % size === 0 ? 1 << Math.floor(i / size) : 0)));
  const spread = w.simd(`${shape}.splat`, size === 8 ? w.extendU(immediate) : immediate);
  return x.let(w.simd(`${shape}.eq`, w.simd('v128.and', spread, bits), bits));
}
/** Elements of `b` where the immediate has ones. */
export const blend =
  (shape: string, size: number): BinaryImmediate =>
  (a, b, immediate, x) => {
    const control = known(immediate);
    if (control !== undefined) return pick(a, b, i => ((control >> Math.floor(i / size)) & 1 ? i + 16 : i));
    return w.simd('v128.bitselect', b, a, immediateMask(x, shape, size, immediate));
  };

/**
 * PTEST and VTESTPS, VTESTPD: ZF says that no bit of both is one, CF that no bit of the second alone is.
 * @param mask which bits count, if not all
 */
export const test =
  (mask?: Value): Semantics =>
  (x, first, second) => {
    const b = (second as Operand).readParts();
    const a = (first as Operand).readParts();
    const any = (operator: string): Value => {
      const parts = a.map((part, i) => w.simd(operator, b[i] as Value, part));
      const all = parts.reduce((one, other) => w.simd('v128.or', one, other));
      return w.simd('v128.any_true', mask ? w.simd('v128.and', all, mask) : all);
    };
    const zero = w.eqz(any('v128.and'));
    const carry = w.eqz(any('v128.andnot'));
    flags.loadArithmeticFlags(x, w.or(w.shl(zero, w.i32(6)), carry));
  };

// ---- conversions of width ----

const SHAPES = ['i8x16', 'i16x8', 'i32x4', 'i64x2'] as const;
/** The low elements of a vector, wider. */
const extendLow =
  (from: number, to: number, sign: 's' | 'u'): Unary =>
  value => {
    let result = value;
    for (let i = from; i < to; i++)
      result = w.simd(`${SHAPES[i + 1]}.extend_low_${SHAPES[i]}_${sign}`, result);
    return result;
  };
const extend = (name: string, from: number, to: number, opcode: string, memory: string, sign: 's' | 'u') => {
  const compute = extendLow(from, to, sign);
  // The upper half of the result comes from the next elements of the one part that is read.
  const step = 16 >> (to - from);
  const vex: Semantics = (x, destination, source) => {
    const target = destination as Operand;
    const value = (source as Operand).readVector();
    const parts = Array.from({ length: target.size / 16 }, (_, i) =>
      x.let(compute(i === 0 ? value : pick(value, ZERO, byte => byte + step), x)),
    );
    target.writeParts(parts);
  };
  const size = ['', 'h', 'f', 'e'][to - from] as string;
  return [
    define(name, `66 0F 38 ${opcode} /r`, `Vx ${memory}`, xmmUnary(compute), SSE),
    ...defineVex(`v${name}`, `VEX.66.0F38 ${opcode} /r`, `Vx W${size}`, vex),
  ];
};
const EXTENSIONS: [string, number, number, string][] = [
  ['bw', 0, 1, 'Wq'],
  ['bd', 0, 2, 'Wd'],
  ['bq', 0, 3, 'Ww'],
  ['wd', 1, 2, 'Wq'],
  ['wq', 1, 3, 'Wd'],
  ['dq', 2, 3, 'Wq'],
];

/** The smallest word and its place: words over their indices in 32-bit lanes, then the minimum of the lanes. */
const smallestWord: Unary = (value, x) => {
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
  return fromLow(4, lowest);
};

/** INSERTPS: an element of a register or memory into one of the first source, and zeros where the immediate has ones. */
const insertSingle: Semantics = (x, destination, ...sources) => {
  const [immediate, source, first] = [...sources].reverse() as [Operand, Operand, Operand | undefined];
  const target = destination as Operand;
  const control = immediate.read();
  const chosen = w.and(w.shrU(control, w.i32(4)), w.i32(0xc));
  const value = source.isMemory
    ? source.read()
    : x.let(
        w.extractLane(
          'i32x4',
          w.simd(
            'i8x16.swizzle',
            source.readVector(),
            w.simd('i8x16.add', IOTA, w.simd('i8x16.splat', chosen)),
          ),
          0,
        ),
      );
  const place = x.let(w.and(w.shrU(control, w.i32(4)), w.i32(3)));
  const inserted = replaceElement((first ?? target).readVector(), 4, place, value);
  const zeroed = immediateMask(x, 'i32x4', 4, control);
  target.writeVector(x.let(w.simd('v128.andnot', inserted, zeroed)));
};

/** PEXTRD and PEXTRQ, PINSRD and PINSRQ: REX.W decides. */
const extractScaled: Semantics = (x, destination, source, immediate) =>
  extract((destination as Operand).size as 4 | 8)(
    x,
    destination as Operand,
    source as Operand,
    immediate as Operand,
  );
const insertScaled: Semantics = (x, destination, ...sources) =>
  insert((sources.at(-2) as Operand).size as 4 | 8)(x, destination as Operand, ...sources);

// ---- what the runtime computes ----

const packedRound =
  (type: FloatType): Semantics =>
  (x, destination, source, immediate) => {
    const a = (source as Operand).readVector();
    (destination as Operand).writeVector(float.packedRound(x, type, a, (immediate as Operand).read()));
  };
const scalarRound =
  (type: FloatType): Semantics =>
  (x, destination, source, immediate) => {
    const target = destination as Operand;
    const a = (source as Operand).readVector();
    const result = float.scalarRound(x, type, a, (immediate as Operand).read());
    target.writeVector(float.withLowest(type, target.readVector(), result));
  };
const dotProduct =
  (type: FloatType): Semantics =>
  (x, destination, source, immediate) => {
    const target = destination as Operand;
    const b = (source as Operand).readVector();
    const [result] = float.dotProducts(x, type, [target.readVector()], [b], (immediate as Operand).read());
    target.writeVector(result as Value);
  };
const sumDifferences: BinaryImmediate = (a, b, immediate, x) =>
  x.runtime('sumDifferenceWindows', a, b, immediate);
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

const TEST = { ...SSE, writes: 'oszapc' };
const VTEST = { ...AVX, writes: 'oszapc' };
export const sse4: Definition[] = [
  ...blendVariable('pblendvb', '10', '4C', 'i8x16', 8),
  ...blendVariable('blendvps', '14', '4A', 'i32x4', 32),
  ...blendVariable('blendvpd', '15', '4B', 'i64x2', 64),
  define('ptest', '66 0F 38 17 /r', 'Vx Wx', test(), TEST),
  ...defineVex('vptest', 'VEX.66.0F38 17 /r', 'Vx Wx', test(), VTEST),
  ...defineVex(
    'vtestps',
    'VEX.66.0F38.W0 0E /r',
    'Vx Wx',
    test(constant(i => (i % 4 === 3 ? 0x80 : 0))),
    VTEST,
  ),
  ...defineVex(
    'vtestpd',
    'VEX.66.0F38.W0 0F /r',
    'Vx Wx',
    test(constant(i => (i % 8 === 7 ? 0x80 : 0))),
    VTEST,
  ),
  ...EXTENSIONS.flatMap(([name, from, to, operand], i) => [
    ...extend(`pmovsx${name}`, from, to, `2${i}`, operand, 's'),
    ...extend(`pmovzx${name}`, from, to, `3${i}`, operand, 'u'),
  ]),
  ...binary('pmuldq', '66 0F 38 28 /r', multiplyEven('s')),
  define('movntdqa', '66 0F 38 2A /r', 'Vx Mx', move, SSE),
  ...BINARY.flatMap(([name, opcode, operator]) => binary(name, `66 0F 38 ${opcode} /r`, lanewise(operator))),
  define('phminposuw', '66 0F 38 41 /r', 'Vx Wx', xmmUnary(smallestWord), SSE),
  define('vphminposuw', 'VEX.128.66.0F38 41 /r', 'Vx Wx', vexUnary(smallestWord), AVX),
  define('roundps', '66 0F 3A 08 /r', 'Vx Wx Ib', packedRound('f32'), SSE),
  define('roundpd', '66 0F 3A 09 /r', 'Vx Wx Ib', packedRound('f64'), SSE),
  define('roundss', '66 0F 3A 0A /r', 'Vd Wd Ib', scalarRound('f32'), SSE),
  define('roundsd', '66 0F 3A 0B /r', 'Vq Wq Ib', scalarRound('f64'), SSE),
  ...binaryImmediate('blendps', '66 0F 3A 0C /r', blend('i32x4', 4), 4),
  ...binaryImmediate('blendpd', '66 0F 3A 0D /r', blend('i64x2', 8), 2),
  ...binaryImmediate('pblendw', '66 0F 3A 0E /r', blend('i16x8', 2)),
  ...[
    ['pextrb', '14', 'Rd', extract(1)] as const,
    ['pextrb', '14', 'Mb', extract(1)] as const,
    ['pextrw', '15', 'Rd', extract(2)] as const,
    ['pextrw', '15', 'Mw', extract(2)] as const,
    ['pextrd', '16', 'Ey', extractScaled] as const,
    ['extractps', '17', 'Ed', extract(4)] as const,
  ].flatMap(([name, opcode, target, semantics]) => [
    define(name, `66 0F 3A ${opcode} /r`, `${target} Vx Ib`, semantics, SSE),
    define(`v${name}`, `VEX.128.66.0F3A ${opcode} /r`, `${target} Vx Ib`, semantics, AVX),
  ]),
  ...[
    ['pinsrb', '20', 'Rd', insert(1)] as const,
    ['pinsrb', '20', 'Mb', insert(1)] as const,
    ['insertps', '21', 'Ux', insertSingle] as const,
    ['insertps', '21', 'Md', insertSingle] as const,
    ['pinsrd', '22', 'Ey', insertScaled] as const,
  ].flatMap(([name, opcode, source, semantics]) => [
    define(name, `66 0F 3A ${opcode} /r`, `Vx ${source} Ib`, semantics, SSE),
    define(`v${name}`, `VEX.128.66.0F3A ${opcode} /r`, `Vx Hx ${source} Ib`, semantics, AVX),
  ]),
  define('dpps', '66 0F 3A 40 /r', 'Vx Wx Ib', dotProduct('f32'), SSE),
  define('dppd', '66 0F 3A 41 /r', 'Vx Wx Ib', dotProduct('f64'), SSE),
  ...binaryImmediate('mpsadbw', '66 0F 3A 42 /r', sumDifferences, 3),
];
