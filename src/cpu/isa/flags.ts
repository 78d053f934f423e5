/**
 * RFLAGS, kept so that setting them is cheap.
 *
 * `flagRes` is the sign-extended result: ZF, SF and PF follow from it. `flagAux` holds CF, AF and OF in their own
 * places (bits 0, 4, 11), and two bits that turn PF (bit 2) and SF (bit 7) around, for flags that were loaded as a
 * word and belong to no result. All other flags are in `flagSys`.
 */

import type { Value } from '../wasm/code.ts';
import * as w from '../wasm/code.ts';
import { bitsOf, type Emitter, signExtend64 } from './emitter.ts';

export const CF = 1 << 0;
export const PF = 1 << 2;
export const AF = 1 << 4;
export const ZF = 1 << 6;
export const SF = 1 << 7;
export const TF = 1 << 8;
export const IF = 1 << 9;
export const DF = 1 << 10;
export const OF = 1 << 11;
export const AC = 1 << 18;
export const ARITHMETIC = CF | PF | AF | ZF | SF | OF;

/** Move the sign bit of a `size`-byte value to OF's place; other bits are cleared. */
function signToOf(size: number, value: Value): Value {
  const bits = bitsOf(size);
  const moved = bits > 12 ? w.shrU(value, w.integer(value.type, bits - 12)) : w.shl(value, w.i32(12 - bits));
  return w.and(w.wrap(moved), w.i32(OF));
}
/** The sign bit of a `size`-byte value as 0 or 1. */
export const signBit = (size: number, value: Value): Value =>
  w.and(w.wrap(w.shrU(value, w.integer(value.type, bitsOf(size) - 1))), w.i32(1));
/** Bit 4 of a, b and r together: the carry out of bit 3. */
const auxiliary = (a: Value, b: Value, r: Value): Value => w.and(w.wrap(w.xor(w.xor(a, b), r)), w.i32(AF));

export function setResult(x: Emitter, size: number, result: Value): void {
  x.setField('flagRes', signExtend64(size, result));
}
/** Result flags from `result`, the others from `aux` (CF, AF, OF in place). */
export function setFlags(x: Emitter, size: number, result: Value, aux: Value): void {
  setResult(x, size, result);
  x.setField('flagAux', aux);
}

/** After r = a + b (+ carry): `r` cut to size. */
export function addFlags(x: Emitter, size: number, a: Value, b: Value, r: Value, withCarry = false): void {
  const carry = withCarry ? signBit(size, w.or(w.and(a, b), w.and(w.or(a, b), w.not(r)))) : w.ltU(r, a);
  const overflow = signToOf(size, w.and(w.xor(a, r), w.xor(b, r)));
  setFlags(x, size, r, w.or(w.or(carry, auxiliary(a, b, r)), overflow));
}
/** After r = a - b (- borrow). */
export function subFlags(x: Emitter, size: number, a: Value, b: Value, r: Value, withBorrow = false): void {
  const carry = withBorrow
    ? signBit(size, w.or(w.and(w.not(a), b), w.and(w.or(w.not(a), b), r)))
    : w.ltU(a, b);
  const overflow = signToOf(size, w.and(w.xor(a, b), w.xor(a, r)));
  setFlags(x, size, r, w.or(w.or(carry, auxiliary(a, b, r)), overflow));
}
/** After AND, OR, XOR, TEST: CF and OF clear; AF is undefined and cleared, as processors do. */
export const logicFlags = (x: Emitter, size: number, r: Value): void => setFlags(x, size, r, w.i32(0));

/** After INC or DEC: CF keeps its value. `edge` is the result that means overflow. */
export function stepFlags(x: Emitter, size: number, a: Value, r: Value, edge: Value): void {
  const overflow = w.shl(w.eq(r, edge), w.i32(11));
  const half = w.and(w.wrap(w.xor(w.xor(a, r), w.integer(a.type, 1))), w.i32(AF));
  setFlags(x, size, r, w.or(w.or(carryFlag(x), half), overflow));
}

