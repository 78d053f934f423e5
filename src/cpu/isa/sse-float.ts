/**
 * Floating-point arithmetic, comparison and conversion of SSE to SSE3 (SDM vol. 1, 5.5, 5.6, 5.7): where the operands come
 * from and the results go. What is computed, and when the runtime has to, is in float-operation.ts.
 */
import type { Value } from '../wasm/code.ts';
import * as w from '../wasm/code.ts';
import { type Definition, define, type Options, type Semantics } from './definition.ts';
import type { Emitter, Operand } from './emitter.ts';
import * as float from './float-operation.ts';
import type { FloatType } from './float-range.ts';
import { checkPending, checkSimd, enterMmx, pick, SSE } from './sse-common.ts';

/** destination = compute(destination, source) */
const binary =
  (compute: (x: Emitter, a: Value, b: Value) => Value): Semantics =>
  (x, destination, source) => {
    const target = destination as Operand;
    const b = (source as Operand).readVector();
    target.writeVector(compute(x, target.readVector(), b));
  };
/** destination = compute(source) */
const unary =
  (compute: (x: Emitter, a: Value) => Value): Semantics =>
  (x, destination, source) =>
    (destination as Operand).writeVector(compute(x, (source as Operand).readVector()));
/** The same for scalars: the rest of the destination stays. */
const scalarBinary = (type: FloatType, compute: (x: Emitter, a: Value, b: Value) => Value): Semantics =>
  binary((x, a, b) => float.withLowest(type, a, compute(x, a, b)));
const scalarUnary =
  (type: FloatType, compute: (x: Emitter, a: Value) => Value): Semantics =>
  (x, destination, source) => {
    const target = destination as Operand;
    const result = compute(x, (source as Operand).readVector());
    target.writeVector(float.withLowest(type, target.readVector(), result));
  };
export const compareFlags =
  (name: 'comi' | 'ucomi', type: FloatType): Semantics =>
  (x, first, second) => {
    const b = (second as Operand).readVector();
    float.scalarFlags(x, name, type, (first as Operand).readVector(), b);
  };
const fromInteger =
  (type: FloatType): Semantics =>
  (x, destination, source) => {
    const target = destination as Operand;
    const result = float.fromInteger(x, type, (source as Operand).read());
    target.writeVector(float.withLowest(type, target.readVector(), result));
  };
export const toInteger =
  (type: FloatType, truncates: boolean): Semantics =>
  (x, destination, source) => {
    const target = destination as Operand;
    const bits = target.size === 8 ? 64 : 32;
    target.write(float.toInteger(x, type, bits, truncates, (source as Operand).readVector()));
  };

// ---- approximations, without exceptions ----

const approximateSingle = (name: 'rcp' | 'rsqrt'): Semantics =>
  scalarUnary('f32', (x, a) => float.approximateLowest(x, name, a));
const approximate = (name: 'rcp' | 'rsqrt'): Semantics => unary((x, a) => float.approximate(x, name, a));

// ---- conversions with MMX operands ----

/** Lower half of a, upper half of b. */
const halves = (a: Value, b: Value): Value => pick(a, b, i => (i < 8 ? i : i + 16));
/** From an MMX register or memory; memory is no use of MMX. */
const fromMmx =
  (compute: (x: Emitter, a: Value, old: Value) => Value): Semantics =>
  (x, destination, source) => {
    const { isMemory } = source as Operand;
    if (!isMemory) checkPending(x);
    const from = (source as Operand).readVector();
    if (!isMemory) enterMmx(x);
    const target = destination as Operand;
    target.writeVector(compute(x, from, target.readVector()));
  };
const pairToSingles = fromMmx((x, a, old) => {
  const result = x.runtime('cvtpi2ps', a);
  checkSimd(x);
  return halves(result, old);
});
const toMmx =
  (name: string): Semantics =>
  (x, destination, source) => {
    checkPending(x);
    const from = (source as Operand).readVector();
    enterMmx(x);
    const result = x.runtime(name, from);
    checkSimd(x);
    (destination as Operand).writeVector(result);
  };

