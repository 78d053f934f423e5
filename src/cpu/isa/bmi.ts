/**
 * BMI1, BMI2, LZCNT and MOVBE (SDM vol. 1, 5.1.16, 5.1.17; vol. 2). All but the last two and TZCNT have VEX prefixes, but they
 * work on general registers, with the vector unit switched off as well.
 */

import type { Value } from '../wasm/code.ts';
import * as w from '../wasm/code.ts';
import { type Definition, define, type Options, type Semantics } from './definition.ts';
import { bitsOf, type Emitter, type Operand, truncate, typeOf } from './emitter.ts';
import * as flags from './flags.ts';
import { RDX } from './general-registers.ts';
import { swapped } from './move.ts';
import { multiplyHigh } from './wide.ts';

const one = (value: Value): Value => w.integer(value.type, 1);
const zeroOf = (value: Value): Value => w.integer(value.type, 0);
const byteOf = (value: Value): Value => w.and(value, w.integer(value.type, 0xff));

// ---- counting ----

/** TZCNT and LZCNT: CF says that there is no bit, ZF that the count is zero. */
const count =
  (trailing: boolean): Semantics =>
  (x, destination, source) => {
    const target = destination as Operand;
    const value = (source as Operand).read();
    // Of 16 bits: a one above them stops the count of trailing zeros, leading ones do not count.
    const result = x.let(
      target.size !== 2
        ? trailing
          ? w.ctz(value)
          : w.clz(value)
        : trailing
          ? w.ctz(w.or(value, w.i32(0x10000)))
          : w.sub(w.clz(value), w.i32(16)),
    );
    const none = x.let(w.eqz(value));
    target.write(result);
    flags.setZeroOnly(x, w.eqz(result), none);
  };

// ---- bit fields ----

const andNot: Semantics = (x, destination, inverted, source) => {
  const target = destination as Operand;
  const b = (source as Operand).read();
  const r = x.let(w.and(w.not((inverted as Operand).read()), b));
  target.write(r);
  flags.logicFlags(x, target.size, r);
};

/** BLSI, BLSMSK, BLSR: something with the lowest one; CF compares the source with zero. */
const lowest =
  (change: (value: Value) => Value, carryWhenZero: boolean): Semantics =>
  (x, destination, source) => {
    const target = destination as Operand;
    const value = (source as Operand).read();
    const r = x.let(change(value));
    const carry = x.let(carryWhenZero ? w.eqz(value) : w.truth(value));
    target.write(r);
    flags.setFlags(x, target.size, r, carry);
  };

/** The low `bits` (an i32 or i64) bits of `value`; all of them from the operand's width on. */
function lowBits(value: Value, bits: Value, width: number): Value {
  const kept = w.and(value, w.sub(w.shl(one(value), bits), one(value)));
  return w.select(w.ltU(bits, w.integer(bits.type, width)), kept, value);
}
/** BEXTR: a field that begins at bits 0..7 of the control and is as long as bits 8..15 say. */
const extractField: Semantics = (x, destination, source, control) => {
  const target = destination as Operand;
  const value = (source as Operand).read();
  const fields = (control as Operand).read();
  const start = x.let(byteOf(fields));
  const length = x.let(byteOf(w.shrU(fields, w.integer(fields.type, 8))));
  const width = bitsOf(target.size);
  const moved = w.select(w.ltU(start, w.integer(start.type, width)), w.shrU(value, start), zeroOf(value));
  const r = x.let(lowBits(x.let(moved), length, width));
  target.write(r);
  flags.setZeroOnly(x, w.eqz(r), w.i32(0));
};
/** BZHI: bits from the index on become zero; CF says that there are none of them. */
const zeroHigh: Semantics = (x, destination, source, index) => {
  const target = destination as Operand;
  const value = (source as Operand).read();
  const from = x.let(byteOf((index as Operand).read()));
  const width = bitsOf(target.size);
  const r = x.let(lowBits(value, from, width));
  const carry = x.let(w.gtU(from, w.integer(from.type, width - 1)));
  target.write(r);
  flags.setFlags(x, target.size, r, carry);
};

/** PDEP and PEXT: one bit of the mask after the other, lowest first. */
const scatter =
  (deposit: boolean): Semantics =>
  (x, destination, source, selector) => {
    const target = destination as Operand;
    const type = typeOf(target.size);
    const given = (selector as Operand).read();
    const value = (source as Operand).read();
    const [mask, rest, result, place] = [x.local(type), x.local(type), x.local(type), x.local(type)];
    x.set(mask, given);
    x.set(rest, value);
    x.set(result, w.integer(type, 0));
    x.set(place, w.integer(type, 1));
    x.code.block(done => {
      x.loop(again => {
        x.code.brIf(done, w.eqz(mask));
        const bit = x.let(w.and(mask, w.sub(w.integer(type, 0), mask)));
        if (deposit) {
          const chosen = w.select(w.wrap(w.and(rest, one(rest))), bit, w.integer(type, 0));
          x.set(result, w.or(result, chosen));
          x.set(rest, w.shrU(rest, one(rest)));
        } else {
          const chosen = w.select(w.truth(w.and(rest, bit)), place, w.integer(type, 0));
          x.set(result, w.or(result, chosen));
          x.set(place, w.shl(place, one(place)));
        }
        x.set(mask, w.xor(mask, bit));
        x.code.br(again);
      });
    });
    target.write(result);
  };

