/** Shifts and rotates (SDM vol. 1, 5.1.5). A masked count of zero changes no flag. */

import type { Value } from '../wasm/code.ts';
import * as w from '../wasm/code.ts';
import { type Definition, define, type Semantics } from './definition.ts';
import { bitsOf, type Emitter, type Operand, signExtend, signExtend64, truncate } from './emitter.ts';
import * as flags from './flags.ts';

/** What a count is to `shl` and its like for operands of `size` bytes. */
const countOf = (size: number, count: Value): Value => (size === 8 ? count : w.wrap(count));

/** Result, carry and overflow (0 or 1) of a shift of `a` by `count` (i64, masked, maybe 0). */
interface Shifted {
  result: Value;
  carry: Value;
  overflow: Value;
  /** Only CF and OF change (rotates). */
  onlyCarry?: boolean;
}
type Shift = (x: Emitter, size: number, a: Value, count: Value) => Shifted;

const bit0 = (v: Value): Value => w.and(w.wrap(v), w.i32(1));
const cut = (x: Emitter, size: number, v: Value): Value => x.let(truncate(size, v));

const shiftLeft: Shift = (x, size, a, count) => {
  const result = cut(x, size, w.shl(a, countOf(size, count)));
  // The bit behind the result: counts go beyond the size of small operands.
  const out =
    size === 8 ? w.shrU(a, w.sub(w.i64(64), count)) : w.shrU(w.shl(w.extendU(a), count), w.i64(bitsOf(size)));
  const carry = x.let(bit0(out));
  return { result, carry, overflow: w.xor(carry, flags.signBit(size, result)) };
};
const shiftRight: Shift = (x, size, a, count) => {
  const wide = w.extendU(a);
  const result = cut(x, size, w.shrU(a, countOf(size, count)));
  const carry = bit0(w.shrU(wide, w.sub(count, w.i64(1))));
  return { result, carry, overflow: flags.signBit(size, a) };
};
const shiftArithmetic: Shift = (x, size, a, count) => {
  const wide = signExtend64(size, a);
  const result = cut(x, size, w.shrS(signExtend(size, a), countOf(size, count)));
  return { result, carry: bit0(w.shrS(wide, w.sub(count, w.i64(1)))), overflow: w.i32(0) };
};

/** Rotation of a value of `size` bytes; wasm rotates 32 and 64 bits itself. */
function rotated(size: number, a: Value, count: Value, left: boolean): Value {
  if (size >= 4) {
    const by = size === 8 ? count : w.wrap(count);
    return left ? w.rotl(a, by) : w.rotr(a, by);
  }
  const bits = bitsOf(size);
  const by = w.and(w.wrap(count), w.i32(bits - 1));
  const back = w.and(w.sub(w.i32(bits), by), w.i32(bits - 1));
  return left ? w.or(w.shl(a, by), w.shrU(a, back)) : w.or(w.shrU(a, by), w.shl(a, back));
}
const rotateLeft: Shift = (x, size, a, count) => {
  const result = cut(x, size, rotated(size, a, count, true));
  const carry = x.let(bit0(result));
  return { result, carry, overflow: w.xor(carry, flags.signBit(size, result)), onlyCarry: true };
};
const rotateRight: Shift = (x, size, a, count) => {
  const result = cut(x, size, rotated(size, a, count, false));
  const carry = x.let(flags.signBit(size, result));
  const next = bit0(w.shrU(result, w.integer(result.type, bitsOf(size) - 2)));
  return { result, carry, overflow: w.xor(carry, next), onlyCarry: true };
};
/** RCL and RCR turn the value and CF together, one bit wider than the operand. */
const rotateThroughCarry =
  (left: boolean): Shift =>
  (x, size, a, masked) => {
    const bits = bitsOf(size);
    const carryIn = x.let(w.extendU(flags.carryFlag(x)));
    const wide = w.extendU(a);
    // 8 and 16-bit counts wrap at 9 and 17; larger operands' counts are already below bits + 1.
    const count = x.let(size < 4 ? w.remU(masked, w.i64(bits + 1)) : masked);
    const back = w.sub(w.i64(bits), count);
    // Shifting by one first keeps the second shift below 64 when count is 1.
    const result = left
      ? w.or(
          w.or(w.shl(wide, count), w.shl(carryIn, w.sub(count, w.i64(1)))),
          w.shrU(w.shrU(wide, w.i64(1)), back),
        )
      : w.or(w.or(w.shrU(wide, count), w.shl(carryIn, back)), w.shl(w.shl(wide, w.i64(1)), back));
    const out = left ? w.shrU(wide, back) : w.shrU(wide, w.sub(count, w.i64(1)));
    const isZero = x.let(w.eqz(count));
    const r = cut(x, size, w.select(isZero, wide, result));
    const carry = x.let(bit0(w.select(isZero, carryIn, out)));
    const top = flags.signBit(size, r);
    const overflow = left ? w.xor(carry, top) : w.xor(top, bit0(w.shrU(r, w.integer(r.type, bits - 2))));
    return { result: r, carry, overflow, onlyCarry: true };
  };

