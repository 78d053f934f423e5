/**
 * Floating-point arithmetic, comparison and conversion of SSE to SSE3 (SDM vol. 1, 5.5, 5.6, 5.7). The runtime module computes, on
 * the places where the operands lie, and reports unmasked exceptions; the destination is unchanged then.
 */
import * as w from '../wasm/code.ts';
import { type Definition, define, type Options, type Semantics } from './definition.ts';
import type { Operand } from './emitter.ts';
import * as flags from './flags.ts';
import { checkPending, enterMmx, SSE, simdFaultIf } from './sse-common.ts';

/** destination = name(destination, source) */
const binary =
  (name: string): Semantics =>
  (x, destination, source) => {
    const b = x.let((source as Operand).location());
    const target = (destination as Operand).location();
    simdFaultIf(x, x.runtime(name, target, b, target));
  };
/** destination = name(source) */
const unary =
  (name: string): Semantics =>
  (x, destination, source) => {
    const from = x.let((source as Operand).location());
    simdFaultIf(x, x.runtime(name, from, (destination as Operand).location()));
  };
/** The same for functions that raise no exceptions. */
const quiet =
  (name: string): Semantics =>
  (x, destination, source) => {
    const from = x.let((source as Operand).location());
    x.runtime(name, from, (destination as Operand).location());
  };
const compare =
  (name: string): Semantics =>
  (x, destination, source, immediate) => {
    const b = x.let((source as Operand).location());
    const target = (destination as Operand).location();
    const predicate = w.and((immediate as Operand).read(), w.i32(7));
    simdFaultIf(x, x.runtime(name, target, b, target, predicate));
  };
export const compareFlags =
  (name: string): Semantics =>
  (x, first, second) => {
    const b = x.let((second as Operand).location());
    const result = x.runtime(name, (first as Operand).location(), b);
    simdFaultIf(x, w.ltS(result, w.i32(0)));
    flags.loadArithmeticFlags(x, result);
  };
const fromInteger =
  (kind: 'ss' | 'sd'): Semantics =>
  (x, destination, source) => {
    const value = (source as Operand).read();
    const bits = (source as Operand).size * 8;
    simdFaultIf(x, x.runtime(`cvtsi${bits}${kind}`, value, (destination as Operand).location()));
  };
export const toInteger =
  (prefix: string): Semantics =>
  (x, destination, source) => {
    const target = destination as Operand;
    simdFaultIf(x, x.runtime(`${prefix}2si${target.size * 8}`, x.let((source as Operand).location())));
    const result = x.field('temp');
    target.write(target.size === 8 ? result : w.wrap(result));
  };

// ---- conversions with MMX operands ----

/** From an MMX register or memory; memory is no use of MMX. */
const fromMmx =
  (name: string): Semantics =>
  (x, destination, source) => {
    const { isMemory } = source as Operand;
    if (!isMemory) checkPending(x);
    const from = x.let((source as Operand).location());
    if (!isMemory) enterMmx(x);
    simdFaultIf(x, x.runtime(name, from, (destination as Operand).location()));
  };
const toMmx =
  (name: string): Semantics =>
  (x, destination, source) => {
    checkPending(x);
    const from = x.let((source as Operand).location());
    const target = destination as Operand;
    enterMmx(x);
    simdFaultIf(x, x.runtime(name, from, target.location()));
    target.write(target.read());
  };

const FORMS = [
  ['ps', 'NP', 'Vx Wx'],
  ['pd', '66', 'Vx Wx'],
  ['ss', 'F3', 'Vd Wd'],
  ['sd', 'F2', 'Vq Wq'],
] as const;
const family = (
  name: string,
  opcode: string,
  semantics: (name: string) => Semantics,
  immediate = '',
): Definition[] =>
  FORMS.map(([suffix, prefix, operands]) =>
    define(
      `${name}${suffix}`,
      `${prefix} 0F ${opcode} /r`,
      operands + immediate,
      semantics(`${name}${suffix}`),
      SSE,
    ),
  );
const FLAGS: Options = { ...SSE, writes: 'oszapc' };

