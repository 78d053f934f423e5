/**
 * Floating point of AVX, FMA and F16C (SDM vol. 1, 14.2 to 14.5): the operations of SSE on each 16 bytes, with a first source of its
 * own. The destination changes when nothing faults any more.
 */

import type { Value } from '../wasm/code.ts';
import * as w from '../wasm/code.ts';
import { type Definition, define, defineVex, type Options, type Semantics } from './definition.ts';
import type { Emitter, Operand } from './emitter.ts';
import * as float from './float-operation.ts';
import type { FloatType } from './float-range.ts';
import { pick } from './sse-common.ts';
import { compareFlags, toInteger } from './sse-float.ts';
import { AVX, vexEncoding } from './vex-common.ts';

type Binary = (x: Emitter, a: Value, b: Value, immediate: Value) => Value;
type Unary = (x: Emitter, a: Value, immediate: Value) => Value;
const NO_IMMEDIATE = w.i32(0);

/** destination = compute(first, second), part by part. */
const binary =
  (compute: Binary): Semantics =>
  (x, destination, first, second, immediate) => {
    const b = (second as Operand).readParts();
    const a = (first as Operand).readParts();
    const control = immediate ? immediate.read() : NO_IMMEDIATE;
    const results = float.inParts(x, a.length, i => compute(x, a[i] as Value, b[i] as Value, control));
    (destination as Operand).writeParts(results);
  };
const dotProduct =
  (type: FloatType): Semantics =>
  (x, destination, first, second, immediate) => {
    const b = (second as Operand).readParts();
    const a = (first as Operand).readParts();
    const results = float.dotProducts(x, type, a, b, (immediate as Operand).read());
    (destination as Operand).writeParts(results);
  };
/** As `binary` for the low element; the others are those of the first source. */
const scalar =
  (type: FloatType, compute: Binary): Semantics =>
  (x, destination, first, second, immediate) => {
    const b = (second as Operand).readVector();
    const a = (first as Operand).readVector();
    const result = compute(x, a, b, immediate ? immediate.read() : NO_IMMEDIATE);
    (destination as Operand).writeParts([float.withLowest(type, a, result)]);
  };
const scalarUnary = (type: FloatType, compute: Unary): Semantics =>
  scalar(type, (x, _a, b, immediate) => compute(x, b, immediate));
/** destination = compute(source), part by part. */
const unary =
  (compute: Unary): Semantics =>
  (x, destination, source, immediate) => {
    const parts = (source as Operand).readParts();
    const control = immediate ? immediate.read() : NO_IMMEDIATE;
    const results = float.inParts(x, parts.length, i => compute(x, parts[i] as Value, control));
    (destination as Operand).writeParts(results);
  };
const upperHalf = (value: Value): Value => pick(value, value, i => (i & 7) + 8);
/** Conversions to twice as many bytes: each half of 16 bytes makes a part. */
const widening =
  (compute: Unary): Semantics =>
  (x, destination, source) => {
    const target = destination as Operand;
    const value = (source as Operand).readVector();
    const halves = [value, x.let(upperHalf(value))];
    const results = float.inParts(x, target.size / 16, i => compute(x, halves[i] as Value, NO_IMMEDIATE));
    target.writeParts(results);
  };
/** Results of 8 bytes, zeros above, side by side. */
const joined = (parts: readonly Value[]): Value =>
  parts.length === 1
    ? (parts[0] as Value)
    : pick(parts[0] as Value, parts[1] as Value, i => (i < 8 ? i : i + 8));
/** Conversions to half as many bytes; of 16 bytes the rest becomes zero. */
const narrow =
  (compute: Unary): Semantics =>
  (x, destination, source) => {
    const parts = (source as Operand).readParts();
    const results = float.inParts(x, parts.length, i => compute(x, parts[i] as Value, NO_IMMEDIATE));
    (destination as Operand).writeParts([joined(results)]);
  };