/** CF as 0 or 1. */
export const carryFlag = (x: Emitter): Value => w.and(x.field('flagAux'), w.i32(CF));
/** Change CF alone. */
export function setCarry(x: Emitter, carry: Value): void {
  x.setField('flagAux', w.or(w.and(x.field('flagAux'), w.i32(~CF)), carry));
}
/** Change CF and OF alone (rotates): both are 0 or 1. */
export function setCarryOverflow(x: Emitter, carry: Value, overflow: Value): void {
  const rest = w.and(x.field('flagAux'), w.i32(~(CF | OF)));
  x.setField('flagAux', w.or(w.or(rest, carry), w.shl(overflow, w.i32(11))));
}
/** CF and OF as an aux word from values of 0 or 1. */
export const carryOverflow = (carry: Value, overflow: Value): Value =>
  w.or(carry, w.shl(overflow, w.i32(11)));

export const zeroFlag = (x: Emitter): Value => w.eqz(x.field('flagRes'));
/** ZF alone; SF and PF become those of a non-zero or zero result (used where they are undefined). */
export function setZeroOnly(x: Emitter, isZero: Value, aux: Value): void {
  x.setField('flagRes', w.extendU(w.eqz(isZero)));
  x.setField('flagAux', aux);
}
const auxBit = (x: Emitter, bit: number): Value => w.shrU(x.field('flagAux'), w.i32(bit));
const one = (value: Value): Value => w.and(value, w.i32(1));
const sign = (x: Emitter): Value => w.wrap(w.shrU(x.field('flagRes'), w.i64(63)));
const parity = (x: Emitter): Value =>
  one(w.xor(w.xor(w.popcnt(w.and(w.wrap(x.field('flagRes')), w.i32(0xff))), auxBit(x, 2)), w.i32(1)));
/** SF xor OF, in bit 0; other bits are rubbish until cut off. */
const less = (x: Emitter): Value => one(w.xor(w.xor(sign(x), auxBit(x, 7)), auxBit(x, 11)));

/** The condition of Jcc, SETcc and CMOVcc with number `cc` (SDM vol. 1, appendix B), as 0 or not 0. */
export function condition(x: Emitter, cc: number): Value {
  const positive = [
    () => w.and(x.field('flagAux'), w.i32(OF)),
    () => carryFlag(x),
    () => zeroFlag(x),
    () => w.or(carryFlag(x), zeroFlag(x)),
    () => one(w.xor(sign(x), auxBit(x, 7))),
    () => parity(x),
    () => less(x),
    () => w.or(less(x), zeroFlag(x)),
  ][cc >> 1] as () => Value;
  return cc & 1 ? w.eqz(positive()) : positive();
}

/** All of RFLAGS as an i64. */
export function readFlags(x: Emitter): Value {
  const bits = [
    w.and(x.field('flagAux'), w.i32(CF | AF | OF)),
    x.field('flagSys'),
    w.shl(parity(x), w.i32(2)),
    w.shl(zeroFlag(x), w.i32(6)),
    w.shl(one(w.xor(sign(x), auxBit(x, 7))), w.i32(7)),
  ];
  return w.extendU(bits.reduce((a, b) => w.or(a, b)));
}
/** Set the arithmetic flags from an i32 that has them in place. */
export function loadArithmeticFlags(x: Emitter, value: Value): void {
  const flags = x.let(value);
  // flagRes is 0 (ZF, even parity, positive) or 1 (odd parity, positive); the flip bits correct PF and SF.
  const isZero = w.and(w.shrU(flags, w.i32(6)), w.i32(1));
  const flipParity = w.and(
    w.xor(w.xor(flags, w.i32(PF)), w.shl(w.xor(isZero, w.i32(1)), w.i32(2))),
    w.i32(PF),
  );
  x.setField('flagRes', w.extendU(w.xor(isZero, w.i32(1))));
  x.setField('flagAux', w.or(w.and(flags, w.i32(CF | AF | OF | SF)), flipParity));
}

/** A constant of the operand's type with only the sign bit set. */
export const signMask = (size: number): Value =>
  size === 8 ? w.i64(-(2n ** 63n)) : w.i32(2 ** (bitsOf(size) - 1));
