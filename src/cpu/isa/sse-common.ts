/**
 * What the vector instructions share: constants, lane selection by an immediate, the rules by which MMX instructions take over
 * the x87 registers (SDM vol. 1, 9.5), SIMD exceptions (11.5), and entry helpers for the table.
 */

import { SIMD_UNMASKED } from '../vcpu/layout.ts';
import type { Value } from '../wasm/code.ts';
import * as w from '../wasm/code.ts';
import { type Definition, define, defineVex, type Options, type Semantics } from './definition.ts';
import { type Emitter, type Operand, Vector } from './emitter.ts';
import {
  AVX,
  type Binary,
  type BinaryImmediate,
  type Unary,
  type UnaryImmediate,
  vexBinary,
  vexBinaryImmediate,
  vexEncoding,
  vexUnary,
  vexUnaryImmediate,
} from './vex-common.ts';

export type { Binary, BinaryImmediate, Unary, UnaryImmediate } from './vex-common.ts';

export const ZERO: Value = w.v128(new Array<number>(16).fill(0));
/** A constant whose byte `i` is `byte(i)`. */
export const constant = (byte: (i: number) => number): Value =>
  w.v128(Array.from({ length: 16 }, (_, i) => byte(i) & 0xff));
export const IOTA: Value = constant(i => i);
/** A vector with an integer of 4 or 8 bytes in its low lane and zeros above. */
export const fromLow = (size: number, value: Value): Value =>
  size === 8 ? w.replaceLane('i64x2', ZERO, 0, value) : w.replaceLane('i32x4', ZERO, 0, value);
/** Shuffle with the lanes as a function of the result's byte. */
export const pick = (a: Value, b: Value, lane: (i: number) => number): Value =>
  w.shuffle(
    a,
    b,
    Array.from({ length: 16 }, (_, i) => lane(i)),
  );

/** An immediate's value where it is known, as it is to a translator. */
export const known = (immediate: Value): number | undefined =>
  immediate.constant === undefined ? undefined : Number(immediate.constant);

/** The four 2-bit fields of an immediate byte as the four bytes of an i32. */
export function selectors(x: Emitter, immediate: Value): Value {
  const twice = x.let(w.and(w.or(immediate, w.shl(immediate, w.i32(12))), w.i32(0x000f000f)));
  return w.and(w.or(twice, w.shl(twice, w.i32(6))), w.i32(0x03030303));
}

// ---- SIMD floating-point exceptions ----

/** Leave with #XM, or with #UD when the operating system does not handle these. */
export function raiseSimd(x: Emitter): void {
  x.runtime('raiseSimd');
  x.leaveFault();
}
/** The same when the runtime function just called met an unmasked exception. */
export function checkSimd(x: Emitter): void {
  x.precisionChanged();
  if (x.mayRaiseSimd)
    x.if(w.and(x.field('simdFault'), w.i32(SIMD_UNMASKED)), () => raiseSimd(x), undefined, false);
}

// ---- MMX ----

/** #MF when an x87 exception is waiting: every MMX instruction looks. */
export function checkPending(x: Emitter): void {
  x.raiseIf(w.and(x.field('fsw'), w.i32(0x80)), Vector.MF);
}
/** All x87 registers valid, TOP 0. Comes after everything that can fault. */
export function enterMmx(x: Emitter): void {
  x.setField('fsw', w.and(x.field('fsw'), w.i32(~0x3800)));
  x.setField('ftw', w.i32(0));
}

/** Two MMX operands as the halves of one vector. */
export const joined = (a: Value, b: Value): Value => pick(a, b, i => (i < 8 ? i : i + 8));

// ---- semantics by shape ----

export const xmmBinary =
  (compute: Binary): Semantics =>
  (x, destination, source) => {
    const b = (source as Operand).readVector();
    const target = destination as Operand;
    target.writeVector(compute(target.readVector(), b, x));
  };
export const mmxBinary =
  (compute: Binary): Semantics =>
  (x, destination, source) => {
    checkPending(x);
    const b = (source as Operand).readVector();
    const target = destination as Operand;
    const result = x.let(compute(target.readVector(), b, x));
    enterMmx(x);
    target.writeVector(result);
  };
export const xmmUnary =
  (compute: Unary): Semantics =>
  (x, destination, source) =>
    (destination as Operand).writeVector(compute((source as Operand).readVector(), x));

export const xmmBinaryImmediate =
  (compute: BinaryImmediate): Semantics =>
  (x, destination, source, immediate) => {
    const b = (source as Operand).readVector();
    const target = destination as Operand;
    target.writeVector(x.let(compute(target.readVector(), b, (immediate as Operand).read(), x)));
  };
export const xmmUnaryImmediate =
  (compute: UnaryImmediate): Semantics =>
  (x, destination, source, immediate) => {
    const value = (source as Operand).readVector();
    (destination as Operand).writeVector(x.let(compute(value, (immediate as Operand).read(), x)));
  };

export const SSE: Options = { unit: 'sse' };
export const MMX: Options = { unit: 'mmx' };

/** The options of the VEX entries that go with an SSE one. */
const withVex = ({ writes, undefined: left }: Options): Options => ({
  ...AVX,
  ...(writes ? { writes } : {}),
  ...(left ? { undefined: left } : {}),
});

/** A computation with two sources: the SSE entry, whose first one is the destination, and those with VEX. */
export const binary = (
  name: string,
  encoding: string,
  compute: Binary,
  options: Options = SSE,
): Definition[] => [
  define(name, encoding, 'Vx Wx', xmmBinary(compute), options),
  ...defineVex(`v${name}`, vexEncoding(encoding), 'Vx Hx Wx', vexBinary(compute), withVex(options)),
];
export const unary = (
  name: string,
  encoding: string,
  compute: Unary,
  options: Options = SSE,
): Definition[] => [
  define(name, encoding, 'Vx Wx', xmmUnary(compute), options),
  ...defineVex(`v${name}`, vexEncoding(encoding), 'Vx Wx', vexUnary(compute), withVex(options)),
];
/** @param bits how much of the immediate each 16 bytes take for themselves; 0 when all take the same */
export const binaryImmediate = (
  name: string,
  encoding: string,
  compute: BinaryImmediate,
  bits = 0,
): Definition[] => [
  define(name, encoding, 'Vx Wx Ib', xmmBinaryImmediate(compute), SSE),
  ...defineVex(`v${name}`, vexEncoding(encoding), 'Vx Hx Wx Ib', vexBinaryImmediate(compute, bits), AVX),
];
export const unaryImmediate = (
  name: string,
  encoding: string,
  compute: UnaryImmediate,
  options: Options = SSE,
): Definition[] => [
  define(name, encoding, 'Vx Wx Ib', xmmUnaryImmediate(compute), options),
  ...defineVex(`v${name}`, vexEncoding(encoding), 'Vx Wx Ib', vexUnaryImmediate(compute), withVex(options)),
];

/**
 * An instruction with XMM forms (66) and their VEX forms, and an MMX form (no prefix), of the same computation unless `narrow`
 * differs.
 */
export const pair = (
  name: string,
  opcode: string,
  compute: Binary,
  narrow: Binary = compute,
  options: Options = SSE,
): Definition[] => [
  ...binary(name, `66 ${opcode} /r`, compute, options),
  define(name, `NP ${opcode} /r`, 'Pq Qq', mmxBinary(narrow), MMX),
];