// ---- without flags ----

const multiplyWide: Semantics = (x, high, low, source) => {
  const [upper, lower] = [high as Operand, low as Operand];
  const a = (source as Operand).read();
  const b = x.register(RDX, upper.size).read();
  // The same register for both keeps the upper half, which is written last.
  if (upper.size === 8) {
    const top = x.let(multiplyHigh(x, a, b, false));
    lower.write(w.mul(a, b));
    upper.write(top);
  } else {
    const product = x.let(w.mul(w.extendU(a), w.extendU(b)));
    lower.write(w.wrap(product));
    upper.write(w.wrap(w.shrU(product, w.i64(32))));
  }
};
const rotate: Semantics = (x, destination, source, amount) => {
  const target = destination as Operand;
  const value = (source as Operand).read();
  const by = (amount as Operand).read();
  target.write(w.rotr(value, target.size === 8 ? w.extendU(by) : x.let(by)));
};
/** wasm cuts the count to the operand's width as x86 does. */
const shiftBy =
  (operator: (a: Value, b: Value) => Value): Semantics =>
  (_x, destination, source, amount) => {
    const value = (source as Operand).read();
    (destination as Operand).write(operator(value, (amount as Operand).read()));
  };

const moveSwapped: Semantics = (x: Emitter, destination, source) => {
  const target = destination as Operand;
  const value = (source as Operand).read();
  const { size } = target;
  if (size === 2) target.write(truncate(2, w.or(w.shl(value, w.i32(8)), w.shrU(value, w.i32(8)))));
  else target.write(x.let(swapped(size, value)));
};

const VEX: Options = { mode: 'protected' };
const COUNT: Options = { writes: 'oszapc', undefined: 'osap' };
const LOGIC: Options = { ...VEX, writes: 'oszapc', undefined: 'ap' };
const negated = (value: Value): Value => w.sub(zeroOf(value), value);
const less = (value: Value): Value => w.sub(value, one(value));

export const bmi: Definition[] = [
  define('tzcnt', 'F3 0F BC /r', 'Gv Ev', count(true), COUNT),
  define('lzcnt', 'F3 0F BD /r', 'Gv Ev', count(false), COUNT),
  define('movbe', 'NFx 0F 38 F0 /r', 'Gv Mv', moveSwapped),
  define('movbe', 'NFx 0F 38 F1 /r', 'Mv Gv', moveSwapped),
  define('andn', 'VEX.LZ.0F38 F2 /r', 'Gy By Ey', andNot, LOGIC),
  define(
    'blsr',
    'VEX.LZ.0F38 F3 /1',
    'By Ey',
    lowest(v => w.and(v, less(v)), true),
    LOGIC,
  ),
  define(
    'blsmsk',
    'VEX.LZ.0F38 F3 /2',
    'By Ey',
    lowest(v => w.xor(v, less(v)), true),
    LOGIC,
  ),
  define(
    'blsi',
    'VEX.LZ.0F38 F3 /3',
    'By Ey',
    lowest(v => w.and(v, negated(v)), false),
    LOGIC,
  ),
  define('bzhi', 'VEX.LZ.0F38 F5 /r', 'Gy Ey By', zeroHigh, LOGIC),
  define('pext', 'VEX.LZ.F3.0F38 F5 /r', 'Gy By Ey', scatter(false), VEX),
  define('pdep', 'VEX.LZ.F2.0F38 F5 /r', 'Gy By Ey', scatter(true), VEX),
  define('mulx', 'VEX.LZ.F2.0F38 F6 /r', 'Gy By Ey', multiplyWide, VEX),
  define('bextr', 'VEX.LZ.0F38 F7 /r', 'Gy Ey By', extractField, { ...LOGIC, undefined: 'sap' }),
  define('shlx', 'VEX.LZ.66.0F38 F7 /r', 'Gy Ey By', shiftBy(w.shl), VEX),
  define('sarx', 'VEX.LZ.F3.0F38 F7 /r', 'Gy Ey By', shiftBy(w.shrS), VEX),
  define('shrx', 'VEX.LZ.F2.0F38 F7 /r', 'Gy Ey By', shiftBy(w.shrU), VEX),
  define('rorx', 'VEX.LZ.F2.0F3A F0 /r', 'Gy Ey Ib', rotate, VEX),
];
