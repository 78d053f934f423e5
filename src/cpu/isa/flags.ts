/**
 * RFLAGS, kept so that setting them is cheap.
 *
 * `flagRes` is the sign-extended result: ZF, SF and PF follow from it. `flagAux` holds CF, AF and OF in their own
 * places (bits 0, 4, 11), and two bits that turn PF (bit 2) and SF (bit 7) around, for flags that were loaded as a
 * word and belong to no result. All other flags are in `flagSys`.
 */

import { invariant } from '../../base/errors.ts';
import type { Value } from '../wasm/code.ts';
import * as w from '../wasm/code.ts';
import { bitsOf, type Emitter, signExtend, signExtend64 } from './emitter.ts';

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

/**
 * The arithmetic flags as an instruction left them. A tier may keep this instead of the two words: the values are pure
 * expressions over what `let` has evaluated, and who needs no flags never pays for them.
 */
export interface FlagState {
  /** The result that ZF, SF and PF follow from: `size` bytes, zero-extended in its type. */
  readonly size: number;
  readonly result: Value;
  /** The whole of `flagAux`. */
  readonly aux: Value;
  /** CF alone, 0 or 1, where it is cheaper than by `aux`. */
  readonly carry?: Value;
  /** The operation, for conditions that follow from its operands: a - b, a + b, or one that clears CF, AF and OF. */
  readonly origin?: { readonly kind: 'sub' | 'add' | 'logic'; readonly a: Value; readonly b: Value };
}

/** Result flags from `result`, the others from `aux` (CF, AF, OF in place). */
export function setFlags(x: Emitter, size: number, result: Value, aux: Value): void {
  x.setFlagState({ size, result, aux });
}
/** The same unless `condition` is 0: then all flags stay. */
export function setFlagsIf(x: Emitter, condition: Value, size: number, result: Value, aux: Value): void {
  if (condition.constant !== undefined) {
    if (Number(condition.constant) !== 0) setFlags(x, size, result, aux);
    return;
  }
  const old = x.flagState();
  x.setFlagState({
    size: 8,
    result: w.select(condition, signExtend64(size, result), signExtend64(old.size, old.result)),
    aux: w.select(condition, aux, old.aux),
  });
}

/** The flags of r = a + b, `r` cut to size. */
export function additionState(size: number, a: Value, b: Value, r: Value): FlagState {
  const carry = w.ltU(r, a);
  const aux = additionAux(size, a, b, r, carry);
  return { size, result: r, aux, carry, origin: { kind: 'add', a, b } };
}
/** The flags of r = a - b. */
export function subtractionState(size: number, a: Value, b: Value, r: Value): FlagState {
  const carry = w.ltU(a, b);
  const aux = subtractionAux(size, a, b, r, carry);
  return { size, result: r, aux, carry, origin: { kind: 'sub', a, b } };
}
function additionAux(size: number, a: Value, b: Value, r: Value, carry: Value): Value {
  const overflow = signToOf(size, w.and(w.xor(a, r), w.xor(b, r)));
  return w.or(w.or(carry, auxiliary(a, b, r)), overflow);
}
function subtractionAux(size: number, a: Value, b: Value, r: Value, carry: Value): Value {
  const overflow = signToOf(size, w.and(w.xor(a, b), w.xor(a, r)));
  return w.or(w.or(carry, auxiliary(a, b, r)), overflow);
}

/** After r = a + b (+ carry): `r` cut to size. */
export function addFlags(x: Emitter, size: number, a: Value, b: Value, r: Value, withCarry = false): void {
  if (!withCarry) {
    x.setFlagState(additionState(size, a, b, r));
    return;
  }
  const carry = signBit(size, w.or(w.and(a, b), w.and(w.or(a, b), w.not(r))));
  x.setFlagState({ size, result: r, aux: additionAux(size, a, b, r, carry), carry });
}
/** After r = a - b (- borrow). */
export function subFlags(x: Emitter, size: number, a: Value, b: Value, r: Value, withBorrow = false): void {
  if (!withBorrow) {
    x.setFlagState(subtractionState(size, a, b, r));
    return;
  }
  const carry = signBit(size, w.or(w.and(w.not(a), b), w.and(w.or(w.not(a), b), r)));
  x.setFlagState({ size, result: r, aux: subtractionAux(size, a, b, r, carry), carry });
}
/** After AND, OR, XOR, TEST: CF and OF clear; AF is undefined and cleared, as processors do. */
export function logicFlags(x: Emitter, size: number, r: Value): void {
  const none = w.i32(0);
  x.setFlagState({ size, result: r, aux: none, carry: none, origin: { kind: 'logic', a: r, b: r } });
}

/** After INC or DEC: CF keeps its value. `edge` is the result that means overflow. */
export function stepFlags(x: Emitter, size: number, a: Value, r: Value, edge: Value): void {
  const overflow = w.shl(w.eq(r, edge), w.i32(11));
  const half = w.and(w.wrap(w.xor(w.xor(a, r), w.integer(a.type, 1))), w.i32(AF));
  const carry = carryFlag(x);
  x.setFlagState({ size, result: r, aux: w.or(w.or(carry, half), overflow), carry });
}

