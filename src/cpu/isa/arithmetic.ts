/** Integer arithmetic and logic (SDM vol. 1, 5.1.2, 5.1.4): ADD to CMP, TEST, INC, DEC, NEG, NOT, MUL, DIV, BCD. */

import type { Value } from '../wasm/code.ts';
import * as w from '../wasm/code.ts';
import { type Definition, define, type Semantics } from './definition.ts';
import { type Emitter, type Operand, signExtend, signExtend64, truncate, typeOf, Vector } from './emitter.ts';
import * as flags from './flags.ts';
import { RAX, RDX } from './general-registers.ts';
import { multiplyHigh } from './wide.ts';

/** Computes a result from two values of `size` bytes, and the carry as it was before if it asked for it, and sets the flags. */
type Compute = (x: Emitter, size: number, a: Value, b: Value, carry: Value) => Value;

const addition: Compute = (x, size, a, b) => {
  const r = x.let(truncate(size, w.add(a, b)));
  flags.addFlags(x, size, a, b, r);
  return r;
};
const subtraction: Compute = (x, size, a, b) => {
  const r = x.let(truncate(size, w.sub(a, b)));
  flags.subFlags(x, size, a, b, r);
  return r;
};
const widen = (size: number, bit: Value): Value => (size === 8 ? w.extendU(bit) : bit);
const additionWithCarry: Compute = (x, size, a, b, carry) => {
  const r = x.let(truncate(size, w.add(w.add(a, b), widen(size, carry))));
  flags.addFlags(x, size, a, b, r, true);
  return r;
};
const subtractionWithBorrow: Compute = (x, size, a, b, carry) => {
  const r = x.let(truncate(size, w.sub(w.sub(a, b), widen(size, carry))));
  flags.subFlags(x, size, a, b, r, true);
  return r;
};
const logic =
  (operator: (a: Value, b: Value) => Value): Compute =>
  (x, size, a, b) => {
    const r = x.let(operator(a, b));
    flags.logicFlags(x, size, r);
    return r;
  };

/** `change` may be repeated (see `Operand.modify`), so it finds the carry from before in a value. */
const updating =
  (compute: Compute, withCarry = false): Semantics =>
  (x, destination, source) => {
    const b = (source as Operand).read();
    const carry = withCarry ? x.let(flags.carryFlag(x)) : w.i32(0);
    (destination as Operand).modify(a => compute(x, (destination as Operand).size, a, b, carry));
  };
const comparing =
  (compute: Compute): Semantics =>
  (x, destination, source) => {
    const a = (destination as Operand).read();
    compute(x, (destination as Operand).size, a, (source as Operand).read(), w.i32(0));
  };

/** The eight operations of opcodes 00 to 3D and 80 to 83, in encoding order. */
function aluGroup(name: string, digit: number, compute: Compute): Definition[] {
  const withCarry = name === 'adc' || name === 'sbb';
  const semantics = name === 'cmp' ? comparing(compute) : updating(compute, withCarry);
  const lock = name !== 'cmp';
  const isLogic = name === 'and' || name === 'or' || name === 'xor';
  const common = { writes: 'oszapc', ...(isLogic ? { undefined: 'a' } : {}) };
  const row = (offset: number) => (digit * 8 + offset).toString(16).toUpperCase().padStart(2, '0');
  return [
    define(name, `${row(0)} /r`, 'Eb Gb', semantics, { ...common, lock }),
    define(name, `${row(1)} /r`, 'Ev Gv', semantics, { ...common, lock }),
    define(name, `${row(2)} /r`, 'Gb Eb', semantics, common),
    define(name, `${row(3)} /r`, 'Gv Ev', semantics, common),
    define(name, row(4), 'AL Ib', semantics, common),
    define(name, row(5), 'rAX Iz', semantics, common),
    define(name, `80 /${digit}`, 'Eb Ib', semantics, { ...common, lock }),
    define(name, `81 /${digit}`, 'Ev Iz', semantics, { ...common, lock }),
    define(name, `82 /${digit}`, 'Eb Ib', semantics, { ...common, lock, mode: 'no64' }),
    define(name, `83 /${digit}`, 'Ev Is', semantics, { ...common, lock }),
  ];
}

const test = comparing(logic(w.and));