export const sseFloats: Definition[] = [
  ...family('sqrt', '51', unary),
  define('rsqrtps', 'NP 0F 52 /r', 'Vx Wx', quiet('rsqrtps'), SSE),
  define('rsqrtss', 'F3 0F 52 /r', 'Vd Wd', quiet('rsqrtss'), SSE),
  define('rcpps', 'NP 0F 53 /r', 'Vx Wx', quiet('rcpps'), SSE),
  define('rcpss', 'F3 0F 53 /r', 'Vd Wd', quiet('rcpss'), SSE),
  ...family('add', '58', binary),
  ...family('mul', '59', binary),
  ...family('sub', '5C', binary),
  ...family('min', '5D', binary),
  ...family('div', '5E', binary),
  ...family('max', '5F', binary),
  ...family('cmp', 'C2', compare, ' Ib'),
  define('ucomiss', 'NP 0F 2E /r', 'Vd Wd', compareFlags('ucomiss'), FLAGS),
  define('ucomisd', '66 0F 2E /r', 'Vq Wq', compareFlags('ucomisd'), FLAGS),
  define('comiss', 'NP 0F 2F /r', 'Vd Wd', compareFlags('comiss'), FLAGS),
  define('comisd', '66 0F 2F /r', 'Vq Wq', compareFlags('comisd'), FLAGS),
  define('cvtsi2ss', 'F3 0F 2A /r', 'Vx Ey', fromInteger('ss'), SSE),
  define('cvtsi2sd', 'F2 0F 2A /r', 'Vx Ey', fromInteger('sd'), SSE),
  define('cvttss2si', 'F3 0F 2C /r', 'Gy Wd', toInteger('cvttss'), SSE),
  define('cvttsd2si', 'F2 0F 2C /r', 'Gy Wq', toInteger('cvttsd'), SSE),
  define('cvtss2si', 'F3 0F 2D /r', 'Gy Wd', toInteger('cvtss'), SSE),
  define('cvtsd2si', 'F2 0F 2D /r', 'Gy Wq', toInteger('cvtsd'), SSE),
  define('cvtps2pd', 'NP 0F 5A /r', 'Vx Wq', unary('cvtps2pd'), SSE),
  define('cvtpd2ps', '66 0F 5A /r', 'Vx Wx', unary('cvtpd2ps'), SSE),
  define('cvtss2sd', 'F3 0F 5A /r', 'Vx Wd', unary('cvtss2sd'), SSE),
  define('cvtsd2ss', 'F2 0F 5A /r', 'Vx Wq', unary('cvtsd2ss'), SSE),
  define('cvtdq2ps', 'NP 0F 5B /r', 'Vx Wx', unary('cvtdq2ps'), SSE),
  define('cvtps2dq', '66 0F 5B /r', 'Vx Wx', unary('cvtps2dq'), SSE),
  define('cvttps2dq', 'F3 0F 5B /r', 'Vx Wx', unary('cvttps2dq'), SSE),
  define('cvttpd2dq', '66 0F E6 /r', 'Vx Wx', unary('cvttpd2dq'), SSE),
  define('cvtdq2pd', 'F3 0F E6 /r', 'Vx Wq', unary('cvtdq2pd'), SSE),
  define('cvtpd2dq', 'F2 0F E6 /r', 'Vx Wx', unary('cvtpd2dq'), SSE),
  define('cvtpi2ps', 'NP 0F 2A /r', 'Vx Qq', fromMmx('cvtpi2ps'), SSE),
  define('cvtpi2pd', '66 0F 2A /r', 'Vx Qq', fromMmx('cvtdq2pd'), SSE),
  define('cvttps2pi', 'NP 0F 2C /r', 'Pq Wq', toMmx('cvttps2pi'), SSE),
  define('cvttpd2pi', '66 0F 2C /r', 'Pq Wx', toMmx('cvttpd2pi'), SSE),
  define('cvtps2pi', 'NP 0F 2D /r', 'Pq Wq', toMmx('cvtps2pi'), SSE),
  define('cvtpd2pi', '66 0F 2D /r', 'Pq Wx', toMmx('cvtpd2pi'), SSE),
  define('haddpd', '66 0F 7C /r', 'Vx Wx', binary('haddpd'), SSE),
  define('haddps', 'F2 0F 7C /r', 'Vx Wx', binary('haddps'), SSE),
  define('hsubpd', '66 0F 7D /r', 'Vx Wx', binary('hsubpd'), SSE),
  define('hsubps', 'F2 0F 7D /r', 'Vx Wx', binary('hsubps'), SSE),
  define('addsubpd', '66 0F D0 /r', 'Vx Wx', binary('addsubpd'), SSE),
  define('addsubps', 'F2 0F D0 /r', 'Vx Wx', binary('addsubps'), SSE),
];