const FORMS = [
  ['ps', 'NP', 'Vx Wx', 'f32', true],
  ['pd', '66', 'Vx Wx', 'f64', true],
  ['ss', 'F3', 'Vd Wd', 'f32', false],
  ['sd', 'F2', 'Vq Wq', 'f64', false],
] as const;
/** The packed and the scalar forms, of both types. */
const family = (
  name: string,
  opcode: string,
  packed: (type: FloatType) => Semantics,
  scalar: (type: FloatType) => Semantics,
  options = SSE,
  immediate = '',
): Definition[] =>
  FORMS.map(([suffix, prefix, operands, type, isPacked]) =>
    define(
      `${name}${suffix}`,
      `${prefix} 0F ${opcode} /r`,
      operands + immediate,
      isPacked ? packed(type) : scalar(type),
      options,
    ),
  );
const arithmetic = (name: float.Arithmetic, opcode: string): Definition[] =>
  family(
    name,
    opcode,
    type => binary((x, a, b) => float.packedArithmetic(x, name, type, a, b)),
    type => scalarBinary(type, (x, a, b) => float.scalarArithmetic(x, name, type, a, b)),
  );
const order = (name: 'min' | 'max', opcode: string): Definition[] =>
  family(
    name,
    opcode,
    type => binary((x, a, b) => float.packedOrder(x, name, type, a, b)),
    type => scalarBinary(type, (x, a, b) => float.scalarOrder(x, name, type, a, b)),
  );
const compare =
  (type: FloatType, isPacked: boolean): Semantics =>
  (x, destination, source, immediate) => {
    const target = destination as Operand;
    const b = (source as Operand).readVector();
    const a = target.readVector();
    const predicate = x.let(w.and((immediate as Operand).read(), w.i32(7)));
    target.writeVector(
      isPacked
        ? float.packedCompare(x, type, a, b, predicate)
        : float.withLowest(type, a, float.scalarCompare(x, type, a, b, predicate)),
    );
  };
const horizontal = (name: 'add' | 'sub', type: FloatType): Semantics =>
  binary((x, a, b) => float.horizontal(x, name, type, a, b));
const alternating = (type: FloatType): Semantics => binary((x, a, b) => float.alternating(x, type, a, b));
const FLAGS: Options = { ...SSE, writes: 'oszapc' };