/** VCVTPS2PH: a store's faults come before those of the conversion, which then has not happened. */
const toHalf: Semantics = (x, destination, source, immediate) => {
  const target = destination as Operand;
  const parts = (source as Operand).readParts();
  const control = (immediate as Operand).read();
  const convert = () =>
    float.inParts(x, parts.length, i => float.called(x, 'cvtps2ph', parts[i] as Value, control));
  if (!target.isMemory) {
    target.writeParts([joined(convert())]);
    return;
  }
  x.writable(target.address(), target.size, (host, offset) => {
    convert().forEach((part, i) => {
      x.code.store(8, host, w.extractLane('i64x2', part, 0), offset + 8 * i);
    });
  });
};
const fromInteger =
  (type: FloatType): Semantics =>
  (x, destination, first, second) => {
    const value = (second as Operand).read();
    const a = (first as Operand).readVector();
    const result = float.fromInteger(x, type, value);
    (destination as Operand).writeParts([float.withLowest(type, a, result)]);
  };
// ---- fused multiplication and addition ----

/** Which operands (0 destination, 1, 2) are multiplied, and which one is added. */
const ORDERS: [string, readonly [number, number, number]][] = [
  ['132', [0, 2, 1]],
  ['213', [1, 0, 2]],
  ['231', [1, 2, 0]],
];
const fused =
  (
    type: FloatType,
    kind: number,
    [a, b, c]: readonly [number, number, number],
    isScalar: boolean,
  ): Semantics =>
  (x, ...given) => {
    const operands = given as Operand[];
    const target = operands[0] as Operand;
    // The memory operand is the last one: what can fault comes first.
    const read = (operand: Operand) => (isScalar ? [operand.readVector()] : operand.readParts());
    const last = read(operands[2] as Operand);
    const values = [read(target), read(operands[1] as Operand), last];
    const value = (n: number, part: number) => (values[n] as Value[])[part] as Value;
    if (isScalar) {
      const result = float.scalarFused(x, type, value(a, 0), value(b, 0), value(c, 0), kind);
      target.writeParts([float.withLowest(type, value(0, 0), result)]);
      return;
    }
    const results = float.inParts(x, last.length, i =>
      float.packedFused(x, type, value(a, i), value(b, i), value(c, i), kind),
    );
    target.writeParts(results);
  };
/** Low opcode digit of the 132 order, kind of the runtime's function, packed only. */
const FUSED: [string, number, number, boolean][] = [
  ['fmaddsub', 0x6, 6, true],
  ['fmsubadd', 0x7, 4, true],
  ['fmadd', 0x8, 0, false],
  ['fmsub', 0xa, 2, false],
  ['fnmadd', 0xc, 1, false],
  ['fnmsub', 0xe, 3, false],
];
const hex = (n: number): string => n.toString(16).toUpperCase();
const fusedEntries = FUSED.flatMap(([operation, digit, kind, packedOnly]) =>
  ORDERS.flatMap(([order, places], i) =>
    [0, 1].flatMap(w1 => {
      const [packed, single] = w1 ? ['pd', 'sd'] : ['ps', 'ss'];
      const type = w1 ? 'f64' : 'f32';
      const encoding = (n: number, length: string) =>
        `VEX.${length}66.0F38.W${w1} ${hex(0x90 + 0x10 * i + n)} /r`;
      const name = `v${operation}${order}`;
      const wide = fused(type, kind, places, false);
      const entries = defineVex(`${name}${packed}`, encoding(digit, ''), 'Vx Hx Wx', wide);
      if (packedOnly) return entries;
      const narrowed = fused(type, kind, places, true);
      return [
        ...entries,
        define(`${name}${single}`, encoding(digit + 1, 'LIG.'), `Vx Hx W${w1 ? 'q' : 'd'}`, narrowed, AVX),
      ];
    }),
  ),
);

// ---- the table ----

const FORMS = [
  ['ps', 'NP', 'f32', true],
  ['pd', '66', 'f64', true],
  ['ss', 'F3', 'f32', false],
  ['sd', 'F2', 'f64', false],
] as const;
type Typed = (type: FloatType) => Binary;
/** The four forms of an operation with two sources. */
const family = (
  name: string,
  opcode: string,
  packedOf: Typed,
  scalarOf: Typed,
  immediate = '',
  options = AVX,
): Definition[] =>
  FORMS.flatMap(([suffix, prefix, type, isPacked]) => {
    const encoding = `${prefix} 0F ${opcode} /r`;
    const full = `v${name}${suffix}`;
    if (isPacked)
      return defineVex(full, vexEncoding(encoding), `Vx Hx Wx${immediate}`, binary(packedOf(type)), options);
    const low = type === 'f32' ? 'Wd' : 'Wq';
    const semantics = scalar(type, scalarOf(type));
    return define(full, vexEncoding(encoding, 'LIG'), `Vx Hx ${low}${immediate}`, semantics, options);
  });