const increment: Semantics = (x, destination) => {
  const { size } = destination as Operand;
  (destination as Operand).modify(a => {
    const r = x.let(truncate(size, w.add(a, w.integer(a.type, 1))));
    flags.stepFlags(x, size, a, r, flags.signMask(size));
    return r;
  });
};
const decrement: Semantics = (x, destination) => {
  const { size } = destination as Operand;
  (destination as Operand).modify(a => {
    const r = x.let(truncate(size, w.sub(a, w.integer(a.type, 1))));
    flags.stepFlags(x, size, a, r, w.sub(flags.signMask(size), w.integer(a.type, 1)));
    return r;
  });
};
const negate: Semantics = (x, destination) => {
  const { size } = destination as Operand;
  (destination as Operand).modify(a => subtraction(x, size, w.integer(a.type, 0), a, w.i32(0)));
};
const complement: Semantics = (_x, destination) => {
  const { size } = destination as Operand;
  (destination as Operand).modify(a => truncate(size, w.not(a)));
};

/** CF and OF say whether the upper half is significant; the others are undefined: they follow from the lower half. */
function productFlags(x: Emitter, size: number, low: Value, significant: Value): void {
  const isSignificant = x.let(significant);
  flags.setFlags(x, size, low, flags.carryOverflow(isSignificant, isSignificant));
}

const multiply =
  (signed: boolean): Semantics =>
  (x, source) => {
    const { size } = source as Operand;
    const b = (source as Operand).read();
    if (size === 8) {
      const a = x.register(RAX, 8).read();
      const low = x.let(w.mul(a, b));
      const high = x.let(multiplyHigh(x, a, b, signed));
      x.register(RAX, 8).write(low);
      x.register(RDX, 8).write(high);
      productFlags(x, 8, low, signed ? w.ne(high, w.shrS(low, w.i64(63))) : w.truth(high));
      return;
    }
    const a = x.register(RAX, size).read();
    const extend = (v: Value) => (signed ? signExtend64(size, v) : w.extendU(v));
    const product = x.let(w.mul(extend(a), extend(b)));
    const low = x.let(truncate(size, product));
    const high = truncate(size, w.shrU(product, w.i64(size * 8)));
    if (size === 1) x.register(RAX, 2).write(truncate(2, product));
    else {
      x.register(RAX, size).write(low);
      x.register(RDX, size).write(high);
    }
    productFlags(x, size, low, w.ne(extend(low), product));
  };

const multiplySigned3: Semantics = (x, destination, source, factor) => {
  const { size } = destination as Operand;
  const a = (source as Operand).read();
  const b = (factor ?? (destination as Operand)).read();
  if (size === 8) {
    const low = x.let(w.mul(a, b));
    const high = multiplyHigh(x, a, b, true);
    (destination as Operand).write(low);
    productFlags(x, 8, low, w.ne(high, w.shrS(low, w.i64(63))));
    return;
  }
  const low = x.let(truncate(size, w.mul(a, b)));
  (destination as Operand).write(low);
  const product = w.mul(signExtend64(size, a), signExtend64(size, b));
  productFlags(x, size, low, w.ne(signExtend64(size, low), product));
};

const divide =
  (signed: boolean): Semantics =>
  (x, source) => {
    const { size } = source as Operand;
    const divisor = (source as Operand).read();
    x.raiseIf(w.eqz(divisor), Vector.DE);
    if (size === 8) {
      x.synchronise();
      x.raiseIf(x.runtime(signed ? 'divideSigned128' : 'divideUnsigned128', divisor), Vector.DE);
      return;
    }
    const extend = (v: Value) => (signed ? signExtend64(size, v) : w.extendU(v));
    const low = w.extendU(x.register(RAX, size === 1 ? 2 : size).read());
    const dividend = x.let(
      size === 1
        ? signed
          ? signExtend64(2, w.wrap(low))
          : low
        : (() => {
            const joined = w.or(w.shl(w.extendU(x.register(RDX, size).read()), w.i64(size * 8)), low);
            return size === 2 && signed ? w.extend32S(joined) : joined;
          })(),
    );
    const by = x.let(extend(divisor));
    // The one quotient that does not fit 64 bits would trap in WebAssembly.
    if (signed && size === 4) {
      x.raiseIf(w.and(w.eq(by, w.i64(-1)), w.eq(dividend, w.i64(-(2n ** 63n)))), Vector.DE);
    }
    const quotient = x.let(signed ? w.divS(dividend, by) : w.divU(dividend, by));
    const cut = x.let(truncate(size, quotient));
    x.raiseIf(w.ne(extend(cut), quotient), Vector.DE);
    const remainder = truncate(size, signed ? w.remS(dividend, by) : w.remU(dividend, by));
    if (size === 1) {
      x.register(RAX, 2).write(w.or(cut, w.shl(remainder, w.i32(8))));
    } else {
      const kept = x.let(remainder);
      x.register(RAX, size).write(cut);
      x.register(RDX, size).write(kept);
    }
  };