export const sseFloats: Definition[] = [
  ...family(
    'sqrt',
    '51',
    type => unary((x, a) => float.packedRoot(x, type, a)),
    type => scalarUnary(type, (x, a) => float.scalarRoot(x, type, a)),
  ),
  define('rsqrtps', 'NP 0F 52 /r', 'Vx Wx', approximate('rsqrt'), SSE),
  define('rsqrtss', 'F3 0F 52 /r', 'Vd Wd', approximateSingle('rsqrt'), SSE),
  define('rcpps', 'NP 0F 53 /r', 'Vx Wx', approximate('rcp'), SSE),
  define('rcpss', 'F3 0F 53 /r', 'Vd Wd', approximateSingle('rcp'), SSE),
  ...arithmetic('add', '58'),
  ...arithmetic('mul', '59'),
  ...arithmetic('sub', '5C'),
  ...order('min', '5D'),
  ...arithmetic('div', '5E'),
  ...order('max', '5F'),
  ...family(
    'cmp',
    'C2',
    type => compare(type, true),
    type => compare(type, false),
    SSE,
    ' Ib',
  ),
  define('ucomiss', 'NP 0F 2E /r', 'Vd Wd', compareFlags('ucomi', 'f32'), FLAGS),
  define('ucomisd', '66 0F 2E /r', 'Vq Wq', compareFlags('ucomi', 'f64'), FLAGS),
  define('comiss', 'NP 0F 2F /r', 'Vd Wd', compareFlags('comi', 'f32'), FLAGS),
  define('comisd', '66 0F 2F /r', 'Vq Wq', compareFlags('comi', 'f64'), FLAGS),
  define('cvtsi2ss', 'F3 0F 2A /r', 'Vx Ey', fromInteger('f32'), SSE),
  define('cvtsi2sd', 'F2 0F 2A /r', 'Vx Ey', fromInteger('f64'), SSE),
  define('cvttss2si', 'F3 0F 2C /r', 'Gy Wd', toInteger('f32', true), SSE),
  define('cvttsd2si', 'F2 0F 2C /r', 'Gy Wq', toInteger('f64', true), SSE),
  define('cvtss2si', 'F3 0F 2D /r', 'Gy Wd', toInteger('f32', false), SSE),
  define('cvtsd2si', 'F2 0F 2D /r', 'Gy Wq', toInteger('f64', false), SSE),
  define('cvtps2pd', 'NP 0F 5A /r', 'Vx Wq', unary(float.singlesToDoubles), SSE),
  define('cvtpd2ps', '66 0F 5A /r', 'Vx Wx', unary(float.doublesToSingles), SSE),
  define('cvtss2sd', 'F3 0F 5A /r', 'Vx Wd', scalarUnary('f64', float.singleToDouble), SSE),
  define('cvtsd2ss', 'F2 0F 5A /r', 'Vx Wq', scalarUnary('f32', float.doubleToSingle), SSE),
  define('cvtdq2ps', 'NP 0F 5B /r', 'Vx Wx', unary(float.integersToSingles), SSE),
  define(
    'cvtps2dq',
    '66 0F 5B /r',
    'Vx Wx',
    unary((x, a) => float.singlesToIntegers(x, false, a)),
    SSE,
  ),
  define(
    'cvttps2dq',
    'F3 0F 5B /r',
    'Vx Wx',
    unary((x, a) => float.singlesToIntegers(x, true, a)),
    SSE,
  ),
  define(
    'cvttpd2dq',
    '66 0F E6 /r',
    'Vx Wx',
    unary((x, a) => float.doublesToIntegers(x, true, a)),
    SSE,
  ),
  define(
    'cvtdq2pd',
    'F3 0F E6 /r',
    'Vx Wq',
    unary((_x, a) => float.integersToDoubles(a)),
    SSE,
  ),
  define(
    'cvtpd2dq',
    'F2 0F E6 /r',
    'Vx Wx',
    unary((x, a) => float.doublesToIntegers(x, false, a)),
    SSE,
  ),
  define('cvtpi2ps', 'NP 0F 2A /r', 'Vx Qq', pairToSingles, SSE),
  define(
    'cvtpi2pd',
    '66 0F 2A /r',
    'Vx Qq',
    fromMmx((_x, a) => float.integersToDoubles(a)),
    SSE,
  ),
  define('cvttps2pi', 'NP 0F 2C /r', 'Pq Wq', toMmx('cvttps2pi'), SSE),
  define('cvttpd2pi', '66 0F 2C /r', 'Pq Wx', toMmx('cvttpd2dq'), SSE),
  define('cvtps2pi', 'NP 0F 2D /r', 'Pq Wq', toMmx('cvtps2pi'), SSE),
  define('cvtpd2pi', '66 0F 2D /r', 'Pq Wx', toMmx('cvtpd2dq'), SSE),
  define('haddpd', '66 0F 7C /r', 'Vx Wx', horizontal('add', 'f64'), SSE),
  define('haddps', 'F2 0F 7C /r', 'Vx Wx', horizontal('add', 'f32'), SSE),
  define('hsubpd', '66 0F 7D /r', 'Vx Wx', horizontal('sub', 'f64'), SSE),
  define('hsubps', 'F2 0F 7D /r', 'Vx Wx', horizontal('sub', 'f32'), SSE),
  define('addsubpd', '66 0F D0 /r', 'Vx Wx', alternating('f64'), SSE),
  define('addsubps', 'F2 0F D0 /r', 'Vx Wx', alternating('f32'), SSE),
];