const arithmetic = (name: float.Arithmetic, opcode: string): Definition[] =>
  family(
    name,
    opcode,
    type => (x, a, b) => float.packedArithmetic(x, name, type, a, b),
    type => (x, a, b) => float.scalarArithmetic(x, name, type, a, b),
    '',
  );
const order = (name: 'min' | 'max', opcode: string): Definition[] =>
  family(
    name,
    opcode,
    type => (x, a, b) => float.packedOrder(x, name, type, a, b),
    type => (x, a, b) => float.scalarOrder(x, name, type, a, b),
  );
const packed = (name: string, encoding: string, compute: Unary): Definition[] =>
  defineVex(`v${name}`, vexEncoding(encoding), 'Vx Wx', unary(compute));
const horizontal = (name: string, encoding: string, compute: Binary): Definition[] =>
  defineVex(`v${name}`, vexEncoding(encoding), 'Vx Hx Wx', binary(compute));
const lig = (name: string, encoding: string, operands: string, semantics: Semantics, options = AVX) =>
  define(`v${name}`, vexEncoding(encoding, 'LIG'), operands, semantics, options);
const predicate = (immediate: Value): Value => w.and(immediate, w.i32(31));
const FLAGS: Options = { ...AVX, writes: 'oszapc' };

export const vexFloats: Definition[] = [
  ...arithmetic('add', '58'),
  ...arithmetic('mul', '59'),
  ...arithmetic('sub', '5C'),
  ...order('min', '5D'),
  ...arithmetic('div', '5E'),
  ...order('max', '5F'),
  ...family(
    'cmp',
    'C2',
    type => (x, a, b, immediate) => float.packedCompare(x, type, a, b, x.let(predicate(immediate))),
    type => (x, a, b, immediate) => float.scalarCompare(x, type, a, b, x.let(predicate(immediate))),
    ' Ib',
  ),
  ...packed('sqrtps', 'NP 0F 51 /r', (x, a) => float.packedRoot(x, 'f32', a)),
  ...packed('sqrtpd', '66 0F 51 /r', (x, a) => float.packedRoot(x, 'f64', a)),
  lig(
    'sqrtss',
    'F3 0F 51 /r',
    'Vx Hx Wd',
    scalarUnary('f32', (x, a) => float.scalarRoot(x, 'f32', a)),
  ),
  lig(
    'sqrtsd',
    'F2 0F 51 /r',
    'Vx Hx Wq',
    scalarUnary('f64', (x, a) => float.scalarRoot(x, 'f64', a)),
  ),
  ...packed('rsqrtps', 'NP 0F 52 /r', (x, a) => float.approximate(x, 'rsqrt', a)),
  lig(
    'rsqrtss',
    'F3 0F 52 /r',
    'Vx Hx Wd',
    scalarUnary('f32', (x, a) => float.approximateLowest(x, 'rsqrt', a)),
  ),
  ...packed('rcpps', 'NP 0F 53 /r', (x, a) => float.approximate(x, 'rcp', a)),
  lig(
    'rcpss',
    'F3 0F 53 /r',
    'Vx Hx Wd',
    scalarUnary('f32', (x, a) => float.approximateLowest(x, 'rcp', a)),
  ),
  lig('ucomiss', 'NP 0F 2E /r', 'Vd Wd', compareFlags('ucomi', 'f32'), FLAGS),
  lig('ucomisd', '66 0F 2E /r', 'Vq Wq', compareFlags('ucomi', 'f64'), FLAGS),
  lig('comiss', 'NP 0F 2F /r', 'Vd Wd', compareFlags('comi', 'f32'), FLAGS),
  lig('comisd', '66 0F 2F /r', 'Vq Wq', compareFlags('comi', 'f64'), FLAGS),
  lig('cvtsi2ss', 'F3 0F 2A /r', 'Vx Hx Ey', fromInteger('f32'), AVX),
  lig('cvtsi2sd', 'F2 0F 2A /r', 'Vx Hx Ey', fromInteger('f64'), AVX),
  lig('cvttss2si', 'F3 0F 2C /r', 'Gy Wd', toInteger('f32', true), AVX),
  lig('cvttsd2si', 'F2 0F 2C /r', 'Gy Wq', toInteger('f64', true), AVX),
  lig('cvtss2si', 'F3 0F 2D /r', 'Gy Wd', toInteger('f32', false)),
  lig('cvtsd2si', 'F2 0F 2D /r', 'Gy Wq', toInteger('f64', false)),
  ...defineVex('vcvtps2pd', 'VEX.0F 5A /r', 'Vx Wh', widening(float.singlesToDoubles)),
  ...defineVex('vcvtpd2ps', 'VEX.66.0F 5A /r', 'Vdq Wx', narrow(float.doublesToSingles)),
  lig('cvtss2sd', 'F3 0F 5A /r', 'Vx Hx Wd', scalarUnary('f64', float.singleToDouble)),
  lig('cvtsd2ss', 'F2 0F 5A /r', 'Vx Hx Wq', scalarUnary('f32', float.doubleToSingle)),
  ...packed('cvtdq2ps', 'NP 0F 5B /r', float.integersToSingles),
  ...packed('cvtps2dq', '66 0F 5B /r', (x, a) => float.singlesToIntegers(x, false, a)),
  ...packed('cvttps2dq', 'F3 0F 5B /r', (x, a) => float.singlesToIntegers(x, true, a)),
  ...defineVex(
    'vcvttpd2dq',
    'VEX.66.0F E6 /r',
    'Vdq Wx',
    narrow((x, a) => float.doublesToIntegers(x, true, a)),
  ),
  ...defineVex(
    'vcvtdq2pd',
    'VEX.F3.0F E6 /r',
    'Vx Wh',
    widening((_x, a) => float.integersToDoubles(a)),
  ),
  ...defineVex(
    'vcvtpd2dq',
    'VEX.F2.0F E6 /r',
    'Vdq Wx',
    narrow((x, a) => float.doublesToIntegers(x, false, a)),
  ),
  ...horizontal('haddpd', '66 0F 7C /r', (x, a, b) => float.horizontal(x, 'add', 'f64', a, b)),
  ...horizontal('haddps', 'F2 0F 7C /r', (x, a, b) => float.horizontal(x, 'add', 'f32', a, b)),
  ...horizontal('hsubpd', '66 0F 7D /r', (x, a, b) => float.horizontal(x, 'sub', 'f64', a, b)),
  ...horizontal('hsubps', 'F2 0F 7D /r', (x, a, b) => float.horizontal(x, 'sub', 'f32', a, b)),
  ...horizontal('addsubpd', '66 0F D0 /r', (x, a, b) => float.alternating(x, 'f64', a, b)),
  ...horizontal('addsubps', 'F2 0F D0 /r', (x, a, b) => float.alternating(x, 'f32', a, b)),
  ...defineVex(
    'vroundps',
    'VEX.66.0F3A 08 /r',
    'Vx Wx Ib',
    unary((x, a, immediate) => float.packedRound(x, 'f32', a, immediate)),
  ),
  ...defineVex(
    'vroundpd',
    'VEX.66.0F3A 09 /r',
    'Vx Wx Ib',
    unary((x, a, immediate) => float.packedRound(x, 'f64', a, immediate)),
  ),
  lig(
    'roundss',
    '66 0F 3A 0A /r',
    'Vx Hx Wd Ib',
    scalarUnary('f32', (x, a, immediate) => float.scalarRound(x, 'f32', a, immediate)),
  ),
  lig(
    'roundsd',
    '66 0F 3A 0B /r',
    'Vx Hx Wq Ib',
    scalarUnary('f64', (x, a, immediate) => float.scalarRound(x, 'f64', a, immediate)),
  ),
  ...defineVex('vdpps', 'VEX.66.0F3A 40 /r', 'Vx Hx Wx Ib', dotProduct('f32')),
  define('vdppd', 'VEX.128.66.0F3A 41 /r', 'Vx Hx Wx Ib', dotProduct('f64'), AVX),
  ...fusedEntries,
  ...defineVex(
    'vcvtph2ps',
    'VEX.66.0F38.W0 13 /r',
    'Vx Wh',
    widening((x, a) => float.called(x, 'cvtph2ps', a)),
  ),
  ...defineVex('vcvtps2ph', 'VEX.66.0F3A.W0 1D /r', 'Wh Vx Ib', toHalf),
];