/** CBW, CWDE, CDQE: the lower half of the accumulator, sign-extended into the whole. */
const convertAccumulator: Semantics = x => {
  const half = x.size / 2;
  const low = x.register(RAX, half).read();
  x.register(RAX, x.size).write(
    x.size === 8 ? signExtend64(4, low) : truncate(x.size, signExtend(half, low)),
  );
};
/** CWD, CDQ, CQO: the accumulator's sign into rDX. */
const convertToPair: Semantics = x => {
  const a = signExtend(x.size, x.register(RAX, x.size).read());
  x.register(RDX, x.size).write(
    truncate(x.size, w.shrS(a, w.integer(typeOf(x.size), x.size === 8 ? 63 : 31))),
  );
};

/** DAA and DAS (SDM vol. 2): packed decimal adjustment of AL. */
const decimalAdjust =
  (subtract: boolean): Semantics =>
  x => {
    const al = x.register(RAX, 1);
    const old = al.read();
    const aux = x.let(x.flagState().aux);
    const half = x.let(w.or(w.gtU(w.and(old, w.i32(15)), w.i32(9)), w.truth(w.and(aux, w.i32(flags.AF)))));
    const carry = x.let(w.or(w.gtU(old, w.i32(0x99)), w.and(aux, w.i32(flags.CF))));
    const amount = w.add(w.mul(half, w.i32(6)), w.mul(carry, w.i32(0x60)));
    const r = x.let(truncate(1, subtract ? w.sub(old, amount) : w.add(old, amount)));
    al.write(r);
    // DAS also carries when the low adjustment alone borrows.
    const borrow = subtract ? w.and(half, w.ltU(old, w.i32(6))) : w.i32(0);
    flags.setFlags(x, 1, r, w.or(w.or(carry, borrow), w.shl(half, w.i32(4))));
  };
/** AAA and AAS: unpacked decimal adjustment after addition or subtraction. */
const asciiAdjust =
  (subtract: boolean): Semantics =>
  x => {
    const old = x.register(RAX, 2).read();
    const half = x.let(
      w.or(w.gtU(w.and(old, w.i32(15)), w.i32(9)), w.truth(w.and(x.flagState().aux, w.i32(flags.AF)))),
    );
    const amount = w.mul(half, w.i32(0x106));
    const r = x.let(w.and(subtract ? w.sub(old, amount) : w.add(old, amount), w.i32(0xff0f)));
    x.register(RAX, 2).write(r);
    flags.setFlags(x, 1, truncate(1, r), w.or(half, w.shl(half, w.i32(4))));
  };
const asciiAdjustAfterMultiply: Semantics = (x, base) => {
  const divisor = (base as Operand).read();
  x.raiseIf(w.eqz(divisor), Vector.DE);
  const al = x.register(RAX, 1).read();
  const low = x.let(w.remU(al, divisor));
  x.register(RAX, 2).write(w.or(w.shl(w.divU(al, divisor), w.i32(8)), low));
  flags.setFlags(x, 1, low, w.i32(0));
};
const asciiAdjustBeforeDivide: Semantics = (x, base) => {
  const ax = x.register(RAX, 2).read();
  const high = w.mul(w.shrU(ax, w.i32(8)), (base as Operand).read());
  const r = x.let(truncate(1, w.add(w.and(ax, w.i32(0xff)), high)));
  x.register(RAX, 2).write(r);
  flags.setFlags(x, 1, r, w.i32(0));
};

const ALL = { writes: 'oszapc' };
const PRODUCT = { writes: 'oszapc', undefined: 'szap' };
const QUOTIENT = { writes: 'oszapc', undefined: 'oszapc' };
const BCD = { mode: 'no64' } as const;