const shifting =
  (shift: Shift): Semantics =>
  (x, destination, amount) => {
    const target = destination as Operand;
    const mask = target.size === 8 ? 63 : 31;
    const count = x.let(w.extendU(w.and(w.wrap((amount as Operand).read()), w.i32(mask))));
    target.modify(a => {
      const shifted = shift(x, target.size, a, count);
      const changes = w.truth(count);
      const aux = flags.carryOverflow(x.let(shifted.carry), shifted.overflow);
      if (shifted.onlyCarry) flags.setCarryOverflowIf(x, changes, aux);
      else flags.setFlagsIf(x, changes, target.size, shifted.result, aux);
      return w.select(changes, shifted.result, a);
    });
  };

/** SHLD and SHRD: bits shifted out of `source` come in. */
const doubleShift =
  (left: boolean): Semantics =>
  (x, destination, source, amount) => {
    const target = destination as Operand;
    const { size } = target;
    const bits = bitsOf(size);
    const b = (source as Operand).read();
    const count = x.let(w.extendU(w.and(w.wrap((amount as Operand).read()), w.i32(size === 8 ? 63 : 31))));
    target.modify(a => {
      const back = w.sub(w.i64(bits), count);
      const [aw, bw] = [x.let(w.extendU(a)), x.let(w.extendU(b))];
      let wide: Value;
      let carry: Value;
      if (size === 2) {
        // Counts above 16 are undefined; processors then go on with the destination again (a:b:a).
        const joined = w.or(w.or(w.shl(aw, w.i64(32)), w.shl(bw, w.i64(16))), aw);
        wide = left ? w.shrU(w.shl(joined, count), w.i64(32)) : w.shrU(joined, count);
        carry = left ? w.shrU(joined, w.sub(w.i64(48), count)) : w.shrU(joined, w.sub(count, w.i64(1)));
      } else {
        wide = left ? w.or(w.shl(aw, count), w.shrU(bw, back)) : w.or(w.shrU(aw, count), w.shl(bw, back));
        carry = left ? w.shrU(aw, back) : w.shrU(aw, w.sub(count, w.i64(1)));
      }
      const result = cut(x, size, wide);
      const overflow = w.xor(flags.signBit(size, result), flags.signBit(size, a));
      const changes = w.truth(count);
      flags.setFlagsIf(x, changes, size, result, flags.carryOverflow(bit0(carry), overflow));
      return w.select(changes, result, a);
    });
  };

const GROUP: [string, number, Shift][] = [
  ['rol', 0, rotateLeft],
  ['ror', 1, rotateRight],
  ['rcl', 2, rotateThroughCarry(true)],
  ['rcr', 3, rotateThroughCarry(false)],
  ['shl', 4, shiftLeft],
  ['shr', 5, shiftRight],
  ['shl', 6, shiftLeft],
  ['sar', 7, shiftArithmetic],
];

export const shift: Definition[] = [
  ...GROUP.flatMap(([name, digit, compute]) => {
    const semantics = shifting(compute);
    const isRotate = digit < 4;
    const options = {
      writes: isRotate ? 'oc' : 'oszapc',
      undefined: isRotate ? 'o' : 'oa',
    };
    return [
      define(name, `C0 /${digit}`, 'Eb Ib', semantics, options),
      define(name, `C1 /${digit}`, 'Ev Ib', semantics, options),
      define(name, `D0 /${digit}`, 'Eb 1', semantics, options),
      define(name, `D1 /${digit}`, 'Ev 1', semantics, options),
      define(name, `D2 /${digit}`, 'Eb CL', semantics, options),
      define(name, `D3 /${digit}`, 'Ev CL', semantics, options),
    ];
  }),
  define('shld', '0F A4 /r', 'Ev Gv Ib', doubleShift(true), { writes: 'oszapc', undefined: 'oa' }),
  define('shld', '0F A5 /r', 'Ev Gv CL', doubleShift(true), { writes: 'oszapc', undefined: 'oa' }),
  define('shrd', '0F AC /r', 'Ev Gv Ib', doubleShift(false), { writes: 'oszapc', undefined: 'oa' }),
  define('shrd', '0F AD /r', 'Ev Gv CL', doubleShift(false), { writes: 'oszapc', undefined: 'oa' }),
];