/** CF as 0 or 1. */
export function carryFlag(x: Emitter): Value {
  const { carry, aux } = x.flagState();
  return carry ?? w.and(aux, w.i32(CF));
}
/** Replace bits of the aux word; the result flags stay. */
export function changeAux(x: Emitter, change: (aux: Value) => Value): void {
  const { size, result, aux } = x.flagState();
  x.setFlagState({ size, result, aux: change(aux) });
}
/** Change CF alone. */
export const setCarry = (x: Emitter, carry: Value): void =>
  changeAux(x, aux => w.or(w.and(aux, w.i32(~CF)), carry));
/** Change CF and OF alone (rotates): both are 0 or 1. */
export const setCarryOverflow = (x: Emitter, carry: Value, overflow: Value): void =>
  changeAux(x, aux => w.or(w.or(w.and(aux, w.i32(~(CF | OF))), carry), w.shl(overflow, w.i32(11))));
/** CF and OF from `carryOverflow`, unless `condition` is 0: then they stay too. */
export const setCarryOverflowIf = (x: Emitter, condition: Value, bits: Value): void =>
  changeAux(x, aux => w.select(condition, w.or(w.and(aux, w.i32(~(CF | OF))), bits), aux));
/** CF and OF as an aux word from values of 0 or 1. */
export const carryOverflow = (carry: Value, overflow: Value): Value =>
  w.or(carry, w.shl(overflow, w.i32(11)));

export const zeroFlag = (x: Emitter): Value => w.eqz(x.flagState().result);
/** ZF alone; SF and PF become those of a non-zero or zero result (used where they are undefined). */
export function setZeroOnly(x: Emitter, isZero: Value, aux: Value): void {
  x.setFlagState({ size: 4, result: w.eqz(isZero), aux });
}
const auxBit = (x: Emitter, bit: number): Value => w.shrU(x.flagState().aux, w.i32(bit));
const one = (value: Value): Value => w.and(value, w.i32(1));
const sign = (x: Emitter): Value => {
  const { size, result } = x.flagState();
  return w.wrap(w.shrU(result, w.integer(result.type, bitsOf(size) - 1)));
};
const parity = (x: Emitter): Value => {
  const { result, aux, origin } = x.flagState();
  const ones = w.popcnt(w.and(w.wrap(result), w.i32(0xff)));
  return one(w.xor(origin ? ones : w.xor(ones, w.shrU(aux, w.i32(2))), w.i32(1)));
};
/** SF with its flip bit, in bit 0; other bits are rubbish until cut off. */
const signFlag = (x: Emitter): Value => (x.flagState().origin ? sign(x) : w.xor(sign(x), auxBit(x, 7)));
/** SF xor OF, in bit 0. */
const less = (x: Emitter): Value => one(w.xor(signFlag(x), auxBit(x, 11)));

/** The condition of Jcc, SETcc and CMOVcc with number `cc` (SDM vol. 1, appendix B), as 0 or not 0. */
export function condition(x: Emitter, cc: number): Value {
  const known = fromOrigin(x.flagState(), cc >> 1);
  const positive =
    known ??
    [
      () => w.and(x.flagState().aux, w.i32(OF)),
      () => carryFlag(x),
      () => zeroFlag(x),
      () => w.or(carryFlag(x), zeroFlag(x)),
      () => one(signFlag(x)),
      () => parity(x),
      () => less(x),
      () => w.or(less(x), zeroFlag(x)),
    ][cc >> 1]?.();
  invariant(positive, 'eight conditions');
  return cc & 1 ? w.eqz(positive) : positive;
}

/** A condition by comparing what the flags come from, where that is the same. */
function fromOrigin({ size, result, origin }: FlagState, positive: number): Value | undefined {
  if (!origin) return undefined;
  const { kind, a, b } = origin;
  const zero = w.integer(result.type, 0);
  const signed = signExtend(size, result);
  if (positive === 4) return w.ltS(signed, zero);
  if (kind === 'logic') {
    if (positive === 0 || positive === 1) return w.i32(0);
    if (positive === 6) return w.ltS(signed, zero);
    if (positive === 7) return w.leS(signed, zero);
    return positive === 5 ? undefined : w.eqz(result);
  }
  if (kind === 'add') return undefined;
  const [sa, sb] = [signExtend(size, a), signExtend(size, b)];
  if (positive === 1) return w.ltU(a, b);
  if (positive === 2) return w.eq(a, b);
  if (positive === 3) return w.leU(a, b);
  if (positive === 6) return w.ltS(sa, sb);
  if (positive === 7) return w.leS(sa, sb);
  return undefined;
}

/** All of RFLAGS as an i64. */
export function readFlags(x: Emitter): Value {
  const bits = [
    w.and(x.flagState().aux, w.i32(CF | AF | OF)),
    x.field('flagSys'),
    w.shl(parity(x), w.i32(2)),
    w.shl(zeroFlag(x), w.i32(6)),
    w.shl(one(signFlag(x)), w.i32(7)),
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
  setFlags(x, 4, w.xor(isZero, w.i32(1)), w.or(w.and(flags, w.i32(CF | AF | OF | SF)), flipParity));
}

/** A constant of the operand's type with only the sign bit set. */
export const signMask = (size: number): Value =>
  size === 8 ? w.i64(-(2n ** 63n)) : w.i32(2 ** (bitsOf(size) - 1));