export const arithmetic: Definition[] = [
  ...aluGroup('add', 0, addition),
  ...aluGroup('or', 1, logic(w.or)),
  ...aluGroup('adc', 2, additionWithCarry),
  ...aluGroup('sbb', 3, subtractionWithBorrow),
  ...aluGroup('and', 4, logic(w.and)),
  ...aluGroup('sub', 5, subtraction),
  ...aluGroup('xor', 6, logic(w.xor)),
  ...aluGroup('cmp', 7, subtraction),
  define('test', '84 /r', 'Eb Gb', test, { ...ALL, undefined: 'a' }),
  define('test', '85 /r', 'Ev Gv', test, { ...ALL, undefined: 'a' }),
  define('test', 'A8', 'AL Ib', test, { ...ALL, undefined: 'a' }),
  define('test', 'A9', 'rAX Iz', test, { ...ALL, undefined: 'a' }),
  define('test', 'F6 /0', 'Eb Ib', test, { ...ALL, undefined: 'a' }),
  define('test', 'F7 /0', 'Ev Iz', test, { ...ALL, undefined: 'a' }),
  define('test', 'F6 /1', 'Eb Ib', test, { writes: 'oszapc', undefined: 'a' }),
  define('test', 'F7 /1', 'Ev Iz', test, { writes: 'oszapc', undefined: 'a' }),
  define('inc', 'FE /0', 'Eb', increment, { writes: 'oszap', lock: true }),
  define('inc', 'FF /0', 'Ev', increment, { writes: 'oszap', lock: true }),
  define('dec', 'FE /1', 'Eb', decrement, { writes: 'oszap', lock: true }),
  define('dec', 'FF /1', 'Ev', decrement, { writes: 'oszap', lock: true }),
  define('inc', '40+r', 'Zv', increment, { writes: 'oszap', mode: 'no64' }),
  define('dec', '48+r', 'Zv', decrement, { writes: 'oszap', mode: 'no64' }),
  define('not', 'F6 /2', 'Eb', complement, { lock: true }),
  define('not', 'F7 /2', 'Ev', complement, { lock: true }),
  define('neg', 'F6 /3', 'Eb', negate, { writes: 'oszapc', lock: true }),
  define('neg', 'F7 /3', 'Ev', negate, { writes: 'oszapc', lock: true }),
  define('mul', 'F6 /4', 'Eb', multiply(false), PRODUCT),
  define('mul', 'F7 /4', 'Ev', multiply(false), PRODUCT),
  define('imul', 'F6 /5', 'Eb', multiply(true), PRODUCT),
  define('imul', 'F7 /5', 'Ev', multiply(true), PRODUCT),
  define('imul', '0F AF /r', 'Gv Ev', multiplySigned3, PRODUCT),
  define('imul', '69 /r', 'Gv Ev Iz', multiplySigned3, PRODUCT),
  define('imul', '6B /r', 'Gv Ev Is', multiplySigned3, PRODUCT),
  define('div', 'F6 /6', 'Eb', divide(false), QUOTIENT),
  define('div', 'F7 /6', 'Ev', divide(false), QUOTIENT),
  define('idiv', 'F6 /7', 'Eb', divide(true), QUOTIENT),
  define('idiv', 'F7 /7', 'Ev', divide(true), QUOTIENT),
  define('cwde', '98', '', convertAccumulator, { sized: true }),
  define('cdq', '99', '', convertToPair, { sized: true }),
  define('daa', '27', '', decimalAdjust(false), { ...BCD, writes: 'oszapc', undefined: 'o', reads: 'ac' }),
  define('das', '2F', '', decimalAdjust(true), { ...BCD, writes: 'oszapc', undefined: 'o', reads: 'ac' }),
  define('aaa', '37', '', asciiAdjust(false), { ...BCD, writes: 'oszapc', undefined: 'oszp', reads: 'a' }),
  define('aas', '3F', '', asciiAdjust(true), { ...BCD, writes: 'oszapc', undefined: 'oszp', reads: 'a' }),
  define('aam', 'D4', 'Ib', asciiAdjustAfterMultiply, { ...BCD, writes: 'oszapc', undefined: 'oac' }),
  define('aad', 'D5', 'Ib', asciiAdjustBeforeDivide, { ...BCD, writes: 'oszapc', undefined: 'oac' }),
];
